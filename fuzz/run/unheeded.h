// Deviations of a scenario that did nothing in its run. Fuzzers make many of them; in a text they
// are mistakes.
#pragma once

#include <string>
#include <vector>

#include "fuzz/scenario/scenario.h"
#include "hal/host/machine.h"

namespace shootdown::fuzz {

struct Unheeded {
  unsigned deviation;  // its index in the scenario
  std::string why;
};

/// A delay has no larger numbers than 255, so the longer ones go on from where nothing changes.
[[nodiscard]] bool is_only_delay(const Deviation& deviation);

/// Of the scenario that the machine ran last, under its own schedule and while recording. What
/// stands behind an `aim` is done or not as that strategy likes, and is not listed. Neither is the
/// step of a delay that is too long for one line: the running CPU goes on after 255 operations.
[[nodiscard]] std::vector<Unheeded> unheeded(const host::Machine& machine,
                                             const Scenario& scenario);

}  // namespace shootdown::fuzz
