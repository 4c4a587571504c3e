// Executions of foreign memory-management code: generated scenarios and schedules, and the scenario
// that is left of one that failed.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "fuzz/scenario/focus.h"
#include "fuzz/scenario/generate.h"
#include "fuzz/scenario/scenario.h"
#include "fuzz/schedule/scenario_schedule.h"
#include "fuzz/schedule/walk.h"
#include "fuzz/schedule/window_targeted.h"
#include "hal/host/machine.h"
#include "kernel-glue/embed/port/kernel.h"

namespace shootdown::port {

struct TrialOptions {
  unsigned cpus{0};  // 0: 2 to 4, drawn
  enum class MemoryModel : std::uint8_t { any, sc, tso } memory{MemoryModel::any};
};

/// One machine with the code on it. Nothing of an execution survives in the next.
class Trial {
 public:
  Trial(model::Code& code, const Functions& functions, const TrialOptions& options);

  /// Execution number `seed`: its scenario, and of three kinds of schedules one. What was run, with
  /// its schedule, is `scenario()`.
  const host::Report& run(std::uint64_t seed);
  [[nodiscard]] const fuzz::Scenario& scenario() const { return scenario_; }
  /// A scenario under its own schedule.
  const host::Report& run(const fuzz::Scenario& scenario);
  /// The smallest scenario found that fails in the same way.
  [[nodiscard]] fuzz::Scenario minimised(const fuzz::Scenario& scenario);
  /// Runs the scenario, and tells what each CPU did and what went wrong. Instructions of the code
  /// are named by their offset: "{0x1234}".
  [[nodiscard]] std::string story(const fuzz::Scenario& scenario);

  [[nodiscard]] host::Machine& machine() { return machine_; }

 private:
  void generate(std::uint64_t seed);
  const host::Report& run(const fuzz::Scenario& scenario, host::ScheduleSource& schedule);

  host::Machine machine_;
  const model::Code& code_;
  TrialOptions options_;
  std::uint64_t kinds_;
  PortKernel kernel_;
  fuzz::ScenarioSchedule own_{machine_};
  fuzz::Walk walk_{machine_};
  fuzz::WindowTargeted aimed_{machine_, &kernel_};
  fuzz::Focus focus_;
  fuzz::Scenario scenario_;
};

}  // namespace shootdown::port
