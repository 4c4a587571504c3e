// What a machine has recorded of a run, as text. It knows no kernel.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "hal/host/machine.h"

namespace shootdown::fuzz {

/// What a row is to the verdict.
enum class Mark : std::uint8_t {
  none,
  first,  // the first of the two accesses in conflict
  then,   // the second
  both,
  deviation,  // no line of a CPU: the schedule or the hardware does something here
};
[[nodiscard]] const char* name(Mark mark);

struct TimelineRow {
  std::uint64_t step;
  CpuId cpu;
  std::string what;
  std::string where{};     // "flush.h:97"
  std::string function{};  // whose code it is
  Mark mark{Mark::none};
  std::vector<std::string> notes{};  // what it has changed that does not stand in it
};

struct TimelineOptions {
  unsigned column_width{30};
  /// Places in the code are left out where a line would be longer; 0 = never.
  unsigned line_width{0};
  /// Of the rows that are neither marked nor begin an operation only this many, the last ones;
  /// 0 = all.
  unsigned last_lines{0};
  /// With escape sequences of terminals.
  bool colour{false};
  /// Where the line of this number came from, if it is no place in our sources; may be empty.
  std::function<std::string(std::size_t line)> place{};
};

/// The rows of the machine's last recorded run, the two steps of the report marked.
[[nodiscard]] std::vector<TimelineRow> rows_of(const host::Machine& machine,
                                               const TimelineOptions& options);
/// Marks the two accesses in conflict. A run that ended in the middle of a step has no row for it:
/// then one in brackets follows.
void mark_conflict(const host::Report& report, std::vector<TimelineRow>& rows);

/// The rows, a column for each CPU.
[[nodiscard]] std::string interleaving(const std::vector<TimelineRow>& rows, CpuId cpus,
                                       const TimelineOptions& options);
[[nodiscard]] std::string interleaving(const host::Machine& machine,
                                       const TimelineOptions& options);
/// The width of a column if whole lines are to fit.
[[nodiscard]] unsigned column_width(unsigned line_width, CpuId cpus);

/// "O1 a flush returns while ...", or "ok".
[[nodiscard]] std::string title(const host::Report& report);

/// The end of a story: what went wrong, and which two accesses are in conflict.
[[nodiscard]] std::string verdict(const host::Machine& machine, const host::Report& report);

/// Which limits of the model the run has reached: a run that did may show less than it seems to.
[[nodiscard]] std::vector<std::string> limits_of(const host::Machine& machine);

}  // namespace shootdown::fuzz
