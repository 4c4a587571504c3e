#include "fuzz/schedule/window_targeted.h"

namespace shootdown::fuzz {

using host::OpClass;

void WindowTargeted::start(Scenario& scenario, std::uint64_t seed, bool any_windows) {
  LiveSchedule::start(scenario, seed);
  draw_rates();
  if (any_windows) draw_style(seed);
}

void WindowTargeted::resume(Scenario& scenario, unsigned kept, std::uint64_t seed) {
  LiveSchedule::resume(scenario, kept, seed);
  draw_rates();
}

void WindowTargeted::draw_rates() {
  inside_ = 1 + random().mostly_small(31);
  outside_ = wild_rate();
  fills_ = random().between(1, 4);
  if (scenario().header.nmi) nmis_ = 4U << random().below(4);
  was_on_.fill(true);
  windows_ = Windows::interrupts_off;
  sends_nmis_ = false;
  longest_rest_ = 0;
  rests_until_ = 0;
}

/// From a stream of its own: half of the runs are as they are without.
void WindowTargeted::draw_style(std::uint64_t seed) {
  Random own(seed ^ 0xc2b2ae35);
  sends_nmis_ = scenario().header.nmi && own.chance(3, 4);
  if (own.chance(1, 2)) return;
  windows_ = static_cast<Windows>(own.below(static_cast<unsigned>(Windows::kCount)));
  if (own.chance(1, 2)) longest_rest_ = 8U << own.below(5);
}

bool WindowTargeted::is_inside(unsigned self) const {
  const host::HostCpu& one = cpu(self);
  switch (windows_) {
    case Windows::reads:
      return one.interrupts_enabled && !one.in_nmi && one.last_operation == OpClass::load;
    case Windows::handlers:
      return !one.interrupts_enabled && !one.in_nmi;
    case Windows::interrupts_off:
    case Windows::kCount:
      break;
  }
  return !one.interrupts_enabled && !one.in_interrupt;
}

void WindowTargeted::leave_window_for(unsigned self, unsigned other) {
  // The NMI waits while the other CPU runs, so it comes before the next step of this one.
  if (sends_nmis_ && random().chance(1, 2)) interrupt_by_nmi(self);
  leave_for(other);
  if (longest_rest_ != 0) rests_until_ = step() + random().below(longest_rest_);
}

void WindowTargeted::decide() {
  const unsigned self = running();
  const host::HostCpu& one = cpu(self);
  if (scenario().header.nmi && !one.interrupts_enabled && !one.in_nmi &&
      random().chance(1, nmis_)) {
    interrupt_by_nmi(self);
  }
  const bool inside = is_inside(self);
  const bool enters = inside && was_on_[self];
  was_on_[self] = one.interrupts_enabled;
  if (step() < rests_until_) return;
  if (enters && random().chance(fills_, 4)) fill(self);
  if (!random().chance(1, inside ? inside_ : outside_)) return;
  if (random().chance(1, 3) && deviate_as_told()) return;
  const unsigned other = some_other_cpu();
  if (other != self) leave_window_for(self, other);
}

}  // namespace shootdown::fuzz
