// The command that searches for an execution in which foreign code breaks a promise, replays one,
// or explores all interleavings of a small program. A script compiles the code, calls this, and
// names the lines of the code in what it prints.
#pragma once

#include <string>

#include "ports/harness/trial.h"

namespace shootdown::port {

struct SearchTool {
  Trial::Make make;
  void (*draw)(fuzz::Random& random, fuzz::Header& header);
  /// Whether the kernel has page-table isolation, machines without PCIDs and tables that wait.
  bool has_configurations{false};
  /// Whether what one CPU alone uses is no choice point.
  bool elides{false};
  /// Finds what is needed in the code. False: `error` says what is missing, and what to do.
  bool (*prepare)(model::Code& code, std::string& error){nullptr};
};

/// Returns the exit status: 0 nothing was found, 1 an oracle has fired, 2 it could not do its work.
int search_main(int argc, char** argv, const SearchTool& tool);

}  // namespace shootdown::port
