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
  relies_.fill({});
  windows_ = Windows::interrupts_off;
  sends_nmis_ = false;
  migrates_ = false;
  is_paced_ = false;
  outdates_ = false;
  longest_rest_ = 0;
  rests_until_ = 0;
}

/// From a stream of its own: a quarter of the runs are as they are without. What takes two CPUs
/// that stand still at two places needs windows of both kinds in one run.
void WindowTargeted::draw_style(std::uint64_t seed) {
  migrates_ = wants(EventKind::migrate) && Random(seed ^ 0x27d4eb2f).chance(1, 2);
  Random own(seed ^ 0xc2b2ae35);
  sends_nmis_ = scenario().header.nmi && own.chance(3, 4);
  is_paced_ = true;
  outdates_ = kernel_ != nullptr && own.chance(1, 2);
  if (own.chance(1, 4)) return;
  windows_ = static_cast<Windows>(own.below(static_cast<unsigned>(Windows::kCount)));
  if (own.chance(1, 4)) windows_ = Windows::any;
  if (kernel_ == nullptr && windows_ == Windows::spaces) windows_ = Windows::reads;
  if (own.chance(1, 2)) longest_rest_ = 8U << own.below(5);
}

/// A window opens with a load of a word of an mm, such as its mask, its generation or a mark, and
/// closes with the next locked operation on the same mm, or some time later.
void WindowTargeted::look_at_last_operation(unsigned self) {
  constexpr unsigned kLongest = 16;
  const host::HostCpu& one = cpu(self);
  Reliance& reliance = relies_[self];
  if (reliance.left != 0) --reliance.left;
  if (one.last_word == nullptr) return;
  const unsigned mm = kernel_->mm_of(one.last_word);
  if (mm == kNoMm) return;
  if (one.last_operation == OpClass::load) {
    reliance = {.mm = mm, .left = kLongest};
  } else if (one.last_operation == OpClass::modify && mm == reliance.mm) {
    reliance.left = 0;
  }
}

bool WindowTargeted::is_inside(unsigned self) const {
  const host::HostCpu& one = cpu(self);
  switch (windows_) {
    case Windows::spaces:
      return relies_[self].left != 0 && !one.in_nmi;
    case Windows::any:
      if (one.last_operation == OpClass::load && !one.in_nmi) return true;
      break;
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
  if (scenario().header.own_fields && random().chance(1, 2)) hold_interrupts(self);
  if (migrates_ && random().chance(1, 4)) {
    deviate(EventKind::migrate, self, other);
  } else {
    leave_for(other);
  }
  if (longest_rest_ != 0) rests_until_ = step() + random().below(longest_rest_);
}

/// The CPU that stands in a window and of whose state the running one has just read a word, or the
/// running one.
unsigned WindowTargeted::looked_at(unsigned self) const {
  const host::HostCpu& one = cpu(self);
  if (one.last_operation != OpClass::load || one.last_word == nullptr) return self;
  const CpuId other = kernel_->cpu_of(one.last_word);
  if (other == kNoCpu || other == self) return self;
  const bool stands = !cpu(other).interrupts_enabled && !cpu(other).in_interrupt;
  return stands && is_busy(other) ? other : self;
}

/// Whether the run has used up more of the room for deviations than it should have by now.
bool WindowTargeted::is_ahead() const {
  constexpr unsigned kAtOnce = 16;
  constexpr unsigned kSteps = 8;  // for each deviation behind these
  return is_paced_ && scenario().deviations.size() >= kAtOnce + (step() / kSteps);
}

void WindowTargeted::decide() {
  const unsigned self = running();
  const host::HostCpu& one = cpu(self);
  if (scenario().header.nmi && !one.interrupts_enabled && !one.in_nmi &&
      random().chance(1, nmis_)) {
    interrupt_by_nmi(self);
  }
  if (windows_ == Windows::spaces) look_at_last_operation(self);
  const bool inside = is_inside(self);
  const bool enters = inside && was_on_[self];
  was_on_[self] = one.interrupts_enabled;
  if (step() < rests_until_ || is_ahead()) return;
  if (outdates_) {
    // It goes on, and what was read is soon no longer so.
    const unsigned other = looked_at(self);
    if (other != self && random().chance(1, 2)) {
      leave_for(other);
      rests_until_ = step() + random().between(2, 16);
      return;
    }
  }
  if (enters && random().chance(fills_, 4)) fill(self);
  if (!random().chance(1, inside ? inside_ : outside_)) return;
  if (random().chance(1, 3) && deviate_as_told()) return;
  const unsigned other = some_other_cpu();
  if (other != self) leave_window_for(self, other);
}

}  // namespace shootdown::fuzz
