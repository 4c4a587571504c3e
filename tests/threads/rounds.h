// Times of flushes on CPUs that are threads, measured in turn: a round has each way of flushing one
// after the other, so what else the machine does meets all of them, and the ratio of two ways in
// one round says more than either time.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "core/types.h"

namespace shootdown::threads {

/// What is measured: a flush of `pages` pages by one of `cpus` CPUs that all run the mm.
struct Cell {
  CpuId cpus{2};
  unsigned pages{1};
  /// Of the time stamp counter, for each invalidation. Here one is only bookkeeping otherwise.
  std::uint64_t invalidation_ticks{0};
};

enum class Way : std::uint8_t {
  serial,      // the local part, then the others
  concurrent,  // both at the same time
  early,       // as concurrent, and the targets answer before they flush
  line,        // no flush: a line to each target and back, all of them at the same time
};
inline constexpr std::size_t kWays = 4;

/// The median and the quartiles of the rounds.
struct Spread {
  double low{0};
  double median{0};
  double high{0};
};

struct Figures {
  /// Nanoseconds, by `Way`. With one CPU there is no line.
  std::array<Spread, kWays> times{};
  /// What is wrong with the measurement; null: nothing.
  const char* fault{nullptr};
  /// The means of the middle half of each round, by `Way`, in ticks.
  std::array<std::vector<double>, kWays> rounds{};

  /// Of two ways within each round.
  [[nodiscard]] Spread ratio(Way way, Way to) const;
};

/// Measures one cell. `next_round` says whether there is another round; the thread of CPU 0 asks.
Figures measure(const Cell& cell, const std::function<bool()>& next_round);

}  // namespace shootdown::threads
