#include "hal/host/scheduler.h"

#include <string>
#include <utility>

#include "hal/host/hypervisor.h"
#include "hal/host/machine.h"
#include "hal/host/race_detector.h"

namespace shootdown::host {

namespace {

constexpr std::uint64_t kNever = ~std::uint64_t{0};

}  // namespace

void Scheduler::prepare() {
  step_ = 0;
  due_ = next_stop_ = kNever;
  changes_ = 0;
  unfinished_ = machine_.cpu_count();
  done_ = false;
  own_steps_ = false;
  own_fields_ = false;
  have_action_ = false;
  stall_rounds_ = 0;
}

void Scheduler::restart() {
  step_ = 0;
  changes_ = 0;
}

void Scheduler::start() {
  due_ = next_stop_ = 0;
  const Exploration& exploration = machine_.setup().exploration;
  step_limit_ = exploration.step_limit;
  own_steps_ = exploration.controller != nullptr && exploration.own_accesses;
  own_fields_ = exploration.own_fields;
  if (!machine_.controlled().is_on()) fetch_action();
}

// ---- Choice points

void Scheduler::fetch_action() {
  ScheduleSource* schedule = machine_.setup().exploration.schedule;
  have_action_ = schedule != nullptr && schedule->next(action_);
  const std::uint64_t due = have_action_ ? due_ + action_.delay : kNever;
  due_ = due < step_limit_ ? due : step_limit_;
  next_stop_ = watch() != nullptr ? 0 : due_;
}

TimelineWatch* Scheduler::watch() const {
  const Recorder& recorder = machine_.recorder();
  return recorder.has_timeline() ? recorder.watch() : nullptr;
}

void Scheduler::choose(Pending kind) {
  const bool controlled = machine_.controlled().is_on();
  if (controlled) [[unlikely]] {
    machine_.controlled().control(kind);
  }
  if (!controlled || step_ >= step_limit_) [[likely]] {
    while (step_ >= due_) act();
  }
  // Other CPUs have gone on meanwhile; from here to its line the operation is done.
  if (TimelineWatch* const watching = watch()) [[unlikely]] {
    watching->before_operation();
  }
}

void Scheduler::act() {
  if (step_ >= step_limit_) [[unlikely]] {
    report_endless_run();
  }
  // That another CPU runs is what schedules want most, and has no effect that a timeline tells.
  if (action_.kind == EventKind::preempt && !machine_.recorder().has_timeline()) [[likely]] {
    HostCpu& next = machine_.cpu(action_.cpu % kHostCpus);
    fetch_action();
    return preempt(next);
  }
  const Action action = action_;
  fetch_action();
  machine_.deviations().apply(action);
}

void Scheduler::report_endless_run() {
  Report report;
  report.kind = &kStuck;
  report.title = "a run does not end";
  report.detail =
      "The step limit was reached although the schedule is fair by then: some CPU "
      "repeats itself for ever.";
  report.second = {.step = step_, .cpu = running_->id, .what = "still running"};
  machine_.fail(std::move(report));
}

void Scheduler::choose_uninterrupted() {
  if (machine_.controlled().is_on()) {
    machine_.controlled().control(Pending::plain, /*interruptible=*/false);
  } else {
    choose(Pending::plain);
  }
}

void Scheduler::choose_own() {
  if (machine_.controlled().is_on() && !done_) machine_.controlled().own_access();
}

void Scheduler::interrupt() {
  // Under a controller an interrupt is a step of its own.
  if (!machine_.controlled().is_on()) machine_.interrupts().take();
}

// ---- Which CPU runs

HostCpu* Scheduler::next_runnable() {
  const CpuId cpus = machine_.cpu_count();
  for (CpuId i = 1; i <= cpus; ++i) {
    HostCpu& candidate = machine_.cpu((running_->id + i) % cpus);
    if (can_run(candidate)) return &candidate;
  }
  // The host starves no CPU for ever.
  for (CpuId i = 1; i <= cpus; ++i) {
    HostCpu& candidate = machine_.cpu((running_->id + i) % cpus);
    if (!has_work(candidate)) continue;
    machine_.hypervisor().resume(candidate);
    return &candidate;
  }
  // The kernel continues a thread where it was if the CPU that it is for has no time.
  for (CpuId i = 1; i <= cpus; ++i) {
    HostCpu& candidate = machine_.cpu((running_->id + i) % cpus);
    if (!candidate.exchange.waits()) continue;
    give_up_exchange(candidate);
    return &candidate;
  }
  return nullptr;
}

HostCpu* Scheduler::next_stalled() {
  // More than any wait needs that counts its pauses.
  constexpr unsigned kRounds = 1000;
  HostCpu* next = next_runnable();
  if (next != nullptr || stall_rounds_ == kRounds) return next;
  if (!machine_.interrupts().has_lost_one()) return nullptr;
  ++stall_rounds_;
  // Every waiting CPU looks again and waits on, as if something had happened.
  ++changes_;
  return next_runnable();
}

void Scheduler::switch_to(HostCpu& next) {
  if (next.place == VcpuPlace::entering) machine_.hypervisor().enter(next);
  HostCpu& previous = *running_;
  if (&next == &previous) return;
  running_ = &next;
  released(&machine_);
  Fiber::switch_to(previous.thread->fiber, next.thread->fiber, Fiber::Order::none);
}

void Scheduler::give_way() {
  HostCpu* next = next_runnable();
  // Not null: in the worst case this CPU is resumed, and has work.
  switch_to(*next);
}

// ---- Threads that change places

void Scheduler::ask_for_exchange(HostCpu& one, HostCpu& other) {
  one.exchange.state = other.exchange.state = Exchange::State::asked;
  one.exchange.with = other.id;
  other.exchange.with = one.id;
}

void Scheduler::end_exchange(HostCpu& one, HostCpu& other) {
  for (HostCpu* cpu : {&one, &other}) {
    cpu->exchange.state = Exchange::State::none;
    // The thread that goes on here has not looked at anything yet.
    cpu->pause_saw = ~std::uint64_t{0};
    cpu->blocked = false;
  }
  ++changes_;
}

void Scheduler::give_up_exchange(HostCpu& waiting) {
  end_exchange(waiting, machine_.cpu(waiting.exchange.with));
}

bool Scheduler::meets(const HostCpu& cpu) const {
  return is_idle(cpu) && is_idle(machine_.cpu(cpu.exchange.with));
}

void Scheduler::exchange_threads() {
  // The kernel's locks hand a thread over: what it did before comes before what it does then.
  machine_.memory().serialise(*running_);
  released(running_);
  running_->exchange.state = Exchange::State::waits;
  while (running_->exchange.waits() && machine_.controlled().is_on() && !done_) {
    if (meets(*running_)) swap_threads();
    machine_.controlled().control(Pending::thread);
  }
  while (running_->exchange.waits() && !done_) {
    if (meets(*running_)) {
      swap_threads();
    } else if (running_->must_interrupt()) {
      interrupt();
      released(running_);
    } else {
      wait_for_thread();
    }
  }
  acquired(running_);
}

void Scheduler::swap_threads() {
  HostCpu& self = *running_;
  HostCpu& other = machine_.cpu(self.exchange.with);
  machine_.memory().serialise(self);
  machine_.memory().serialise(other);
  machine_.memory().meet(self, other);
  std::swap(self.thread, other.thread);
  // Under a controller: both stand before the same, and this step is of both.
  for (HostCpu* cpu : {&self, &other}) {
    machine_.record_access(place(LocationKind::control, cpu->id), true);
    cpu->pending = Pending::thread;
    cpu->interruptible = true;
    cpu->looks.clear();
  }
  ++self.exchange.done;
  ++other.exchange.done;
  const bool was_blocked = self.blocked;
  const bool other_was = other.blocked;
  end_exchange(self, other);
  if (machine_.controlled().is_on()) {
    // Said of the threads: whether they are behind the end of their programs.
    self.blocked = other_was;
    other.blocked = was_blocked;
  }
  // A virtual CPU that has no processor gets one, and with it the flush that it is owed.
  machine_.hypervisor().resume(other);
  if (other.place == VcpuPlace::entering) machine_.hypervisor().enter(other);
  // This code is the thread's, which has just moved.
  running_ = &other;
}

void Scheduler::wait_for_thread() {
  running_->blocked = true;
  HostCpu* next = next_stalled();
  if (next == nullptr) report_deadlock();
  if (next != running_) switch_to(*next);
  running_->blocked = false;
}

// ---- Waiting

void Scheduler::pause(Site where) {
  HostCpu& self = *running_;
  // Only if nothing has changed since the pause before is this CPU's wait pointless for now; a
  // change between its last look and this pause costs one more round.
  if (self.pause_saw == changes_) {
    Recorder& recorder = machine_.recorder();
    if (recorder.has_timeline()) recorder.line("waits", where);
    block();
    choose(Pending::plain);
  }
  self.pause_saw = changes_;
}

void Scheduler::block() {
  HostCpu& self = *running_;
  // No store stays in a buffer for ever.
  machine_.memory().serialise(self);
  self.blocked = true;
  HostCpu* next = next_stalled();
  if (next == nullptr) report_deadlock();
  // An interrupt held back by the schedule arrives when the CPU has nothing else to do.
  if (next->blocked) next->hold = next->nmi_after = 0;
  if (next != &self) switch_to(*next);
  self.blocked = false;
}

void Scheduler::give_up_program(HostCpu& cpu) {
  // The thread that was to come here stays where it is.
  if (cpu.exchange.state != Exchange::State::none) {
    end_exchange(cpu, machine_.cpu(cpu.exchange.with));
  }
  if (cpu.thread->finished) return;
  cpu.thread->finished = true;
  --unfinished_;
}

void Scheduler::begin_program(HostCpu& cpu) {
  cpu.thread->finished = false;
  ++unfinished_;
}

void Scheduler::finish_program() {
  HostCpu& self = *running_;
  if (!machine_.controlled().is_on()) machine_.memory().serialise(self);
  self.thread->finished = true;
  --unfinished_;
  idle();
}

void Scheduler::idle() {
  while (!done_ && machine_.controlled().is_on()) {
    running_->blocked = true;
    machine_.controlled().control(Pending::idle);
    running_->blocked = false;
  }
  // An interrupt may be what takes the thread to another CPU.
  while (!done_) {
    if (running_->must_interrupt()) {
      interrupt();
      continue;
    }
    running_->blocked = true;
    HostCpu* next = next_stalled();
    if (next != nullptr) {
      switch_to(*next);
    } else if (unfinished_ == 0) {
      done_ = true;
    } else {
      report_deadlock();
    }
    running_->blocked = false;
  }
}

void Scheduler::report_deadlock() {
  Report report;
  report.kind = &kStuck;
  report.title = "all CPUs wait";
  for (CpuId id = 0; id < machine_.cpu_count(); ++id) {
    const HostCpu& cpu = machine_.cpu(id);
    report.detail +=
        "cpu" + std::to_string(id) + (cpu.thread->finished ? ": has no more work" : ": waits") +
        (cpu.interrupts_enabled ? ", interrupts on" : ", interrupts off") +
        (cpu.call_pending || cpu.bau_pending ? ", an interrupt is pending" : "") + ". ";
  }
  report.second = {.step = step_, .cpu = running_->id, .what = "no CPU can run"};
  machine_.fail(std::move(report));
}

}  // namespace shootdown::host
