#include "tests/threads/rounds.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <numeric>

#include "core/shootdown.h"
#include "hal/threads/hal.h"

namespace shootdown::threads {

namespace {

using H = ThreadHal;
using Clock = std::chrono::steady_clock;

/// Flushes of each way in a round.
constexpr unsigned kFlushesOfARound = 24;
/// A CPU that waits for a line lets others run after so many looks in vain.
constexpr unsigned kLooksBeforeYield = 4096;
/// Between two flushes, beside what the invalidations take: the targets are back in their loops.
constexpr std::uint64_t kRestTicks = 2000;

/// Set in a ball after which the target answers interrupts again.
constexpr std::uint64_t kLastBall = 2;

/// The line that goes between CPU 0 and one target. Odd: it is the target's turn.
struct alignas(kCacheLine) Ball {
  std::atomic<std::uint64_t> turn{0};
};

/// The mean of the middle half: what disturbs less than a quarter of the flushes does not show, and
/// the steps of a coarse counter even out.
double middle_of(std::vector<std::uint64_t>& values) {
  std::sort(values.begin(), values.end());
  const std::size_t quarter = values.size() / 4;
  const auto first = values.begin() + static_cast<std::ptrdiff_t>(quarter);
  const auto last = values.end() - static_cast<std::ptrdiff_t>(quarter);
  return static_cast<double>(std::accumulate(first, last, std::uint64_t{0})) /
         static_cast<double>(last - first);
}

Spread spread_of(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const auto at = [&](std::size_t quarter) { return values[(values.size() - 1) * quarter / 4]; };
  return {.low = at(1), .median = at(2), .high = at(3)};
}

/// Waits until `word` has a value that `is_it(value)` holds for, as a flush waits, and returns it.
template <class Predicate>
std::uint64_t wait_for(const std::atomic<std::uint64_t>& word, Predicate&& is_it) {
  for (unsigned looks = 1;; ++looks) {
    const std::uint64_t value = word.load(std::memory_order_acquire);
    if (is_it(value)) return value;
    __builtin_ia32_pause();
    if (looks % kLooksBeforeYield == 0) sched_yield();
  }
}

class Measurement {
 public:
  explicit Measurement(const Cell& cell)
      : cell_(cell), range_{.start = 0, .end = VirtAddr{cell.pages} << kPageShift} {
    initialize_system(system_, {.targets = {.early_acknowledgement = true}}, 0x1000);
    initialize_mm(system_, mm_, 0x2000);
  }

  Figures run(const std::function<bool()>& next_round) {
    processors_.run({.cpus = cell_.cpus,
                     .invalidation_ticks = cell_.invalidation_ticks,
                     .pinned = true,
                     .program = [&](CpuId cpu) { cpu == 0 ? initiate(next_round) : follow(cpu); },
                     .interrupt = [this] { handle_call_function_interrupt(system_); }});
    for (std::size_t way = 0; way < kWays; ++way) {
      figures_.times[way] = spread_of(figures_.rounds[way]);
      Spread& time = figures_.times[way];
      for (double* value : {&time.low, &time.median, &time.high}) *value *= nanoseconds_per_tick_;
    }
    figures_.fault = fault();
    return figures_;
  }

 private:
  void come_up() {
    initialize_cpu(system_);
    switch_mm(system_, mm_);
    H::enable_interrupts();
    ready_.fetch_add(1);
    while (ready_.load() != cell_.cpus) H::pause();
  }

  void initiate(const std::function<bool()>& next_round) {
    come_up();
    const Clock::time_point began = Clock::now();
    const std::uint64_t first_tick = H::ticks();
    for (std::size_t first = 0; next_round(); ++first) {
      // Each way begins a round as often as the others do.
      for (std::size_t i = 0; i < kWays; ++i) measure_way(static_cast<Way>((first + i) % kWays));
    }
    const std::chrono::duration<double, std::nano> passed = Clock::now() - began;
    nanoseconds_per_tick_ = passed.count() / static_cast<double>(H::ticks() - first_tick);
    done_.store(true, std::memory_order_release);
  }

  /// A target: answers interrupts, and plays when it is asked to.
  void follow(CpuId cpu) {
    come_up();
    while (!done_.load(std::memory_order_acquire)) {
      H::pause();
      if (balls_[cpu].turn.load(std::memory_order_relaxed) % 2 != 0) play(balls_[cpu].turn);
    }
  }
  /// The game ends with the ball that says so, so that the target looks at its line alone.
  static void play(std::atomic<std::uint64_t>& turn) {
    for (;;) {
      const std::uint64_t ball = wait_for(turn, [](std::uint64_t value) { return value % 2 != 0; });
      turn.store(ball + 1, std::memory_order_release);
      if ((ball & kLastBall) != 0) return;
    }
  }

  void measure_way(Way way) {
    if (way == Way::line) {
      measure_lines();
      return;
    }
    // No flush is on its way: no code can see the plan change.
    H::set_key(Question::concurrent, way != Way::serial);
    std::vector<std::uint64_t> times;
    times.reserve(kFlushesOfARound);
    for (unsigned i = 0; i < kFlushesOfARound; ++i) {
      rest();
      const std::uint64_t before = H::ticks();
      flush(way);
      times.push_back(H::ticks() - before);
    }
    flushes_ += kFlushesOfARound;
    keep(way, times);
  }

  void flush(Way way) {
    if (way == Way::early) {
      static_cast<void>(flush_tlb_mm_range_early(system_, mm_, range_));
    } else {
      static_cast<void>(flush_tlb_mm_range(system_, mm_, range_));
    }
  }

  void measure_lines() {
    if (cell_.cpus < 2) return;
    throw_and_catch(0);  // after it all of them play
    std::vector<std::uint64_t> times;
    times.reserve(kFlushesOfARound);
    for (unsigned i = 0; i < kFlushesOfARound; ++i) {
      rest();
      const std::uint64_t before = H::ticks();
      throw_and_catch(0);
      times.push_back(H::ticks() - before);
    }
    throw_and_catch(kLastBall);
    keep(Way::line, times);
  }
  void throw_and_catch(std::uint64_t mark) {
    throws_ += 4;
    const std::uint64_t thrown = throws_ | mark | 1;
    for (CpuId cpu = 1; cpu < cell_.cpus; ++cpu) {
      balls_[cpu].turn.store(thrown, std::memory_order_release);
    }
    for (CpuId cpu = 1; cpu < cell_.cpus; ++cpu) {
      wait_for(balls_[cpu].turn, [&](std::uint64_t value) { return value == thrown + 1; });
    }
  }

  void rest() const {
    const std::uint64_t end = H::ticks() + kRestTicks + (cell_.pages * cell_.invalidation_ticks);
    while (H::ticks() < end) __builtin_ia32_pause();
  }

  void keep(Way way, std::vector<std::uint64_t>& times) {
    figures_.rounds[static_cast<std::size_t>(way)].push_back(static_cast<double>(middle_of(times)));
  }

  /// A flush that asks no CPU would be fast. What a target did is judged by how fresh it is in the
  /// end: with early answers it may serve two flushes at once.
  [[nodiscard]] const char* fault() const {
    const Counters sum = sum_counters(system_);
    const std::uint64_t expected = flushes_ * (cell_.cpus - 1);
    if (sum.targets_queued != expected) return "a flush did not ask each CPU";
    if (sum.remote_flush_received != expected) return "a CPU did not flush when it was asked";
    if (system_.cpus[0].own.counters.local_flush_one != flushes_ * cell_.pages) {
      return "the initiator left a page out";
    }
    for (CpuId cpu = 0; cpu < cell_.cpus; ++cpu) {
      const CpuPrivate<H>& own = system_.cpus[cpu].own;
      if (own.asids[own.loaded_asid].generation != mm_.tlb_gen.owner_load()) {
        return "a CPU is behind the mm";
      }
    }
    return nullptr;
  }

  Cell cell_;
  FlushRange range_;
  System<H> system_{};
  Mm<H> mm_{};
  Processors processors_{};
  Figures figures_{};
  std::array<Ball, kThreadCpus> balls_{};
  std::uint64_t throws_{0};
  std::uint64_t flushes_{0};
  double nanoseconds_per_tick_{0};
  alignas(kCacheLine) std::atomic<bool> done_{false};
  std::atomic<CpuId> ready_{0};
};

}  // namespace

Spread Figures::ratio(Way way, Way to) const {
  const std::vector<double>& above = rounds[static_cast<std::size_t>(way)];
  const std::vector<double>& below = rounds[static_cast<std::size_t>(to)];
  std::vector<double> ratios;
  for (std::size_t i = 0; i < std::min(above.size(), below.size()); ++i) {
    ratios.push_back(above[i] / below[i]);
  }
  return spread_of(ratios);
}

Figures measure(const Cell& cell, const std::function<bool()>& next_round) {
  return std::make_unique<Measurement>(cell)->run(next_round);
}

}  // namespace shootdown::threads
