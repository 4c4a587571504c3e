// A schedule that walks at random.
#pragma once

#include <cstdint>

#include "fuzz/schedule/schedule.h"

namespace shootdown::fuzz {

/// A walk: now and then another CPU runs, or something that the scenario wanted happens.
class Walk final : public LiveSchedule {
 public:
  using LiveSchedule::LiveSchedule;
  void start(Scenario& scenario, std::uint64_t seed);

 private:
  void decide() override;
  unsigned rate_{1};
};

}  // namespace shootdown::fuzz
