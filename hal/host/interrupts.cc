#include "hal/host/interrupts.h"

#include <string>
#include <utility>

#include "hal/host/machine.h"
#include "hal/host/race_detector.h"

namespace shootdown::host {

void Interrupts::prepare() {
  delivered_ = 0;
  nmis_delivered_ = 0;
  counts_ = {};
}

// ---- Sending

void Interrupts::count(const HostCpuMask& targets) {
  HostCpuMask groups;
  targets.for_each([&](CpuId id) { groups.set(id / kIpiGroup); });
  const IpiTargets shape{
      .targets = targets.count(), .groups = groups.count(), .others = machine_.cpu_count() - 1};
  // A wrong send is left to the oracles.
  if (shape.targets == 0 || targets.test(machine_.running().id)) return;
  const IpiMethod method = choose_ipi(shape);
  ++counts_.sends[static_cast<unsigned>(method)];
  counts_.commands += ipi_cost(method, shape, {});
}

void Interrupts::send_call_function(const HostCpuMask& targets, Site where) {
  const bool xapic = machine_.setup().hardware.xapic;
  machine_.scheduler().visible(xapic ? Pending::drained : Pending::plain);
  HostCpu& self = machine_.running();
  if (xapic) machine_.memory().serialise(self);
  machine_.memory().barrier(self);
  machine_.note(OpClass::ipi, targets.word(0));
  count(targets);
  Recorder& recorder = machine_.recorder();
  if (recorder.has_timeline()) {
    std::string list;
    targets.for_each([&](CpuId id) { list += " cpu" + std::to_string(id); });
    recorder.line("send interrupt to" + (list.empty() ? " no CPU" : list), where);
  }
  if (Observer* observer = machine_.observer()) {
    observer->on_ipi(self.id, targets);
    machine_.stop_if_failed();
  }
  targets.for_each([&](CpuId id) {
    machine_.record_access(place(LocationKind::pending, id), true);
    HostCpu& target = machine_.cpu(id);
    // Its local APIC is off.
    if (target.waits_for_startup) return;
    machine_.record_access(place(LocationKind::lost, id), target.loses_next || target.has_lost);
    if (std::exchange(target.loses_next, false)) {
      target.has_lost = true;
      if (recorder.has_timeline()) {
        recorder.line("the interrupt to cpu" + std::to_string(id) + " gets lost", where);
      }
    } else {
      target.call_pending = true;
      target.has_lost = false;
    }
  });
  machine_.changed();
}

void Interrupts::send_again(CpuId target) {
  HostCpu& cpu = machine_.cpu(target);
  machine_.record_access(place(LocationKind::lost, target), cpu.has_lost);
  if (!std::exchange(cpu.has_lost, false)) return;
  machine_.record_access(place(LocationKind::pending, target), true);
  Recorder& recorder = machine_.recorder();
  if (recorder.has_timeline()) {
    recorder.line("the interrupt to cpu" + std::to_string(target) + " is sent again", {});
  }
  cpu.call_pending = true;
  machine_.changed();
}

void Interrupts::send_init(CpuId target, Site where) {
  machine_.scheduler().visible();
  machine_.memory().barrier(machine_.running());
  HostCpu& cpu = machine_.cpu(target);
  if (&cpu == &machine_.running() || machine_.controlled().is_on()) {
    Report report;
    report.kind = &kFault;
    report.title = "an INIT that the model does not know";
    report.detail = "A CPU resets itself, or a controller picks the steps.";
    report.second = {.step = machine_.step(), .cpu = machine_.running().id, .what = "sends INIT"};
    machine_.fail(std::move(report));
  }
  machine_.note(OpClass::ipi, target);
  Recorder& recorder = machine_.recorder();
  if (recorder.has_timeline()) recorder.line("send INIT to cpu" + std::to_string(target), where);
  // What it has executed is done: no store of it gets lost.
  machine_.memory().serialise(cpu);
  machine_.abandon_program(cpu);
  cpu.reset();
  machine_.changed();
}

void Interrupts::send_startup(CpuId target, Site where) {
  machine_.scheduler().visible();
  machine_.memory().barrier(machine_.running());
  machine_.note(OpClass::ipi, target);
  Recorder& recorder = machine_.recorder();
  if (recorder.has_timeline()) {
    recorder.line("send startup interrupt to cpu" + std::to_string(target), where);
  }
  HostCpu& cpu = machine_.cpu(target);
  if (!std::exchange(cpu.waits_for_startup, false)) return;
  cpu.pause_saw = ~std::uint64_t{0};
  cpu.blocked = false;
  machine_.begin_startup(cpu);
  machine_.changed();
}

bool Interrupts::has_lost_one() const {
  for (CpuId id = 0; id < machine_.cpu_count(); ++id) {
    if (machine_.cpu(id).has_lost) return true;
  }
  return false;
}

// ---- Delivery

void Interrupts::take() {
  HostCpu& first = machine_.running();
  // Once for each access, also if another interrupt comes before it.
  const bool nmi_later = first.nmi_pending && first.nmi_after > 0;
  if (nmi_later) --first.nmi_after;
  // Another CPU after each exchange of threads.
  while (machine_.running().must_interrupt()) {
    HostCpu& self = machine_.running();
    if (self.nmi_pending && !self.in_nmi) {
      if (!nmi_later || &self != &first) {
        serve_nmi();
        continue;
      }
      if (!self.must_take_maskable()) return;
    }
    if (self.hold > 0) {
      --self.hold;
      ++self.held;
      return;
    }
    if (self.call_pending || self.bau_pending) {
      serve_pending();
    } else {
      reschedule();
    }
  }
}

void Interrupts::reschedule() {
  HostCpu& self = machine_.running();
  Recorder& recorder = machine_.recorder();
  machine_.memory().serialise(self);
  self.interrupts_enabled = false;
  ++self.preemption_off;
  machine_.scheduler().note_change();
  machine_.note(OpClass::interrupt, 2);
  if (recorder.has_timeline()) {
    recorder.line("thread " + std::to_string(self.thread->number) + " is taken off {", Site());
  }
  {
    const KernelScope scope;
    machine_.setup().programs.reschedule(machine_.setup().programs.argument, self.id);
  }
  HostCpu& here = machine_.running();
  machine_.memory().serialise(here);
  if (recorder.has_timeline()) {
    recorder.line("} thread " + std::to_string(here.thread->number) + " goes on", Site());
  }
  --here.preemption_off;
  here.interrupts_enabled = true;
  machine_.changed();
}

void Interrupts::serve_pending() {
  HostCpu& self = machine_.running();
  const Programs& programs = machine_.setup().programs;
  if (self.call_pending) {
    self.call_pending = false;
    serve(programs.interrupt, "interrupt: call function {");
  } else {
    self.bau_pending = false;
    serve(programs.bau_interrupt, "interrupt: message from the hub {");
  }
}

void Interrupts::serve(CpuCode handler, const char* name) {
  HostCpu& self = machine_.running();
  Recorder& recorder = machine_.recorder();
  machine_.memory().serialise(self);
  self.interrupts_enabled = false;
  self.in_interrupt = true;
  ++delivered_;
  machine_.scheduler().note_change();
  machine_.note(OpClass::interrupt, 0);
  if (recorder.has_timeline()) recorder.line(name, Site());
  {
    const KernelScope scope;
    handler(machine_.setup().programs.argument, self.id);
  }
  leave_handler();
  if (recorder.has_timeline()) recorder.line("} return from interrupt", Site());
  self.in_interrupt = false;
  self.interrupts_enabled = true;
  machine_.changed();
}

void Interrupts::leave_handler() {
  HostCpu& self = machine_.running();
  if (machine_.controlled().is_on()) {
    self.leaves = true;
    machine_.controlled().control(Pending::drained, /*interruptible=*/false);
    self.leaves = false;
  }
  machine_.memory().serialise(self);
}

void Interrupts::serve_nmi() {
  HostCpu& self = machine_.running();
  Recorder& recorder = machine_.recorder();
  machine_.memory().serialise(self);
  // The interrupt flag is off in the handler and comes back with IRET, which also ends the time in
  // which further NMIs wait.
  const bool enabled = std::exchange(self.interrupts_enabled, false);
  self.nmi_pending = false;
  self.in_nmi = true;
  ++nmis_delivered_;
  machine_.scheduler().note_change();
  machine_.note(OpClass::interrupt, 1);
  if (recorder.has_timeline()) recorder.line("NMI {", Site());
  {
    const KernelScope scope;
    machine_.setup().programs.nmi(machine_.setup().programs.argument, self.id);
  }
  leave_handler();
  if (recorder.has_timeline()) recorder.line("} return from the NMI", Site());
  self.in_nmi = false;
  self.interrupts_enabled = enabled;
  machine_.changed();
}

}  // namespace shootdown::host
