#include "fuzz/schedule/scenario_schedule.h"

namespace shootdown::fuzz {

void ScenarioSchedule::start(const Scenario& scenario) {
  scenario_ = &scenario;
  index_ = 0;
  const auto& deviations = scenario.deviations;
  first_aim_ = 0;
  while (first_aim_ < deviations.size() && deviations[first_aim_].kind != EventKind::aim) {
    ++first_aim_;
  }
  if (aims()) unfold();
}

void ScenarioSchedule::unfold() {
  unfolded_ = *scenario_;
  Deviation& aim = unfolded_.deviations[first_aim_];
  // The choice of the CPU is one of the choices that make schedules differ.
  const unsigned seed = aim.arg + (256U * aim.cpu);
  aim.kind = EventKind::preempt;
  aim.arg = 0;
  window_targeted_.resume(unfolded_, first_aim_ + 1, seed);
}

bool ScenarioSchedule::next(host::Action& action) {
  const auto& deviations = unfolded().deviations;
  if (aims() && index_ > first_aim_) return window_targeted_.next(action);
  if (index_ == deviations.size()) return false;
  action = action_of(scenario_->header, deviations[index_++]);
  return true;
}

}  // namespace shootdown::fuzz
