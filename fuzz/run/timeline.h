// What a machine has recorded of a run, as text. It knows no kernel.
#pragma once

#include <cstddef>
#include <functional>
#include <string>

#include "hal/host/machine.h"

namespace shootdown::fuzz {

struct TimelineOptions {
  unsigned column_width{30};
  /// Only this many lines of the interleaving before its end; 0 = all.
  unsigned last_lines{0};
  /// Where the line of this number came from, if it is no place in our sources; may be empty.
  std::function<std::string(std::size_t line)> place{};
};

/// The interleaving of the machine's last recorded run, a column for each CPU.
[[nodiscard]] std::string interleaving(const host::Machine& machine,
                                       const TimelineOptions& options);

/// "O1 a flush returns while ...", or "ok".
[[nodiscard]] std::string title(const host::Report& report);

/// The end of a story: what went wrong, and which two accesses are in conflict.
[[nodiscard]] std::string verdict(const host::Machine& machine, const host::Report& report);

}  // namespace shootdown::fuzz
