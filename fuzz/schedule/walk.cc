#include "fuzz/schedule/walk.h"

namespace shootdown::fuzz {

void Walk::start(Scenario& scenario, std::uint64_t seed) {
  LiveSchedule::start(scenario, seed);
  rate_ = wild_rate();
}

void Walk::decide() {
  if (!random().chance(1, rate_)) return;
  if (random().chance(1, 3) && deviate_as_told()) return;
  const unsigned other = some_other_cpu();
  if (other != running()) leave_for(other);
}

}  // namespace shootdown::fuzz
