// Races between flushes and everything that decides whether a CPU is flushed. Each runs for a while
// with a seed, instead of a number of steps: where CPUs really run at the same time, moments come
// by chance, and what is searched for is one that is rare.
#pragma once

#include <cstdint>

#include "kernel-glue/kernel/ktap.h"

namespace shootdown::kernel {

struct RaceOptions {
  /// Of each race. 0: no races.
  std::uint32_t milliseconds{0};
  std::uint32_t seed{1};
};

/// Runs them all; true if none found a wrong read.
[[nodiscard]] bool run_races(const RaceOptions& options, const TestChoice& choice);

}  // namespace shootdown::kernel
