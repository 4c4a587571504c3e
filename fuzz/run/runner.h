// Runs scenarios: one machine, one simulated kernel, the oracles, and a schedule.
#pragma once

#include <cstdint>
#include <vector>

#include "fuzz/kernel/sim_kernel.h"
#include "fuzz/oracles/oracles.h"
#include "fuzz/scenario/scenario.h"
#include "fuzz/schedule/scenario_schedule.h"
#include "hal/host/machine.h"

namespace shootdown::fuzz {

/// More visible operations than any scenario needs, however it is scheduled.
inline constexpr std::uint64_t kStepLimit = 400000;

/// A run under a controller, instead of a scenario's deviations.
struct ControlledRun {
  host::Controller* controller;
  /// Operations of each CPU that run before it, in the default schedule.
  unsigned setup{0};
  /// A page, or behind the user pages one of the kernel's, and the level of the last entry that a
  /// walk for it reads.
  struct Walk {
    unsigned page;
    unsigned level{1};
    friend bool operator==(const Walk&, const Walk&) = default;
  };
  /// Walks that each CPU attempts speculatively, once for each time they are named here.
  std::vector<Walk> fills{};
  /// Pages of which each CPU drops at some moment what it has cached.
  std::vector<unsigned> evictions{};
  /// KVM: how often the host may take the processor from each CPU.
  unsigned preemptions{0};
  /// For each of these pages every CPU takes an NMI whose handler reads it.
  std::vector<unsigned> nmis{};
  /// Walks of the device in mm 0.
  std::vector<Walk> device_walks{};
  /// Interrupts to each CPU that get lost, and that arrive unsent.
  unsigned losses{0};
  unsigned duplicates{0};
  /// Exchanges of threads, of any two CPUs.
  unsigned migrations{0};
  /// Not 0: interrupts and NMIs also come before accesses to the CPU's own words.
  unsigned own{0};
};

/// Holds everything of a run, and is reused for the next: nothing of a run survives in it. One at a
/// time in a process.
class Runner {
 public:
  Runner() : oracles_(machine_), sim_(machine_, oracles_) { oracles_.watch(sim_); }

  /// Runs a normalised scenario to its end or to the first failure.
  const host::Report& run(const Scenario& scenario);
  /// The same with another schedule than the scenario's own.
  const host::Report& run(const Scenario& scenario, host::ScheduleSource& schedule);
  const host::Report& run(const Scenario& scenario, const ControlledRun& control);

  [[nodiscard]] host::Machine& machine() { return machine_; }
  [[nodiscard]] SimKernel& sim() { return sim_; }
  [[nodiscard]] Oracles& oracles() { return oracles_; }
  /// What was run last may be referred to until the next run.
  [[nodiscard]] const host::Report& report() const { return report_; }
  /// What the last run of a scenario under its own schedule did, with no `aim` left in it.
  [[nodiscard]] const Scenario& unfolded() const { return schedule_.unfolded(); }

 private:
  [[nodiscard]] static host::SpeculativeWalk walk_of(const ControlledRun::Walk& walk);
  [[nodiscard]] host::Setup setup_of(const Scenario& scenario);
  const host::Report& run(const Scenario& scenario, const host::Setup& setup);

  host::Machine machine_;
  Oracles oracles_;
  SimKernel sim_;
  ScenarioSchedule schedule_{machine_};
  host::Report report_;
};

}  // namespace shootdown::fuzz
