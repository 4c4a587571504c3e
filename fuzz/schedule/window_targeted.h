// A schedule that aims at windows between two steps. The random search uses it as a strategy, and
// a scenario with an `aim` deviation from there on.
#pragma once

#include <array>
#include <cstdint>

#include "fuzz/events/events.h"
#include "fuzz/schedule/schedule.h"

namespace shootdown::fuzz {

/// What a run takes for a window.
enum class Windows : std::uint8_t {
  interrupts_off,  // a task that has switched interrupts off, with fills on its way in
  reads,           // a task that has read a word and goes on from what it has read
  handlers,        // as the first, and the handlers of interrupts
  spaces,          // a CPU between its read of an mm's word and its next locked operation there
  any,             // as the first two
  kCount,
};

/// Aims at windows: a CPU is in the middle of something that others must not see half done, or goes
/// on from what it has read and others may have changed. There it is preempted much more often than
/// elsewhere, and it fills translations, so that it has something that can become stale. NMIs,
/// where there are any, come there, too, and often one waits for the CPU when it goes on.
class WindowTargeted final : public LiveSchedule {
 public:
  /// `kernel` tells which words are an mm's; without it there are no windows of that kind.
  explicit WindowTargeted(host::Machine& machine, const KernelView* kernel = nullptr)
      : LiveSchedule(machine), kernel_(kernel) {}
  /// `any_windows`: of all kinds, with NMIs and rests, which the run draws. Otherwise the first.
  void start(Scenario& scenario, std::uint64_t seed, bool any_windows = false);
  void resume(Scenario& scenario, unsigned kept, std::uint64_t seed);
  /// The run has windows of this kind and none of those that it has drawn. Behind `start`.
  void aim_at(Windows windows) { windows_ = windows; }

 private:
  void draw_rates();
  void draw_style(std::uint64_t seed);
  void decide() override;
  void look_at_last_operation(unsigned self);
  [[nodiscard]] unsigned looked_at(unsigned self) const;
  [[nodiscard]] bool is_inside(unsigned self) const;
  [[nodiscard]] bool is_ahead() const;
  void leave_window_for(unsigned self, unsigned other);

  /// What a CPU has read and may rely on: a word of this mm, so many decisions of its own ago.
  struct Reliance {
    unsigned mm{0};
    unsigned left{0};  // 0: on nothing
  };

  const KernelView* kernel_;
  std::array<Reliance, kMaxCpus> relies_{};
  unsigned inside_{1};   // one in so many operations inside a window
  unsigned outside_{1};  // ... and outside
  unsigned fills_{0};    // in quarters: how often a CPU fills on its way in
  unsigned nmis_{1};     // one in so many operations with interrupts off
  std::array<bool, kMaxCpus> was_on_{};
  Windows windows_{Windows::interrupts_off};
  bool sends_nmis_{false};
  bool migrates_{false};  // now and then the threads of the two CPUs change places instead
  bool is_paced_{false};
  bool outdates_{false};      // what a CPU has just read of another that stands in a window
  unsigned longest_rest_{0};  // how many operations the other CPU is left alone for
  std::uint64_t rests_until_{0};
};

}  // namespace shootdown::fuzz
