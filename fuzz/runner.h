// Runs scenarios: one machine, one simulated kernel, the oracles, and a scenario's own schedule.
#pragma once

#include <cstdint>

#include "fuzz/guest.h"
#include "fuzz/oracles.h"
#include "fuzz/scenario.h"
#include "hal/host/machine.h"
#include "hal/host/schedule.h"

namespace shootdown::fuzz {

/// The deviations of a scenario as a schedule.
class ScenarioSchedule final : public host::ScheduleSource {
 public:
  void start(const Scenario& scenario) {
    scenario_ = &scenario;
    index_ = 0;
  }
  bool next(host::Action& action) override;

 private:
  const Scenario* scenario_{nullptr};
  unsigned index_{0};
};

/// More visible operations than any scenario needs, however it is scheduled.
inline constexpr std::uint64_t kStepLimit = 400000;

/// Holds everything of a run, and is reused for the next: nothing of a run survives in it. One at a
/// time in a process.
class Runner {
 public:
  Runner() : oracles_(machine_), guest_(machine_, oracles_) {}

  /// Runs a normalised scenario to its end or to the first failure.
  const host::Report& run(const Scenario& scenario);

  [[nodiscard]] host::Machine& machine() { return machine_; }
  [[nodiscard]] Guest& guest() { return guest_; }
  /// What was run last may be referred to until the next run.
  [[nodiscard]] const host::Report& report() const { return report_; }

 private:
  host::Machine machine_;
  Oracles oracles_;
  Guest guest_;
  ScenarioSchedule schedule_;
  host::Report report_;
};

}  // namespace shootdown::fuzz
