// The record of one run that everything which is shown of it comes from: each line of the timeline
// and each deviation, what it has changed, and which two lines are in conflict. text, HTML and
// traces are made of this (story_text.h, story_json.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "fuzz/run/runner.h"
#include "fuzz/run/state.h"
#include "fuzz/run/timeline.h"
#include "fuzz/scenario/scenario.h"

namespace shootdown::fuzz {

/// A line of the timeline, or a deviation of the scenario where it acts.
struct StoryItem {
  TimelineRow row;
  /// Of a deviation: its index, and why it did nothing, if it did nothing.
  std::optional<unsigned> deviation{};
  std::string nothing{};
  /// What differs afterwards: name and what is there now, or nothing if it is gone.
  std::vector<std::pair<std::string, std::optional<std::string>>> changes{};
};

struct Story {
  Scenario scenario;  // with no `aim` left in it
  State start;
  std::vector<StoryItem> items;
};

/// Runs the scenario under its own schedule, or under a controller, and keeps the story. Leaves the
/// runner with the report of this run, and its machine with what the run has left.
[[nodiscard]] Story record(Runner& runner, const Scenario& scenario, const ControlledRun* control);

/// The rows of the interleaving, notes and marks included.
[[nodiscard]] std::vector<TimelineRow> rows_of(const Story& story);

}  // namespace shootdown::fuzz
