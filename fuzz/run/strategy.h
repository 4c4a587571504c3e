// Strategies of the random search: what decides when the operations of a generated scenario happen.
// The plain one leaves it to the generator, which knows nothing of the run. The others look at the
// machine before every visible operation.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "fuzz/run/runner.h"
#include "fuzz/scenario/generate.h"
#include "fuzz/schedule/schedule.h"
#include "fuzz/schedule/walk.h"
#include "fuzz/schedule/window_targeted.h"

namespace shootdown::fuzz {

enum class Strategy : std::uint8_t { random, walk, pct, aimed, kCount };
inline constexpr unsigned kStrategies = static_cast<unsigned>(Strategy::kCount);
/// In the order of Strategy.
inline constexpr std::array<std::string_view, kStrategies> kStrategyNames{"random", "walk", "pct",
                                                                          "aimed"};
static_assert(!kStrategyNames.back().empty(), "each Strategy has a name");

/// Probabilistic concurrency testing (Burckhardt, Kothari, Musuvathi, Nagarakatte: "A Randomized
/// Scheduler with Probabilistic Guarantees of Finding Bugs", ASPLOS 2010). Actors have priorities,
/// drawn at random: each CPU's program, its store buffer, and the arrival of its interrupts. Of
/// those that can act, the one with the highest acts; at depth - 1 moments, drawn from the run's
/// length, the acting one falls behind all others. One that waits falls behind, too. What hardware
/// does once and by itself (fills, evictions, arrivals of broadcasts, a virtual CPU that loses its
/// processor) happens at moments of its own.
///
/// Not exactly as in the paper: a CPU that blocks or ends hands over to the next in turn for one
/// visible operation, because a scenario cannot say otherwise.
class Pct final : public LiveSchedule {
 public:
  using LiveSchedule::LiveSchedule;
  /// `depth` is at least 1; `length` is how many visible operations the run may have.
  void start(Scenario& scenario, std::uint64_t seed, unsigned depth, std::uint64_t length);

 private:
  static constexpr unsigned kMoments = 16;
  /// When something changes, the latest first.
  struct Moments {
    std::array<std::uint64_t, kMoments> steps{};
    unsigned size{0};
    void draw(Random& random, unsigned count, std::uint64_t length);
    bool take(std::uint64_t now);
  };
  enum class Actor : std::uint8_t { program, buffer, interrupt };
  static constexpr std::size_t kActors = 3;

  void decide() override;
  int& priority(Actor actor, unsigned cpu) {
    return priority_[(static_cast<unsigned>(actor) * kMaxCpus) + cpu];
  }
  void fall_behind(Actor actor, unsigned cpu) { priority(actor, cpu) = --lowest_; }
  void one_event();
  void drain_buffers(int best);
  void time_interrupts();

  std::array<int, kActors * kMaxCpus> priority_{};
  std::array<bool, kMaxCpus> interrupt_seen_{};
  int lowest_{0};
  Moments changes_;
  Moments events_;
};

/// Runs generated scenarios under a strategy.
class Search {
 public:
  Search(Runner& runner, Strategy strategy, const GenerateOptions& options)
      : runner_(runner),
        strategy_(strategy),
        options_(options),
        walk_(runner.machine()),
        pct_(runner.machine()),
        window_targeted_(runner.machine(), &runner.sim()) {}

  /// Run number `seed`, which depends on nothing but the options and the number. With pct the runs
  /// of a group share a scenario: the first measures its length under the default schedule, the
  /// others have depth 1 to kDepths. `scenario()` is what was run, schedule and all.
  const host::Report& run(std::uint64_t seed);
  [[nodiscard]] const Scenario& scenario() const { return scenario_; }

  static constexpr unsigned kDepths = 5;

 private:
  static constexpr std::uint64_t kRuns = kDepths + 1;
  void measure(std::uint64_t group);

  Runner& runner_;
  Strategy strategy_;
  GenerateOptions options_;
  Walk walk_;
  Pct pct_;
  WindowTargeted window_targeted_;
  Scenario scenario_;
  Scenario shared_;
  std::uint64_t group_{~std::uint64_t{0}};
  std::uint64_t length_{0};
};

}  // namespace shootdown::fuzz
