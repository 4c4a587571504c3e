// Runs under a Controller: which steps are enabled, and how one is taken.
#include <utility>

#include "hal/host/device.h"
#include "hal/host/hypervisor.h"
#include "hal/host/machine.h"
#include "hal/host/walk.h"

namespace shootdown::host {

void Machine::choose_uninterrupted() {
  if (controlled_) {
    control(Pending::plain, /*interruptible=*/false);
  } else {
    choose(Pending::plain);
  }
}

void Machine::gate() {
  if (setup_.exploration.controller == nullptr || !setup_.exploration.gated || controlled_) return;
  drain();
  HostCpu& self = *running_;
  self.at_gate = true;
  if (++at_gate_ == setup_.hardware.cpus) {
    controlled_ = true;
    next_stop_ = 0;
    // The set-up is behind everybody.
    if (reorders()) cxx_.settle();
    control(Pending::plain);
    return;
  }
  while (!controlled_) {
    if (self.must_interrupt()) {
      interrupt();
      continue;
    }
    self.blocked = true;
    HostCpu* next = next_runnable();
    if (next == nullptr) report_deadlock();
    switch_to(*next);
    self.blocked = false;
  }
  // Whoever switched here has picked this CPU's first step.
  touch(place(Part::control, self.id), false);
}

void Machine::control(Pending kind, bool interruptible) {
  HostCpu& self = *running_;
  const void* const loads = self.loads;
  for (;;) {
    self.pending = kind;
    self.loads = loads;
    self.interruptible = interruptible;
    finish_step();
    HostCpu* next = next_step();
    if (next == nullptr) return;
    switch_to(*next);
    if (done_) return;
    if (setup_.hardware.backend == Backend::kvm) touch(place(Part::processor, self.id), false);
    if (self.takes_interrupt || self.takes_nmi) {
      take_interrupt_now();
      continue;
    }
    const bool leaves = step_now_.kind == StepKind::leave || step_now_.kind == StepKind::leave_nmi;
    touch(place(Part::control, self.id), leaves);
    if (kind == Pending::drained && buffers_stores()) touch(place(Part::buffer, self.id), false);
    if (kind == Pending::pause) finish_pause(self);
    return;
  }
}

void Machine::take_interrupt_now() {
  HostCpu& self = *running_;
  touch(place(Part::control, self.id), true);
  // The handler's own looks do not keep the program from waiting.
  const std::size_t looks = self.looks.size();
  self.loads = nullptr;
  if (std::exchange(self.takes_nmi, false)) {
    // Only the state of the store buffer decides whether it can come.
    touch(place(Part::buffer, self.id), false);
    self.nmis_left &= ~(std::uint32_t{1} << step_now_.argument);
    self.nmi_number = step_now_.argument;
    self.nmi_address = setup_.exploration.nmis[step_now_.argument];
    const bool leaves = std::exchange(self.leaves, false);
    serve_nmi();
    self.leaves = leaves;
  } else {
    self.takes_interrupt = false;
    touch(place(Part::pending, self.id), true);
    serve_pending();
  }
  self.looks.resize(looks);
}

bool Machine::sees_change(const HostCpu& cpu) {
  for (const Look& look : cpu.looks) {
    if (look.read(look.word, cpu) != look.bits) return true;
  }
  return cpu.looks.empty();
}

bool Machine::may_lose_patience(const HostCpu& cpu) const {
  if (cpu.vain_pauses >= setup_.exploration.patience) return false;
  for (CpuId id = 0; id < setup_.hardware.cpus; ++id) {
    if (cpus_[id].has_lost) return true;
  }
  return false;
}

void Machine::finish_pause(HostCpu& cpu) {
  const bool in_vain = !sees_change(cpu);
  cpu.vain_pauses = in_vain ? cpu.vain_pauses + 1 : 0;
  for (CpuId id = 0; in_vain && id < setup_.hardware.cpus; ++id)
    touch(place(Part::lost, id), false);
  for (const Look& look : cpu.looks) touch(look.word, false);
  cpu.looks.clear();
}

void Machine::finish_step() {
  if (!in_step_) return;
  in_step_ = false;
  setup_.exploration.controller->done(footprint_);
  footprint_.clear();
}

HostCpu* Machine::next_step() {
  for (;;) {
    list_steps();
    if (steps_.empty()) {
      done_ = true;
      return nullptr;
    }
    const std::size_t index = setup_.exploration.controller->pick(steps_);
    if (index == Controller::kStop) leave_run();
    step_now_ = steps_[index];
    in_step_ = true;
    HostCpu& cpu = cpus_[step_now_.cpu];
    if (step_now_.kind == StepKind::stale) {
      cxx_.make_stale(cpu.id, step_now_.argument);
      step_now_ = own_step(cpu);
    }
    if (step_now_.kind <= StepKind::leave_nmi) {
      cpu.started = true;
      cpu.takes_interrupt = step_now_.kind == StepKind::interrupt;
      cpu.takes_nmi = step_now_.kind == StepKind::nmi;
      return &cpu;
    }
    apply_step(step_now_);
    finish_step();
  }
}

void Machine::apply_step(const Step& step) {
  HostCpu& cpu = cpus_[step.cpu];
  switch (step.kind) {
    case StepKind::drain:
      drain(cpu, 1);
      break;
    case StepKind::fill:
      try_fill(cpu, step.argument);
      break;
    case StepKind::evict:
      try_evict(cpu, step.argument);
      break;
    case StepKind::deliver:
      deliver_first(cpu.id, step.argument);
      break;
    case StepKind::overtake:
      overtake(cpu, step.argument);
      break;
    case StepKind::preempt:
      --cpu.preemptions_left;
      touch(place(Part::processor, cpu.id), true);
      hypervisor_->deschedule(cpu);
      break;
    case StepKind::resume:
      touch(place(Part::processor, cpu.id), true);
      hypervisor_->resume(cpu);
      break;
    case StepKind::device: {
      device_walks_left_ &= ~(std::uint32_t{1} << step.argument);
      const DeviceWalk& what = setup_.exploration.device_walks[step.argument];
      walk_of_device(what.context, what.walk.address, what.walk.level);
      break;
    }
    case StepKind::lose:
      --cpu.losses_left;
      touch(place(Part::lost, cpu.id), true);
      cpu.loses_next = true;
      break;
    case StepKind::duplicate:
      --cpu.duplicates_left;
      touch(place(Part::pending, cpu.id), true);
      cpu.call_pending = true;
      break;
    default:
      break;
  }
}

void Machine::touch_cached(CpuId cpu, VirtAddr address, bool write) {
  touch(place(Part::tlb, cpu), false);
  touch(cached(cpu, address), write);
}

void Machine::touch_dropped(CpuId cpu, VirtAddr address) {
  if (!controlled_) return;
  HostCpu& owner = cpus_[cpu];
  // An entry for a large page is found by any address in it.
  const TlbEntry* entry = owner.tlb.find(address, pcid_of(owner.cr3));
  const bool large = entry != nullptr && entry->shift != kPageShift;
  touch(place(Part::tlb, cpu), large);
  touch(place(Part::drops, cpu), large);
  touch(cached(cpu, address), true);
  touch(dropped(cpu, address), true);
  touch(place(Part::tables, cpu), true);
  touch(place(Part::table_drops, cpu), true);
}

void Machine::try_fill(HostCpu& cpu, std::uint32_t number) {
  // An attempt may be in vain. It counts all the same, so that whether it is possible depends on
  // nothing: what a step needs besides its place in the program would have to be told to everybody
  // who looks for steps that conflict.
  cpu.fills_left &= ~(std::uint32_t{1} << number);
  const auto [address, level] = setup_.exploration.fills[number];
  if (setup_.hardware.backend == Backend::kvm) touch(place(Part::processor, cpu.id), false);
  touch(place(Part::root, cpu.id), false);
  // Without a processor nobody walks for it.
  if (cpu.place != VcpuPlace::running) return;
  if (level > 1) return fill_pointers(cpu, address, level);
  touch_cached(cpu.id, address, cpu.tlb.find(address, pcid_of(cpu.cr3)) == nullptr);
  fill(cpu, address, /*write=*/false, /*speculative=*/true);
}

void Machine::try_evict(HostCpu& cpu, std::uint32_t number) {
  // In vain or not, as with fills.
  cpu.evictions_left &= ~(std::uint32_t{1} << number);
  const VirtAddr address = setup_.exploration.evictions[number / 2];
  touch(place(Part::root, cpu.id), false);
  if (number % 2 != 0) return try_evict_pointers(cpu, address);
  const std::uint16_t pcid = pcid_of(cpu.cr3);
  touch_cached(cpu.id, address, /*write=*/false);
  const TlbEntry* entry = cpu.tlb.find(address, pcid);
  if (entry == nullptr) return;
  // Who asks whether something outdated is left hears of it, as of any other drop. An entry for a
  // large page is found by any address in it.
  const bool large = entry->shift != kPageShift;
  touch(place(Part::tlb, cpu.id), large);
  touch(place(Part::drops, cpu.id), large);
  touch(cached(cpu.id, address), true);
  touch(dropped(cpu.id, address), true);
  cpu.tlb.entries.remove_if([&](const TlbEntry& each) {
    return each.covers(address) && (each.global || each.pcid == pcid);
  });
}

void Machine::try_evict_pointers(HostCpu& cpu, VirtAddr address) {
  const std::uint16_t pcid = pcid_of(cpu.cr3);
  const unsigned before = cpu.tlb.psc.size();
  cpu.tlb.psc.remove_if(
      [&](const PscEntry& entry) { return entry.pcid == pcid && entry.covers(address); });
  const bool drops = cpu.tlb.psc.size() != before;
  touch(place(Part::tables, cpu.id), drops);
  if (drops) touch(place(Part::table_drops, cpu.id), true);
}

bool Machine::may_run(const HostCpu& cpu) const {
  if (cpu.place == VcpuPlace::descheduled) return false;
  switch (cpu.pending) {
    case Pending::plain:
      return true;
    case Pending::drained:
      return cpu.stores.empty();
    case Pending::pause:
      return sees_change(cpu) || may_lose_patience(cpu);
    case Pending::idle:
      break;
  }
  return false;
}

Step Machine::own_step(const HostCpu& cpu) {
  Step step{.kind = StepKind::run, .cpu = cpu.id};
  if (cpu.in_nmi) {
    step.kind = cpu.leaves ? StepKind::leave_nmi : StepKind::handle_nmi;
    step.argument = cpu.nmi_number;
  } else if (cpu.in_interrupt) {
    step.kind = cpu.leaves ? StepKind::leave : StepKind::handle;
  }
  return step;
}

void Machine::list_steps() {
  steps_.clear();
  for (CpuId i = 0; i < setup_.hardware.cpus; ++i) {
    const HostCpu& cpu = cpus_[(running_->id + i) % setup_.hardware.cpus];
    if (cpu.interruptible && can_be_interrupted(cpu) && cpu.must_interrupt()) {
      steps_.push_back({.kind = StepKind::interrupt, .cpu = cpu.id});
    }
    if (may_run(cpu)) steps_.push_back(own_step(cpu));
  }
  for (CpuId id = 0; id < setup_.hardware.cpus; ++id) {
    if (!cpus_[id].stores.empty()) steps_.push_back({.kind = StepKind::drain, .cpu = id});
    if (cpus_[id].place == VcpuPlace::descheduled) {
      steps_.push_back({.kind = StepKind::resume, .cpu = id});
    }
  }
  for (const BroadcastMessage& message : broadcasts_) list_deliveries(message);
  // What is left is nothing that anybody can wait for.
  if (steps_.empty() && unfinished_ != 0) report_deadlock();
  for (CpuId id = 0; id < setup_.hardware.cpus; ++id) {
    list_surprises(cpus_[id]);
    if (reorders()) list_reorderings(cpus_[id]);
  }
  for (std::uint32_t i = 0; i < setup_.exploration.device_walks.size(); ++i) {
    if (((device_walks_left_ >> i) & 1) == 0) continue;
    steps_.push_back({.kind = StepKind::device, .cpu = 0, .argument = i});
  }
}

bool Machine::can_be_interrupted(const HostCpu& cpu) const {
  return cpu.started && cpu.stores.empty() && cpu.place != VcpuPlace::descheduled;
}

void Machine::list_deliveries(const BroadcastMessage& message) {
  message.left.for_each([&](CpuId id) {
    const Step step{.kind = StepKind::deliver, .cpu = id, .argument = message.issuer};
    for (const Step& other : steps_) {
      if (other == step) return;
    }
    steps_.push_back(step);
  });
}

void Machine::list_surprises(const HostCpu& cpu) {
  for (std::uint32_t i = 0; i < setup_.exploration.fills.size(); ++i) {
    if (((cpu.fills_left >> i) & 1) == 0) continue;
    steps_.push_back({.kind = StepKind::fill, .cpu = cpu.id, .argument = i});
  }
  for (std::uint32_t i = 0; i < 2 * setup_.exploration.evictions.size(); ++i) {
    if (((cpu.evictions_left >> i) & 1) == 0) continue;
    steps_.push_back({.kind = StepKind::evict, .cpu = cpu.id, .argument = i});
  }
  if (setup_.hardware.backend == Backend::kvm && cpu.preemptions_left != 0 &&
      cpu.place == VcpuPlace::running) {
    steps_.push_back({.kind = StepKind::preempt, .cpu = cpu.id});
  }
  list_faults(cpu);
}

void Machine::list_faults(const HostCpu& cpu) {
  // An NMI comes between any two instructions, the return from a handler included.
  const bool between = cpu.interruptible || cpu.leaves;
  for (std::uint32_t i = 0; i < setup_.exploration.nmis.size(); ++i) {
    if (((cpu.nmis_left >> i) & 1) == 0) continue;
    if (!between || !can_be_interrupted(cpu) || cpu.in_nmi) break;
    steps_.push_back({.kind = StepKind::nmi, .cpu = cpu.id, .argument = i});
  }
  if (cpu.losses_left != 0) steps_.push_back({.kind = StepKind::lose, .cpu = cpu.id});
  if (cpu.duplicates_left != 0) steps_.push_back({.kind = StepKind::duplicate, .cpu = cpu.id});
}

void Machine::list_reorderings(const HostCpu& cpu) {
  std::uint32_t overtaking = 0;
  for (unsigned i = 1; i < cpu.stores.size(); ++i) {
    if (!cpu.stores.may_overtake(i)) continue;
    steps_.push_back({.kind = StepKind::overtake, .cpu = cpu.id, .argument = overtaking++});
  }
  if (cpu.loads == nullptr || cpu.place == VcpuPlace::descheduled) return;
  if (cpu.stores.find(cpu.loads) != nullptr) return;
  const unsigned older = cxx_.older_values(cpu.id, cpu.loads);
  for (std::uint32_t age = 1; age <= older; ++age) {
    steps_.push_back({.kind = StepKind::stale, .cpu = cpu.id, .argument = age});
  }
}

void Machine::note_outcome(OpClass op, std::uint64_t value) {
  // A store leaves the buffer in whichever step; the order of the stores says it all.
  const StepKind kind = op == OpClass::drain ? StepKind::drain : step_now_.kind;
  std::uint64_t& outcome = outcomes_[(static_cast<std::size_t>(kind) * kHostCpus) + step_now_.cpu];
  outcome = (outcome ^ (static_cast<std::uint64_t>(op) << 56) ^ value) * 0x9e37'79b9'7f4a'7c15;
  outcome ^= outcome >> 32;
}

std::uint64_t Machine::outcome_hash() const {
  std::uint64_t hash = 0;
  for (const std::uint64_t outcome : outcomes_) {
    hash = (hash ^ outcome) * 0x9e37'79b9'7f4a'7c15;
    hash ^= hash >> 29;
  }
  return hash;
}

}  // namespace shootdown::host
