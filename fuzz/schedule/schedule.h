// What a scenario's deviations are on the machine, and schedules that are decided while they run.
#pragma once

#include <cstdint>

#include "fuzz/scenario/random.h"
#include "fuzz/scenario/scenario.h"
#include "hal/host/machine.h"
#include "hal/host/schedule.h"

namespace shootdown::fuzz {

/// What a deviation is on the machine.
[[nodiscard]] host::Action action_of(const Header& header, const Deviation& deviation);

/// A schedule that is decided while it runs. It is asked before every visible operation, looks at
/// the machine, and can do nothing but add deviations to the scenario. So when the run is over the
/// scenario holds the run: the same scenario under its own schedule is the same run, step by step.
///
/// A scenario has room for kMaxDeviations. When they are used up the rest of the run follows the
/// default schedule.
class LiveSchedule : public host::ScheduleSource {
 public:
  explicit LiveSchedule(host::Machine& machine) : machine_(machine) {}

  bool next(host::Action& action) final;

 protected:
  /// Takes the scenario's deviations away to write its own there, and starts the stream of random
  /// numbers. `scenario` must live as long as the run.
  void start(Scenario& scenario, std::uint64_t seed);
  /// The same for the rest of a run that follows the scenario's first `kept` deviations before:
  /// they stay, and the others are taken away. It begins when the last of them is due.
  void resume(Scenario& scenario, unsigned kept, std::uint64_t seed);
  /// Before each visible operation of the CPU that runs: deviates, or does nothing.
  virtual void decide() = 0;

  // For `decide`.

  void deviate(EventKind kind, unsigned cpu, unsigned arg = 0);
  /// Something that the scenario had wanted to happen at another moment: a preempted virtual CPU, a
  /// drained store, a translation evicted. Never a plain preemption. False if it had nothing.
  bool deviate_as_told();
  /// Whether the scenario had wanted something of this kind.
  [[nodiscard]] bool wants(EventKind kind) const;
  /// `cpu` fills a translation that matters: of a page that some operation names.
  void fill(unsigned cpu) { deviate(EventKind::fill, cpu, some_page()); }

  /// An NMI comes to `cpu`, whose handler reads a page that the CPU has cached, if there is one,
  /// now or before one of the next accesses to its own words.
  void interrupt_by_nmi(unsigned cpu);

  /// The next interrupt of `cpu` waits for a few of its operations, accesses to its own words and
  /// fields included.
  void hold_interrupts(unsigned cpu);

  /// Another CPU runs. As likely as not the one that stands still fills a translation first, or it
  /// would have little that can become stale.
  void leave_for(unsigned other);

  [[nodiscard]] const host::HostCpu& cpu(unsigned id) const { return machine_.cpu(id); }
  [[nodiscard]] unsigned running() const { return machine_.running().id; }
  [[nodiscard]] std::uint64_t step() const { return machine_.step(); }
  [[nodiscard]] const Scenario& scenario() const { return *scenario_; }
  [[nodiscard]] unsigned cpus() const { return scenario_->header.cpus; }
  /// Whether the CPU has something to do. One that waits has not, although the machine may let it
  /// look again.
  [[nodiscard]] bool is_busy(unsigned id) const;
  /// Another busy CPU, each with the same chance, or the running one if there is none.
  [[nodiscard]] unsigned some_other_cpu();
  [[nodiscard]] unsigned some_page();
  [[nodiscard]] unsigned some_cached_page(unsigned id);
  /// One in so many, from 4 to 256: how often something happens differs wildly from run to run.
  [[nodiscard]] unsigned wild_rate() { return 4U << random_.below(7); }
  [[nodiscard]] Random& random() { return random_; }

 private:
  host::Machine& machine_;
  Scenario* scenario_{nullptr};
  Random random_{0};
  BoundedList<Deviation, kMaxDeviations> wishes_;
  std::uint64_t asked_at_{0};  // the step before which `decide` was called last
  std::uint64_t last_{0};      // the step of the last deviation
  unsigned told_{0};           // deviations that the machine has been told
  bool resumes_{false};        // it has not been asked since `resume`
};

}  // namespace shootdown::fuzz
