// The scheduler: which CPU runs, and what the schedule lets happen before each visible operation.
//
// A visible operation is a shared access, a TLB instruction, a change of the interrupt flag, an
// interrupt, a pause or a user access. Between two of them a CPU is alone. By default a CPU runs
// until it blocks, then the next in turn; a ScheduleSource deviates from that, and a Controller
// decides all of it (controlled_scheduler.h).
#pragma once

#include <cstdint>

#include "core/types.h"
#include "hal/host/host_cpu.h"
#include "hal/host/recorder.h"
#include "hal/host/schedule.h"

namespace shootdown::host {

class Scheduler {
 public:
  explicit Scheduler(Machine& machine) : machine_(machine) {}

  void prepare();
  /// All CPUs have booted: steps count from here on.
  void restart();
  /// The schedule is asked for its first action, unless a controller has taken over.
  void start();
  /// While CPUs boot, and after the last has finished.
  void set_running(HostCpu& cpu) { running_ = &cpu; }

  // ---- For code on the running CPU

  /// The choice point before each visible operation.
  void visible(Pending kind = Pending::plain) {
    if (++step_ >= next_stop_) [[unlikely]] {
      choose(kind);
    }
    if (running_->is_awaited()) [[unlikely]] {
      interrupt();
    }
  }
  /// Before an access that no other CPU can notice: no other CPU acts here, but an interrupt that
  /// the schedule has held back may arrive, or an NMI that it wants here.
  void own_access() {
    if (own_steps_) [[unlikely]] {
      choose_own();
    }
    if (running_->is_awaited()) [[unlikely]] {
      interrupt();
    }
  }
  /// The same before an access to a plain field of the CPU.
  void own_field_access() {
    if (own_fields_) [[unlikely]] {
      own_access();
    }
  }
  /// The choice point inside an instruction: no interrupt is taken.
  void visible_uninterrupted() {
    if (++step_ >= next_stop_) [[unlikely]] {
      choose_uninterrupted();
    }
  }
  /// A pause. The CPU blocks if nothing has changed since its pause before.
  void pause(Site where);
  /// The running CPU has read something old, so there is more to see than before its last pause.
  void looks_again() { running_->pause_saw = ~std::uint64_t{0}; }
  /// The running CPU's program is over. It still answers interrupts, until the run is done.
  void finish_program();

  /// The running CPU's thread is off: returns, on the same stack, on the CPU where the thread goes
  /// on. The CPU is idle meanwhile. Context: an exchange was asked for; preemption off.
  void exchange_threads();

  // ---- For the other parts

  /// The threads of the two are to change places, as soon as each can be taken off.
  void ask_for_exchange(HostCpu& one, HostCpu& other);
  /// Both CPUs of an exchange are idle.
  [[nodiscard]] bool meets(const HostCpu& cpu) const;

  [[nodiscard]] HostCpu& running() const { return *running_; }
  /// Visible operations so far.
  [[nodiscard]] std::uint64_t step() const { return step_; }
  /// Something has changed that a waiting CPU may wait for.
  void note_change() { ++changes_; }
  /// The schedule is asked before the next visible operation, and from then on.
  void stop_at_next_operation() { due_ = next_stop_ = 0; }
  /// How many programs are not over.
  [[nodiscard]] CpuId unfinished() const { return unfinished_; }
  /// The program of the CPU is given up, and another one begins there.
  void give_up_program(HostCpu& cpu);
  void begin_program(HostCpu& cpu);
  /// The run is done: CPUs that wait for interrupts return.
  void set_done() { done_ = true; }
  [[nodiscard]] bool is_done() const { return done_; }

  void switch_to(HostCpu& next);
  /// The CPU runs from here on, if it has something to do.
  void preempt(HostCpu& next) {
    if (&next != running_ && can_run(next)) switch_to(next);
  }
  /// Another CPU runs, because this one has lost its processor.
  void give_way();
  [[nodiscard]] bool has_work(const HostCpu& cpu) const {
    if (cpu.must_interrupt()) return true;
    if (!cpu.blocked) return true;
    if (cpu.exchange.waits()) return meets(cpu);
    return !cpu.thread->finished && !cpu.at_start_barrier && changes_ != cpu.pause_saw;
  }
  [[nodiscard]] bool can_run(const HostCpu& cpu) const {
    return cpu.place != VcpuPlace::descheduled && has_work(cpu);
  }
  /// The next CPU in turn that can run, or null. A host gives a processor back to one that has work
  /// if no other can run.
  HostCpu* next_runnable();
  [[noreturn]] void report_deadlock();

 private:
  void choose(Pending kind);
  [[nodiscard]] TimelineWatch* watch() const;
  void choose_uninterrupted();
  void choose_own();
  void interrupt();
  void fetch_action();
  void act();
  [[noreturn]] void report_endless_run();
  void block();
  void idle();
  /// The CPU waits for another thread, and no handler runs on it.
  [[nodiscard]] static bool is_idle(const HostCpu& cpu) {
    return cpu.exchange.waits() && !cpu.in_interrupt && !cpu.in_nmi;
  }
  void swap_threads();
  void wait_for_thread();
  void end_exchange(HostCpu& one, HostCpu& other);
  /// The thread that waits goes on where it was.
  void give_up_exchange(HostCpu& waiting);
  /// As next_runnable; if an interrupt got lost, time passes until a waiting CPU reaches the limit
  /// of its stall limit.
  HostCpu* next_stalled();

  Machine& machine_;
  HostCpu* running_{nullptr};
  std::uint64_t step_{0};
  std::uint64_t next_stop_{0};  // the step before which `choose` is asked ...
  std::uint64_t due_{0};        // ... and that before which it acts: later while a watch looks on
  std::uint64_t step_limit_{0};
  std::uint64_t changes_{0};
  CpuId unfinished_{0};
  bool done_{false};
  bool own_steps_{false};  // a controller is asked before accesses to own words
  bool own_fields_{false};
  bool have_action_{false};
  Action action_{};  // the schedule's next, due at due_
  unsigned stall_rounds_{0};
};

}  // namespace shootdown::host
