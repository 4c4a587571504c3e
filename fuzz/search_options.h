// What a user may ask of the random search, and how it is said on the command line.
#pragma once

#include <cstdint>
#include <string>

#include "fuzz/run/strategy.h"
#include "fuzz/scenario/generate.h"

namespace shootdown::fuzz {

/// What `--help` prints.
extern const char* const kSearchHelp;

struct SearchOptions {
  std::uint64_t seed{1};
  std::uint64_t executions{100000};
  GenerateOptions generate{};
  Strategy strategy{Strategy::random};
  bool plain{false};
  bool migrate{false};
  bool chains{false};
  unsigned chain_preemptions{0};
  bool cpus_given{false};
  bool ops_given{false};
  bool deviations_given{false};
  std::string hashes;
  bool progress{false};
  bool first{false};
  std::string out;
  std::string replay;
};

/// Reads the words behind the program's name. Returns false after telling on stderr what is wrong.
bool parse_options(int argc, char** argv, SearchOptions& options);

}  // namespace shootdown::fuzz
