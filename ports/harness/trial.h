// Executions of foreign code: generated scenarios and schedules, the scenario that is left of one
// that failed, and all interleavings of one.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "fuzz/run/proof.h"
#include "fuzz/scenario/focus.h"
#include "fuzz/scenario/generate.h"
#include "fuzz/scenario/scenario.h"
#include "fuzz/schedule/scenario_schedule.h"
#include "fuzz/schedule/walk.h"
#include "fuzz/schedule/window_targeted.h"
#include "hal/host/explore.h"
#include "hal/host/machine.h"
#include "ports/harness/kernel.h"
#include "ports/runtime/sharing.h"

namespace shootdown::port {

/// What is drawn, or the same for all executions.
enum class Choice : std::uint8_t { any, off, on };

struct TrialOptions {
  unsigned cpus{0};  // 0: 2 to 4, drawn
  Choice tso{Choice::any};
  Choice pti{Choice::any};
  Choice pcid{Choice::any};
  /// Page tables wait for lockless walkers before they are released.
  Choice deferred_tables{Choice::any};
  /// What one CPU alone uses is no choice point.
  bool elides{false};
};

/// One machine with the code on it. Nothing of an execution survives in the next. What is known of
/// variables that CPUs share is the same at the start of each: what `learn` has found, and
/// `assume` was told.
class Trial {
 public:
  using Make = std::unique_ptr<ForeignKernel> (*)(host::Machine& machine, model::Code& code);
  /// `draw` draws switches of a header that is otherwise at its defaults.
  Trial(Make make, model::Code& code, void (*draw)(fuzz::Random& random, fuzz::Header& header),
        const TrialOptions& options);

  /// Executions whose only use is that they show what CPUs share. They are the same for all
  /// options.
  void learn();
  /// Words that the next executions count as shared, besides; of `surprises` of another process.
  void assume(const std::vector<std::size_t>& words) { assumed_ = words; }
  /// Words of which the last execution has shown that CPUs share them.
  [[nodiscard]] std::vector<std::size_t> surprises() const;

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

  /// Explores all interleavings of the proof. Again from the start when variables turn out to be
  /// shared.
  host::ExploreResult explore(const fuzz::Proof& proof, std::uint64_t most_executions,
                              const std::function<void(const host::ExploreResult&)>& progress);
  [[nodiscard]] std::string story(const fuzz::Proof& proof, const std::vector<host::Step>& steps);

  [[nodiscard]] host::Machine& machine() { return machine_; }
  [[nodiscard]] ForeignKernel& kernel() { return *kernel_; }

 private:
  void generate(std::uint64_t seed);
  /// What is known of shared variables is again what it is before any execution.
  void forget();
  const host::Report& run(const fuzz::Scenario& scenario, host::ScheduleSource& schedule);
  const host::Report& run(const fuzz::Proof& proof, host::Controller& controller);
  const host::Report& run(const fuzz::Scenario& scenario, const host::Setup& setup);
  [[nodiscard]] std::string told(const fuzz::Scenario& scenario);

  host::Machine machine_;
  TrialOptions options_;
  std::unique_ptr<ForeignKernel> kernel_;
  fuzz::ScenarioSchedule own_{machine_};
  fuzz::Walk walk_{machine_};
  fuzz::WindowTargeted aimed_{machine_, kernel_.get()};
  fuzz::Focus focus_;
  fuzz::Scenario scenario_;
  model::Sharing known_;
  std::vector<std::size_t> assumed_;
};

}  // namespace shootdown::port
