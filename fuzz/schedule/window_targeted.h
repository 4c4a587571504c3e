// A schedule that aims at windows between two steps. The random search uses it as a strategy, and
// a scenario with an `aim` deviation from there on.
#pragma once

#include <array>
#include <cstdint>

#include "fuzz/schedule/schedule.h"

namespace shootdown::fuzz {

/// Aims at windows: when a CPU has switched interrupts off it is in the middle of something that
/// others must not see half done. There it is preempted much more often than elsewhere, and on the
/// way in it fills translations, so that it has something that can become stale. NMIs, where there
/// are any, come there, too, handlers included.
class WindowTargeted final : public LiveSchedule {
 public:
  using LiveSchedule::LiveSchedule;
  void start(Scenario& scenario, std::uint64_t seed);
  void resume(Scenario& scenario, unsigned kept, std::uint64_t seed);

 private:
  void draw_rates();
  void decide() override;
  unsigned inside_{1};   // one in so many operations inside a window
  unsigned outside_{1};  // ... and outside
  unsigned fills_{0};    // in quarters: how often a CPU fills on its way in
  unsigned nmis_{1};     // one in so many operations with interrupts off
  std::array<bool, kMaxCpus> was_on_{};
};

}  // namespace shootdown::fuzz
