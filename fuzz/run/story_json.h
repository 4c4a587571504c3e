// The record of a run as JSON, for viewers and other tools. fuzz/README.md names the fields.
#pragma once

#include <string>

#include "fuzz/run/story.h"
#include "fuzz/run/unheeded.h"

namespace shootdown::fuzz {

/// One object on one line, of the run that the runner has made last. `file` is where the scenario
/// came from.
[[nodiscard]] std::string json_of(Runner& runner, const Story& story, const std::string& file);

}  // namespace shootdown::fuzz
