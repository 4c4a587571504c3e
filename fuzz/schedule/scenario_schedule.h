// A scenario's own schedule: its deviations one by one and, from an `aim` on, what a strategy
// decides while the run goes.
#pragma once

#include "fuzz/scenario/scenario.h"
#include "fuzz/schedule/window_targeted.h"
#include "hal/host/machine.h"
#include "hal/host/schedule.h"

namespace shootdown::fuzz {

/// An `aim` at the end of a list lets an engine search among schedules by changing one byte. It can
/// still do nothing but deviate, so every such run is one without an `aim`, too: `unfolded`.
class ScenarioSchedule final : public host::ScheduleSource {
 public:
  explicit ScenarioSchedule(host::Machine& machine) : window_targeted_(machine) {}

  /// `scenario` must live as long as the run.
  void start(const Scenario& scenario);
  bool next(host::Action& action) override;
  /// What the run did, as a scenario with no `aim`: the same operations, and every deviation by
  /// itself. Up to the next `start`.
  [[nodiscard]] const Scenario& unfolded() const { return aims() ? unfolded_ : *scenario_; }

 private:
  [[nodiscard]] bool aims() const { return first_aim_ < scenario_->deviations.size(); }
  void unfold();

  WindowTargeted window_targeted_;
  const Scenario* scenario_{nullptr};
  Scenario unfolded_;
  unsigned index_{0};
  unsigned first_aim_{0};  // behind the last deviation, if there is none
};

}  // namespace shootdown::fuzz
