#include "fuzz/schedule/window_targeted.h"

namespace shootdown::fuzz {

void WindowTargeted::start(Scenario& scenario, std::uint64_t seed) {
  LiveSchedule::start(scenario, seed);
  draw_rates();
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
}

void WindowTargeted::decide() {
  const unsigned self = running();
  const host::HostCpu& one = cpu(self);
  if (scenario().header.nmi && !one.interrupts_enabled && !one.in_nmi &&
      random().chance(1, nmis_)) {
    interrupt_by_nmi(self);
  }
  const bool inside = !one.interrupts_enabled && !one.in_interrupt;
  const bool enters = inside && was_on_[self];
  was_on_[self] = one.interrupts_enabled;
  if (enters && random().chance(fills_, 4)) fill(self);
  if (!random().chance(1, inside ? inside_ : outside_)) return;
  if (random().chance(1, 3) && deviate_as_told()) return;
  const unsigned other = some_other_cpu();
  if (other != self) leave_for(other);
}

}  // namespace shootdown::fuzz
