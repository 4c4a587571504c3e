// Delta debugging over the structure of a scenario: the smallest one found that still shows the
// same failure. libFuzzer's own minimiser works on bytes and accepts any crash.
#pragma once

#include <functional>

#include "fuzz/scenario/scenario.h"

namespace shootdown::fuzz {

/// Whether a candidate still fires the same oracle. Must give the same answer for the same
/// scenario. Candidates are normalised.
using StillFails = std::function<bool(const Scenario&)>;

struct MinimiseProgress {
  unsigned tries;  // Candidates run so far.
  bool accepted;   // Whether the last one still failed.
  const Scenario& best;
};

struct MinimiseOptions {
  unsigned max_tries{20000};
  std::function<void(const MinimiseProgress&)> progress{};  // Called after every try.
};

enum class MinimiseOutcome : std::uint8_t {
  minimal,         // no single step of the minimiser makes it simpler
  out_of_tries,    // simpler than the start, perhaps, but the budget ended first
  not_reproduced,  // the start itself did not fail
};

struct MinimiseResult {
  Scenario scenario;
  unsigned tries;
  MinimiseOutcome outcome;
};

/// Drops CPUs, operations and deviations; moves what is left onto fewer CPUs; sets the
/// configuration to its defaults; shrinks ranges, delays, pages and mms. Deterministic.
[[nodiscard]] MinimiseResult minimise(const Scenario& start, const StillFails& still_fails,
                                      const MinimiseOptions& options = {});

/// The order in which the minimiser thinks: fewer CPUs, then fewer operations, then fewer
/// deviations, then a plainer configuration, then smaller numbers.
[[nodiscard]] bool is_simpler(const Scenario& one, const Scenario& other);

}  // namespace shootdown::fuzz
