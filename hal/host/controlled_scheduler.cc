#include "hal/host/controlled_scheduler.h"

#include <utility>

#include "hal/host/machine.h"

namespace shootdown::host {

void ControlledScheduler::prepare() {
  footprint_.turn(false);
  footprint_.clear();
  hardware_.prepare();
  in_step_ = false;
  at_start_barrier_ = 0;
  outcomes_ = {};
}

const Exploration& ControlledScheduler::exploration() const { return machine_.setup().exploration; }

void ControlledScheduler::start() {
  footprint_.turn(exploration().controller != nullptr && !exploration().start_barrier);
}

void ControlledScheduler::start_barrier() {
  if (exploration().controller == nullptr || !exploration().start_barrier || is_on()) return;
  HostCpu& self = machine_.running();
  Scheduler& scheduler = machine_.scheduler();
  machine_.memory().serialise(self);
  self.at_start_barrier = true;
  if (++at_start_barrier_ == machine_.cpu_count()) {
    footprint_.turn(true);
    scheduler.stop_at_next_operation();
    // Every CPU knows the set-up.
    machine_.memory().publish_all();
    control(Pending::plain);
    return;
  }
  while (!is_on()) {
    if (self.must_interrupt()) {
      machine_.interrupts().take();
      continue;
    }
    self.blocked = true;
    HostCpu* next = scheduler.next_runnable();
    if (next == nullptr) scheduler.report_deadlock();
    scheduler.switch_to(*next);
    self.blocked = false;
  }
  // The controller has picked this CPU's first step, or it would not run.
  footprint_.record_access(place(LocationKind::control, self.id), false);
}

// ---- Taking steps

void ControlledScheduler::own_access() {
  const HostCpu& self = machine_.running();
  const bool takes_nmis = self.nmis_left != 0 && !self.in_nmi;
  if (self.interrupts_enabled || takes_nmis) control(Pending::plain);
}

void ControlledScheduler::control(Pending kind, bool interruptible) {
  const void* const loads = machine_.running().loads;
  for (;;) {
    // Another CPU, after an exchange of threads.
    HostCpu& self = machine_.running();
    self.pending = kind;
    self.loads = loads;
    self.interruptible = interruptible;
    finish_step();
    HostCpu* next = next_step();
    if (next == nullptr) return;
    machine_.scheduler().switch_to(*next);
    if (machine_.scheduler().is_done()) return;
    if (resumes(kind)) return;
  }
}

bool ControlledScheduler::resumes(Pending kind) {
  HostCpu& self = machine_.running();
  if (machine_.setup().hardware.backend == Backend::kvm) {
    footprint_.record_access(place(LocationKind::processor, self.id), false);
  }
  if (self.takes_interrupt || self.takes_nmi) {
    take_interrupt_now();
    return false;
  }
  if (self.must_exchange()) {
    footprint_.record_access(place(LocationKind::control, self.id), true);
    footprint_.record_access(place(LocationKind::buffer, self.id), false);
    // The thread's, which takes them along: a pause on the other CPU waits for what it has looked
    // at here, and for nothing that the way there reads.
    auto looks = std::exchange(self.looks, {});
    self.loads = nullptr;
    machine_.interrupts().reschedule();
    machine_.running().looks = std::move(looks);
    return false;
  }
  const bool leaves = step_now_.kind == EventKind::leave || step_now_.kind == EventKind::leave_nmi;
  footprint_.record_access(place(LocationKind::control, self.id), leaves);
  if (kind == Pending::drained && machine_.memory().buffers_stores()) {
    footprint_.record_access(place(LocationKind::buffer, self.id), false);
  }
  if (kind == Pending::pause) finish_pause(self);
  return true;
}

void ControlledScheduler::take_interrupt_now() {
  HostCpu& self = machine_.running();
  footprint_.record_access(place(LocationKind::control, self.id), true);
  // What the handler reads does not keep the program from waiting.
  const std::size_t looks = self.looks.size();
  self.loads = nullptr;
  if (std::exchange(self.takes_nmi, false)) {
    // Only the state of the store buffer decides whether it can come.
    footprint_.record_access(place(LocationKind::buffer, self.id), false);
    self.nmis_left &= ~(std::uint32_t{1} << step_now_.argument);
    self.nmi_number = step_now_.argument;
    self.nmi_address = exploration().nmis[step_now_.argument];
    const bool leaves = std::exchange(self.leaves, false);
    machine_.interrupts().serve_nmi();
    self.leaves = leaves;
  } else {
    self.takes_interrupt = false;
    footprint_.record_access(place(LocationKind::pending, self.id), true);
    machine_.interrupts().serve_pending();
  }
  self.looks.resize(looks);
}

void ControlledScheduler::finish_pause(HostCpu& cpu) {
  const bool in_vain = !sees_change(cpu);
  cpu.vain_pauses = in_vain ? cpu.vain_pauses + 1 : 0;
  for (CpuId id = 0; in_vain && id < machine_.cpu_count(); ++id) {
    footprint_.record_access(place(LocationKind::lost, id), false);
  }
  for (const Look& look : cpu.looks) machine_.record_access(look.word, false);
  cpu.looks.clear();
}

void ControlledScheduler::finish_step() {
  if (!in_step_) return;
  in_step_ = false;
  exploration().controller->done(footprint_.places());
  footprint_.clear();
}

HostCpu* ControlledScheduler::next_step() {
  for (;;) {
    list_steps();
    if (steps_.empty()) {
      machine_.scheduler().set_done();
      return nullptr;
    }
    const std::size_t index = exploration().controller->pick(steps_);
    if (index == Controller::kStop) machine_.abandon_run();
    step_now_ = steps_[index];
    in_step_ = true;
    HostCpu& cpu = machine_.cpu(step_now_.cpu);
    if (step_now_.kind == EventKind::stale) {
      machine_.memory().compiler_reordering().make_stale(cpu.id, step_now_.argument);
      step_now_ = own_step(cpu);
    }
    if (is_of_cpu(step_now_.kind)) {
      cpu.started = true;
      cpu.takes_interrupt = step_now_.kind == EventKind::interrupt;
      cpu.takes_nmi = step_now_.kind == EventKind::nmi;
      return &cpu;
    }
    hardware_.take(step_now_);
    finish_step();
  }
}

// ---- Listing them

void ControlledScheduler::list_steps() {
  steps_.clear();
  const CpuId cpus = machine_.cpu_count();
  const CpuId first = machine_.running().id;
  for (CpuId i = 0; i < cpus; ++i) list_cpu(machine_.cpu((first + i) % cpus));
  hardware_.list_certain(steps_);
  // No CPU can rely on a step that may as well not happen.
  if (steps_.empty() && machine_.scheduler().unfinished() != 0) {
    machine_.scheduler().report_deadlock();
  }
  hardware_.list_possible(steps_);
}

void ControlledScheduler::list_cpu(const HostCpu& cpu) {
  if (cpu.interruptible && HardwareSteps::can_be_interrupted(cpu) && cpu.must_serve()) {
    steps_.push_back({.kind = EventKind::interrupt, .cpu = cpu.id});
  }
  if (may_run(cpu)) steps_.push_back(own_step(cpu));
}

Step ControlledScheduler::own_step(const HostCpu& cpu) {
  Step step{.kind = EventKind::run, .cpu = cpu.id};
  if (cpu.in_nmi) {
    step.kind = cpu.leaves ? EventKind::leave_nmi : EventKind::handle_nmi;
    step.argument = cpu.nmi_number;
  } else if (cpu.in_interrupt) {
    step.kind = cpu.leaves ? EventKind::leave : EventKind::handle;
  }
  return step;
}

bool ControlledScheduler::may_run(const HostCpu& cpu) const {
  if (cpu.place == VcpuPlace::descheduled) return false;
  // As for an interrupt.
  if (cpu.must_exchange()) return cpu.stores.empty();
  switch (cpu.pending) {
    case Pending::plain:
      return true;
    case Pending::drained:
      return cpu.stores.empty();
    case Pending::pause:
      return sees_change(cpu) || may_stall(cpu);
    case Pending::thread:
      return !cpu.exchange.waits() || machine_.scheduler().meets(cpu);
    case Pending::idle:
      break;
  }
  return false;
}

bool ControlledScheduler::sees_change(const HostCpu& cpu) {
  for (const Look& look : cpu.looks) {
    if (look.read(look.word, cpu) != look.bits) return true;
  }
  return cpu.looks.empty();
}

bool ControlledScheduler::may_stall(const HostCpu& cpu) const {
  return cpu.vain_pauses < exploration().stall_limit && machine_.interrupts().has_lost_one();
}

// ---- Outcomes

void ControlledScheduler::note(OpClass op, std::uint64_t value) {
  // Whichever step a store leaves the buffer in, the order of the stores says it all.
  const EventKind kind = op == OpClass::drain ? EventKind::drain : step_now_.kind;
  std::uint64_t& outcome = outcomes_[(static_cast<std::size_t>(kind) * kHostCpus) + step_now_.cpu];
  outcome = (outcome ^ (static_cast<std::uint64_t>(op) << 56) ^ value) * 0x9e37'79b9'7f4a'7c15;
  outcome ^= outcome >> 32;
}

std::uint64_t ControlledScheduler::outcome_hash() const {
  std::uint64_t hash = 0;
  for (const std::uint64_t outcome : outcomes_) {
    hash = (hash ^ outcome) * 0x9e37'79b9'7f4a'7c15;
    hash ^= hash >> 29;
  }
  return hash;
}

}  // namespace shootdown::host
