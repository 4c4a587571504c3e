#include "hal/host/hardware_steps.h"

#include <cstdlib>

#include "hal/host/hypervisor.h"
#include "hal/host/machine.h"

namespace shootdown::host {

void HardwareSteps::prepare() {
  device_walks_left_ = (std::uint32_t{1} << exploration().device_walks.size()) - 1;
  migrations_left_ = exploration().migrations;
}

const Exploration& HardwareSteps::exploration() const { return machine_.setup().exploration; }

// ---- What may happen

void HardwareSteps::list_certain(std::vector<Step>& steps) const {
  for (CpuId id = 0; id < machine_.cpu_count(); ++id) {
    const HostCpu& cpu = machine_.cpu(id);
    if (!cpu.stores.empty() || machine_.memory().has_late_store(cpu)) {
      steps.push_back({.kind = EventKind::drain, .cpu = id});
    }
    if (cpu.place == VcpuPlace::descheduled) {
      steps.push_back({.kind = EventKind::vcpu_resume, .cpu = id});
    }
  }
  for (const BroadcastMessage& message : machine_.broadcasts().in_flight()) {
    list_deliveries(message, steps);
  }
}

void HardwareSteps::list_deliveries(const BroadcastMessage& message, std::vector<Step>& steps) {
  message.left.for_each([&](CpuId id) {
    const Step step{.kind = EventKind::deliver, .cpu = id, .argument = message.issuer};
    for (const Step& other : steps) {
      if (other == step) return;
    }
    steps.push_back(step);
  });
}

void HardwareSteps::list_possible(std::vector<Step>& steps) const {
  for (CpuId id = 0; id < machine_.cpu_count(); ++id) {
    const HostCpu& cpu = machine_.cpu(id);
    list_speculation(cpu, steps);
    list_faults(cpu, steps);
    if (machine_.memory().reorders()) list_reorderings(cpu, steps);
  }
  for (std::uint32_t i = 0; i < exploration().device_walks.size(); ++i) {
    if (((device_walks_left_ >> i) & 1) == 0) continue;
    steps.push_back({.kind = EventKind::device, .cpu = 0, .argument = i});
  }
  for (CpuId id = 0; migrations_left_ != 0 && id < machine_.cpu_count(); ++id) {
    for (CpuId other = id + 1; other < machine_.cpu_count(); ++other) {
      steps.push_back({.kind = EventKind::migrate, .cpu = id, .argument = other});
    }
  }
}

void HardwareSteps::list_speculation(const HostCpu& cpu, std::vector<Step>& steps) const {
  for (std::uint32_t i = 0; i < exploration().fills.size(); ++i) {
    if (((cpu.fills_left >> i) & 1) == 0) continue;
    steps.push_back({.kind = EventKind::fill, .cpu = cpu.id, .argument = i});
  }
  for (std::uint32_t i = 0; i < 2 * exploration().evictions.size(); ++i) {
    if (((cpu.evictions_left >> i) & 1) == 0) continue;
    steps.push_back({.kind = EventKind::evict, .cpu = cpu.id, .argument = i});
  }
  if (machine_.setup().hardware.backend == Backend::kvm && cpu.preemptions_left != 0 &&
      cpu.place == VcpuPlace::running) {
    steps.push_back({.kind = EventKind::vcpu_preempt, .cpu = cpu.id});
  }
}

void HardwareSteps::list_faults(const HostCpu& cpu, std::vector<Step>& steps) const {
  // An NMI comes between any two instructions, the return from a handler included.
  const bool between = cpu.interruptible || cpu.leaves;
  for (std::uint32_t i = 0; i < exploration().nmis.size(); ++i) {
    if (((cpu.nmis_left >> i) & 1) == 0) continue;
    if (!between || !can_be_interrupted(cpu) || cpu.in_nmi) break;
    steps.push_back({.kind = EventKind::nmi, .cpu = cpu.id, .argument = i});
  }
  if (cpu.losses_left != 0) steps.push_back({.kind = EventKind::lose, .cpu = cpu.id});
  if (cpu.duplicates_left != 0) steps.push_back({.kind = EventKind::duplicate, .cpu = cpu.id});
}

void HardwareSteps::list_reorderings(const HostCpu& cpu, std::vector<Step>& steps) const {
  std::uint32_t overtaking = 0;
  for (unsigned i = 1; i < cpu.stores.size(); ++i) {
    if (!cpu.stores.may_overtake(i)) continue;
    steps.push_back({.kind = EventKind::overtake, .cpu = cpu.id, .argument = overtaking++});
  }
  if (cpu.loads == nullptr || cpu.place == VcpuPlace::descheduled) return;
  if (cpu.stores.find(cpu.loads) != nullptr) return;
  const unsigned older = machine_.memory().compiler_reordering().older_values(cpu.id, cpu.loads);
  for (std::uint32_t age = 1; age <= older; ++age) {
    steps.push_back({.kind = EventKind::stale, .cpu = cpu.id, .argument = age});
  }
}

// ---- What happens

void HardwareSteps::take(const Step& step) {
  HostCpu& cpu = machine_.cpu(step.cpu);
  switch (step.kind) {
    case EventKind::drain:
      // A late store is older than all that is in the buffer.
      if (machine_.memory().has_late_store(cpu)) {
        machine_.memory().end_late_store();
      } else {
        machine_.memory().drain(cpu, 1);
      }
      break;
    case EventKind::fill:
      try_fill(cpu, step.argument);
      break;
    case EventKind::evict:
      try_evict(cpu, step.argument);
      break;
    case EventKind::deliver:
      machine_.broadcasts().deliver_first(cpu.id, step.argument);
      break;
    case EventKind::overtake:
      machine_.memory().overtake(cpu, step.argument);
      break;
    case EventKind::vcpu_preempt:
      --cpu.preemptions_left;
      machine_.record_access(place(LocationKind::processor, cpu.id), true);
      machine_.hypervisor().deschedule(cpu);
      break;
    case EventKind::vcpu_resume:
      machine_.record_access(place(LocationKind::processor, cpu.id), true);
      machine_.hypervisor().resume(cpu);
      break;
    case EventKind::device: {
      device_walks_left_ &= ~(std::uint32_t{1} << step.argument);
      const DeviceWalk& what = exploration().device_walks[step.argument];
      machine_.translation().device_walk(what.context, what.walk);
      break;
    }
    case EventKind::lose:
      --cpu.losses_left;
      machine_.record_access(place(LocationKind::lost, cpu.id), true);
      cpu.loses_next = true;
      break;
    case EventKind::duplicate:
      --cpu.duplicates_left;
      machine_.record_access(place(LocationKind::pending, cpu.id), true);
      cpu.call_pending = true;
      break;
    case EventKind::migrate:
      --migrations_left_;
      try_migrate(cpu, machine_.cpu(step.argument));
      break;
    default:
      // No step of the hardware: is_step and is_of_cpu say what a controller may be offered.
      std::abort();
  }
}

void HardwareSteps::try_fill(HostCpu& cpu, std::uint32_t number) {
  // An attempt in vain still consumes the walk, so whether the step is enabled never depends on
  // other processes; otherwise the footprint would have to include that condition.
  cpu.fills_left &= ~(std::uint32_t{1} << number);
  const SpeculativeWalk& walk = exploration().fills[number];
  if (machine_.setup().hardware.backend == Backend::kvm) {
    machine_.record_access(place(LocationKind::processor, cpu.id), false);
  }
  machine_.record_access(place(LocationKind::root, cpu.id), false);
  // A virtual CPU without a processor has no walker.
  if (cpu.place != VcpuPlace::running) return;
  if (walk.level == 1) {
    const bool is_cached = cpu.tlb.find(walk.address, cpu.pcid()) != nullptr;
    machine_.footprint().record_cached(cpu.id, walk.address, !is_cached || cpu.tlb.keeps_older);
  }
  machine_.translation().speculate(cpu, walk);
}

void HardwareSteps::try_evict(HostCpu& cpu, std::uint32_t number) {
  // In vain or not, as with fills.
  cpu.evictions_left &= ~(std::uint32_t{1} << number);
  const VirtAddr address = exploration().evictions[number / 2];
  machine_.record_access(place(LocationKind::root, cpu.id), false);
  if (number % 2 != 0) return try_evict_pointers(cpu, address);
  const std::uint16_t pcid = cpu.pcid();
  machine_.footprint().record_cached(cpu.id, address, /*write=*/false);
  const TlbEntry* entry = cpu.tlb.find(address, pcid);
  if (entry == nullptr) return;
  // An oracle's question whether an outdated entry is left depends on this, as on any other drop.
  // An entry for a large page is found by any address in it.
  const bool large = entry->shift != kPageShift;
  machine_.record_access(place(LocationKind::tlb, cpu.id), large);
  machine_.record_access(place(LocationKind::drops, cpu.id), large);
  machine_.record_access(cached(cpu.id, address), true);
  machine_.record_access(dropped(cpu.id, address), true);
  cpu.tlb.drop_found(address, pcid);
}

void HardwareSteps::try_evict_pointers(HostCpu& cpu, VirtAddr address) {
  const std::uint16_t pcid = cpu.pcid();
  const unsigned before = cpu.tlb.psc.size();
  cpu.tlb.psc.remove_if(
      [&](const PscEntry& entry) { return entry.pcid == pcid && entry.covers(address); });
  const bool drops = cpu.tlb.psc.size() != before;
  machine_.record_access(place(LocationKind::tables, cpu.id), drops);
  if (drops) machine_.record_access(place(LocationKind::table_drops, cpu.id), true);
}

void HardwareSteps::try_migrate(HostCpu& cpu, HostCpu& other) {
  machine_.record_access(place(LocationKind::migrations), true);
  // In vain or not, as with fills. Where a thread stands decides, so this conflicts with its steps.
  for (const HostCpu* one : {&cpu, &other}) {
    machine_.record_access(place(LocationKind::control, one->id), true);
  }
  for (const HostCpu* one : {&cpu, &other}) {
    const bool stands = one->started && one->interruptible && one->is_preemptible();
    if (!stands || one->exchange.state != Exchange::State::none) return;
  }
  machine_.scheduler().ask_for_exchange(cpu, other);
}

}  // namespace shootdown::host
