// A run as a readable story: configuration, scenario, the interleaving, what went wrong.
#pragma once

#include <string>

#include "fuzz/run/runner.h"
#include "fuzz/scenario/scenario.h"

namespace shootdown::fuzz {

struct TraceReportOptions {
  unsigned column_width{30};
  /// Only this many lines of the interleaving before its end; 0 = all.
  unsigned last_lines{0};
  /// Run under a controller.
  const ControlledRun* control{nullptr};
};

/// Runs the scenario while recording, and tells it. The same scenario gives the same text, byte for
/// byte. Leaves the runner with the report of this run.
[[nodiscard]] std::string tell(Runner& runner, const Scenario& scenario,
                               const TraceReportOptions& options);

/// The interleaving of the machine's last recorded run, a column for each CPU.
[[nodiscard]] std::string interleaving(const host::Machine& machine,
                                       const TraceReportOptions& options);

/// "O1 a flush returns while ...", or "ok".
[[nodiscard]] std::string title(const host::Report& report);

}  // namespace shootdown::fuzz
