// A run as a readable story: configuration, scenario, the interleaving, what went wrong.
#pragma once

#include <string>

#include "fuzz/run/runner.h"
#include "fuzz/run/story.h"
#include "fuzz/run/timeline.h"
#include "fuzz/scenario/scenario.h"

namespace shootdown::fuzz {

struct TraceReportOptions {
  TimelineOptions timeline{};
  /// Run under a controller.
  const ControlledRun* control{nullptr};
};

/// Runs the scenario while recording, and tells it. The same scenario gives the same text, byte for
/// byte. Leaves the runner with the report of this run.
[[nodiscard]] std::string tell(Runner& runner, const Scenario& scenario,
                               const TraceReportOptions& options);
/// The same of the run that is recorded, which is the runner's last.
[[nodiscard]] std::string told(Runner& runner, const Story& story, const TimelineOptions& options);

/// "CPUs 2, address spaces 1, PCID on, ...": sizes, and what is not at its default.
[[nodiscard]] std::string describe(const Header& header);
[[nodiscard]] const char* describe_memory(const Header& header);

}  // namespace shootdown::fuzz
