#include "hal/host/machine.h"

#include <utility>

#include "hal/host/device.h"
#include "hal/host/hypervisor.h"
#include "hal/host/race_detector.h"
#include "hal/host/walk.h"

namespace shootdown::host {

namespace {

/// Fibers are reused from run to run; each loops over this argument.
struct FiberArgument {
  Machine* machine;
  CpuId cpu;
};

constexpr std::uint64_t kNever = ~std::uint64_t{0};

}  // namespace

Machine::Machine()
    : hypervisor_(std::make_unique<Hypervisor>(*this)), device_(std::make_unique<Device>(*this)) {
  for (CpuId id = 0; id < kHostCpus; ++id) cpus_[id].id = id;
  running_ = cpus_.data();
}

Machine::~Machine() {
  // Words outlive machines, and ask the current one.
  if (current_machine == this) current_machine = nullptr;
}

void Machine::prepare(const Setup& setup) {
  setup_ = setup;
  observer_ = setup.observer;
  for (HostCpu& cpu : cpus_) {
    cpu.cr3 = 0;
    cpu.cr4 =
        (setup.hardware.pcid ? kCr4Pcid : 0) | (setup.hardware.global_pages ? kCr4GlobalPages : 0);
    cpu.interrupts_enabled = false;
    cpu.in_interrupt = false;
    cpu.call_pending = false;
    cpu.hub_pending = false;
    cpu.loses_next = false;
    cpu.has_lost = false;
    cpu.nmi_pending = false;
    cpu.in_nmi = false;
    cpu.in_emulation = false;
    cpu.place = VcpuPlace::running;
    cpu.blocked = false;
    cpu.finished = false;
    cpu.hold = 0;
    cpu.held = 0;
    cpu.stores.clear();
    cpu.at_gate = false;
    cpu.pending = Pending::plain;
    cpu.interruptible = true;
    cpu.started = false;
    cpu.takes_interrupt = cpu.takes_nmi = false;
    cpu.leaves = false;
    cpu.preemptions_left = setup.exploration.preemptions;
    cpu.losses_left = setup.exploration.losses;
    cpu.duplicates_left = setup.exploration.duplicates;
    cpu.vain_pauses = 0;
    cpu.nmis_left = (std::uint32_t{1} << setup.exploration.nmis.size()) - 1;
    cpu.fills_left = (std::uint32_t{1} << setup.exploration.fills.size()) - 1;
    cpu.evictions_left = (std::uint32_t{1} << (2 * setup.exploration.evictions.size())) - 1;
    cpu.stores_buffered = 0;
    cpu.looks.clear();
    cpu.loads = nullptr;
    cpu.preemption_off = 0;
    cpu.pause_saw = kNever;
    cpu.tlb.clear();
  }
  if (reorders()) cxx_.prepare();
  hypervisor_->prepare();
  device_->prepare();
  frames_.reset();
  features_.clear();
  timeline_.clear();
  effects_.clear();
  broadcasts_.clear();
  report_ = {};
  step_ = 0;
  next_stop_ = kNever;
  changes_ = 0;
  hash_ = 0;
  interrupts_delivered_ = 0;
  nmis_delivered_ = 0;
  rounds_of_patience_ = 0;
  ipi_counts_ = {};
  observing_ = false;
  have_action_ = false;
  done_ = false;
  controlled_ = false;
  in_step_ = false;
  at_gate_ = 0;
  footprint_.clear();
  outcomes_ = {};
  device_walks_left_ = (std::uint32_t{1} << setup.exploration.device_walks.size()) - 1;
  unfinished_ = setup.hardware.cpus;
  running_ = cpus_.data();
  current_machine = this;
}

void Machine::cpu_main(void* argument) {
  // The fiber belongs to one CPU of one machine for good, and waits here between runs.
  auto& self = *static_cast<HostCpu*>(argument);
  for (;;) {
    Machine& machine = *current_machine;
    machine.setup_.programs.boot(machine.setup_.programs.argument, self.id);
    Fiber::switch_to(self.fiber, machine.host_);
    // Every CPU starts when all have booted.
    acquired(&machine.start_);
    {
      const ModelScope scope;
      if (machine.controlled_ && !self.started) machine.control(Pending::plain);
    }
    machine.setup_.programs.program(machine.setup_.programs.argument, self.id);
    {
      const ModelScope scope;
      if (!machine.controlled_) machine.drain();
      self.finished = true;
      --machine.unfinished_;
      machine.idle();
    }
    Fiber::switch_to(self.fiber, machine.host_);
  }
}

void Machine::idle() {
  // A CPU without work still answers interrupts.
  HostCpu& self = *running_;
  while (!done_ && controlled_) {
    self.blocked = true;
    control(Pending::idle);
    self.blocked = false;
  }
  while (!done_) {
    if (self.must_interrupt()) {
      interrupt();
      continue;
    }
    self.blocked = true;
    HostCpu* next = next_after_patience();
    if (next != nullptr) {
      switch_to(*next);
    } else if (unfinished_ == 0) {
      done_ = true;
    } else {
      report_deadlock();
    }
    self.blocked = false;
  }
}

const Report& Machine::run() {
  if (!fibers_ready_) {
    for (HostCpu& cpu : cpus_) cpu.fiber.prepare(&Machine::cpu_main, &cpu);
    fibers_ready_ = true;
  }
  for (CpuId id = 0; id < setup_.hardware.cpus && !report_.failed(); ++id) {
    running_ = &cpus_[id];
    Fiber::switch_to(host_, cpus_[id].fiber);
  }
  if (report_.failed()) return report_;
  if (reorders()) {
    // Everybody knows how the machine was brought up.
    for (CpuId id = 0; id < setup_.hardware.cpus; ++id) drain(cpus_[id], StoreBuffer::kStores);
    cxx_.settle();
  }
  step_ = 0;
  hash_ = 0;
  changes_ = 0;
  for (HostCpu& cpu : cpus_) cpu.executed = {};
  observing_ = observer_ != nullptr;
  for (CpuId id = 0; id < setup_.hardware.cpus && observing_; ++id) observer_->on_cr3(id);
  timeline_.clear();
  next_stop_ = 0;
  controlled_ = setup_.exploration.controller != nullptr && !setup_.exploration.gated;
  if (!controlled_) fetch_action();
  running_ = cpus_.data();
  released(&start_);
  Fiber::switch_to(host_, running_->fiber);
  // What follows is behind whatever each CPU did, also where it was abandoned.
  acquired(this);
  // One CPU noticed that all is done and came back; the others wait in `idle` and follow.
  for (CpuId id = 0; id < setup_.hardware.cpus && fibers_ready_; ++id) {
    if (!cpus_[id].blocked) continue;
    running_ = &cpus_[id];
    Fiber::switch_to(host_, cpus_[id].fiber);
  }
  observing_ = false;
  controlled_ = false;
  if (recording_) end_effects();
  return report_;
}

void Machine::leave_run() {
  // Every fiber is abandoned where it stands; the next run prepares them afresh.
  fibers_ready_ = false;
  observing_ = false;
  controlled_ = false;
  Fiber::switch_to(running_->fiber, host_);
  __builtin_unreachable();
}

void Machine::fail(Report report) {
  {
    // The frames from here on are abandoned, so nothing may own memory any more: a plain assignment
    // might swap what the previous run's report held into the parameter.
    const Report previous = std::exchange(report_, std::move(report));
  }
  leave_run();
}

void Machine::fail(const Failure& failure) {
  Report report;
  report.oracle = Oracle::check;
  report.title = failure.what;
  report.detail = "A check inside the core failed. It guards R" +
                  std::to_string(static_cast<unsigned>(failure.rule)) + ".";
  report.second = {.step = step_, .cpu = running_->id, .what = failure.what};
  if (recording_) record(std::string("check failed: ") + failure.what, failure.where);
  fail(std::move(report));
}

// ---- Scheduling
// -----------------------------------------------------------------------------------

void Machine::fetch_action() {
  have_action_ =
      setup_.exploration.schedule != nullptr && setup_.exploration.schedule->next(action_);
  const std::uint64_t due = have_action_ ? next_stop_ + action_.delay : kNever;
  next_stop_ = due < setup_.exploration.step_limit ? due : setup_.exploration.step_limit;
}

void Machine::choose(Pending kind) {
  if (controlled_) {
    control(kind);
    if (step_ < setup_.exploration.step_limit) return;
  }
  while (step_ >= next_stop_) {
    if (step_ >= setup_.exploration.step_limit) {
      Report report;
      report.oracle = Oracle::o18;
      report.title = "a run does not end";
      report.detail =
          "The step limit was reached although the schedule is fair by then: some CPU "
          "repeats itself for ever.";
      report.second = {.step = step_, .cpu = running_->id, .what = "still running"};
      fail(std::move(report));
    }
    const Action action = action_;
    fetch_action();
    apply(action);
  }
}

void Machine::apply(const Action& action) {
  HostCpu& target = cpus_[action.cpu % kHostCpus];
  const std::uint64_t before = recording_ ? what_it_changes(action) : 0;
  if (recording_) begin_effect(action);
  switch (action.kind) {
    case ActionKind::preempt:
      if (&target != running_ && can_run(target)) switch_to(target);
      break;
    case ActionKind::hold:
      target.hold = static_cast<std::uint32_t>(action.argument);
      break;
    case ActionKind::drain:
      drain(target, static_cast<unsigned>(action.argument));
      break;
    case ActionKind::fill:
      // Without a processor nobody walks for it.
      if (target.place != VcpuPlace::running) break;
      if (action.level > 1) {
        fill_pointers(target, action.argument, action.level);
      } else {
        fill(target, action.argument, /*write=*/false, /*speculative=*/true);
      }
      break;
    case ActionKind::evict:
      target.tlb.evict(static_cast<std::uint32_t>(action.argument));
      break;
    case ActionKind::vcpu_preempt:
      hypervisor_->deschedule(target);
      if (&target == running_ && target.place == VcpuPlace::descheduled) give_way();
      break;
    case ActionKind::vcpu_resume:
      hypervisor_->resume(target);
      break;
    case ActionKind::fail:
      hypervisor_->fail_next(target, action.argument);
      break;
    case ActionKind::overtake:
      overtake(target, action.argument);
      break;
    case ActionKind::stale:
      if (reorders()) cxx_.make_stale(target.id, static_cast<unsigned>(action.argument));
      break;
    case ActionKind::deliver:
      deliver_some(target.id, action.argument);
      break;
    case ActionKind::lose:
      target.loses_next = true;
      break;
    case ActionKind::duplicate:
      target.call_pending = true;
      break;
    case ActionKind::device:
      walk_of_device(action.cpu, action.argument, action.level);
      break;
    case ActionKind::nmi:
      // One waits at most, as hardware keeps one.
      if (setup_.programs.nmi == nullptr || target.nmi_pending) break;
      target.nmi_pending = true;
      target.nmi_address = action.argument;
      break;
  }
  if (recording_) end_effect(action, before);
}

void Machine::walk_of_device(unsigned context, VirtAddr address, unsigned level) {
  device_->walk(context, address, level);
  stop_if_failed();
  if (!recording_) return;
  record("a device walks for " + name_of(address) + " of space " + std::to_string(context) +
             ", to level " + std::to_string(level),
         Site());
}

void Machine::give_way() {
  HostCpu* next = next_runnable();
  // Not null: in the worst case this CPU is resumed, and has work.
  switch_to(*next);
}

bool Machine::can_run(const HostCpu& cpu) const {
  return cpu.place != VcpuPlace::descheduled && has_work(cpu);
}

bool Machine::has_work(const HostCpu& cpu) const {
  if (cpu.must_interrupt()) return true;
  if (!cpu.blocked) return true;
  return !cpu.finished && !cpu.at_gate && changes_ != cpu.pause_saw;
}

HostCpu* Machine::next_runnable() {
  for (CpuId i = 1; i <= setup_.hardware.cpus; ++i) {
    HostCpu& candidate = cpus_[(running_->id + i) % setup_.hardware.cpus];
    if (can_run(candidate)) return &candidate;
  }
  // The host lets nobody starve for ever.
  for (CpuId i = 1; i <= setup_.hardware.cpus; ++i) {
    HostCpu& candidate = cpus_[(running_->id + i) % setup_.hardware.cpus];
    if (!has_work(candidate)) continue;
    hypervisor_->resume(candidate);
    return &candidate;
  }
  return nullptr;
}

HostCpu* Machine::next_after_patience() {
  // More than any wait needs that counts its pauses.
  constexpr unsigned kRounds = 1000;
  HostCpu* next = next_runnable();
  if (next != nullptr || rounds_of_patience_ == kRounds) return next;
  bool has_lost = false;
  for (const HostCpu& cpu : cpus_) has_lost = has_lost || cpu.has_lost;
  if (!has_lost) return nullptr;
  ++rounds_of_patience_;
  // Everybody looks again and waits on, as if something had happened.
  ++changes_;
  return next_runnable();
}

void Machine::switch_to(HostCpu& next) {
  if (next.place == VcpuPlace::entering) hypervisor_->enter(next);
  HostCpu& previous = *running_;
  if (&next == &previous) return;
  running_ = &next;
  released(this);
  Fiber::switch_to(previous.fiber, next.fiber, Fiber::Order::none);
}

void Machine::block() {
  // No store stays in a buffer for ever.
  drain();
  HostCpu& self = *running_;
  self.blocked = true;
  HostCpu* next = next_after_patience();
  if (next == nullptr) report_deadlock();
  // An interrupt held back by the schedule arrives when the CPU has nothing else to do.
  if (next->blocked) next->hold = 0;
  if (next != &self) switch_to(*next);
  self.blocked = false;
}

void Machine::report_deadlock() {
  Report report;
  report.oracle = Oracle::o18;
  report.title = "all CPUs wait";
  for (CpuId id = 0; id < setup_.hardware.cpus; ++id) {
    const HostCpu& cpu = cpus_[id];
    report.detail +=
        "cpu" + std::to_string(id) + (cpu.finished ? ": has no more work" : ": waits") +
        (cpu.interrupts_enabled ? ", interrupts on" : ", interrupts off") +
        (cpu.call_pending || cpu.hub_pending ? ", an interrupt is pending" : "") + ". ";
  }
  report.second = {.step = step_, .cpu = running_->id, .what = "nobody can run"};
  fail(std::move(report));
}

void Machine::interrupt() {
  if (controlled_) return;  // A step of its own.
  HostCpu& self = *running_;
  while (self.must_interrupt()) {
    if (self.nmi_pending && !self.in_nmi) {
      serve_nmi();
      continue;
    }
    if (self.hold > 0) {
      --self.hold;
      ++self.held;
      return;
    }
    serve_pending();
  }
}

void Machine::serve_pending() {
  HostCpu& self = *running_;
  if (self.call_pending) {
    self.call_pending = false;
    serve(setup_.programs.interrupt, "interrupt: call function {");
  } else {
    self.hub_pending = false;
    serve(setup_.programs.hub_interrupt, "interrupt: message from the hub {");
  }
}

void Machine::serve(CpuCode handler, const char* name) {
  drain();
  HostCpu& self = *running_;
  self.interrupts_enabled = false;
  self.in_interrupt = true;
  ++interrupts_delivered_;
  ++changes_;
  note(OpClass::interrupt, 0);
  if (recording_) record(name, Site());
  {
    const KernelScope scope;
    handler(setup_.programs.argument, self.id);
  }
  leave_handler();
  if (recording_) record("} return from interrupt", Site());
  self.in_interrupt = false;
  self.interrupts_enabled = true;
  changed();
}

void Machine::leave_handler() {
  if (controlled_) {
    running_->leaves = true;
    control(Pending::drained, /*interruptible=*/false);
    running_->leaves = false;
  }
  drain();
}

void Machine::serve_nmi() {
  drain();
  HostCpu& self = *running_;
  // The interrupt flag is off in the handler and comes back with IRET, which also ends the time in
  // which further NMIs wait.
  const bool enabled = std::exchange(self.interrupts_enabled, false);
  self.nmi_pending = false;
  self.in_nmi = true;
  ++nmis_delivered_;
  ++changes_;
  note(OpClass::interrupt, 1);
  if (recording_) record("NMI {", Site());
  {
    const KernelScope scope;
    setup_.programs.nmi(setup_.programs.argument, self.id);
  }
  leave_handler();
  if (recording_) record("} return from the NMI", Site());
  self.in_nmi = false;
  self.interrupts_enabled = enabled;
  changed();
}

}  // namespace shootdown::host
