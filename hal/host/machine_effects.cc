// What the actions of a schedule came to. One that does nothing is no error, but it is a mistake
// where a scenario was written by hand.
#include <algorithm>

#include "hal/host/device.h"
#include "hal/host/hypervisor.h"
#include "hal/host/machine.h"

namespace shootdown::host {

namespace {

/// Actions that change something that comes later, and are over then.
bool waits(const Action& action, Backend backend) {
  switch (action.kind) {
    case ActionKind::hold:
    case ActionKind::lose:
    case ActionKind::stale:
      return true;
    case ActionKind::fail:
      // An odd one hides a processor's number for good.
      return backend != Backend::hyperv || action.argument % 2 == 0;
    default:
      return false;
  }
}

std::uint64_t digest(const Tlb& tlb) {
  std::uint64_t sum = 0;
  const auto add = [&](std::uint64_t value) { sum = (sum ^ value) * 0x9e37'79b9'7f4a'7c15; };
  for (const TlbEntry& entry : tlb.entries) {
    add(entry.page);
    add(entry.frame);
    add(entry.pcid);
    add(entry.shift);
  }
  for (const PscEntry& entry : tlb.psc) {
    add(entry.prefix);
    add(entry.table);
    add(entry.pcid);
    add(entry.shift);
  }
  return sum;
}

const char* why_nothing_came(ActionKind kind) {
  switch (kind) {
    case ActionKind::hold:
      return "no interrupt came to the CPU while it was held";
    case ActionKind::lose:
      return "no interrupt to the CPU came after it";
    case ActionKind::fail:
      return "no hypercall or message of the CPU came after it";
    default:
      return "no load of the CPU that may be old came after it";
  }
}

}  // namespace

const Tlb& Machine::tlb_of(const Action& action) const {
  return action.kind == ActionKind::device ? device_->tlb() : cpus_[action.cpu % kHostCpus].tlb;
}

bool Machine::has_cached(const Action& action) const {
  const bool is_device = action.kind == ActionKind::device;
  const Tlb& tlb = tlb_of(action);
  const auto tag = is_device ? static_cast<std::uint16_t>(action.cpu)
                             : pcid_of(cpus_[action.cpu % kHostCpus].cr3);
  if (action.level == 1) {
    return std::any_of(tlb.entries.begin(), tlb.entries.end(), [&](const TlbEntry& entry) {
      return entry.covers(action.argument) && (entry.global || entry.pcid == tag);
    });
  }
  return tlb.find_table(action.argument, tag, action.level - 1U) != nullptr;
}

/// Of what can be told only after: a number that differs if something was done.
std::uint64_t Machine::what_it_changes(const Action& action) const {
  if (action.kind == ActionKind::overtake) return cpus_[action.cpu % kHostCpus].stores.size();
  if (action.kind != ActionKind::fill && action.kind != ActionKind::device) return 0;
  // A walk that finds no page may have cached pointers to tables on its way.
  return digest(tlb_of(action));
}

/// As far as it can be told before: null if it may do something.
const char* Machine::why_nothing(const Action& action) const {
  const HostCpu& target = cpus_[action.cpu % kHostCpus];
  switch (action.kind) {
    case ActionKind::preempt:
      if (&target == running_) return "the CPU is running already";
      if (can_run(target)) return nullptr;
      return has_work(target) ? "the host has the CPU's processor"
                              : "the CPU waits or has finished";
    case ActionKind::drain:
      return target.stores.empty() || action.argument == 0 ? "the CPU's store buffer is empty"
                                                           : nullptr;
    case ActionKind::fill:
      if (target.place != VcpuPlace::running) return "the host has the CPU's processor";
      return has_cached(action) ? "the CPU has it cached already" : nullptr;
    case ActionKind::evict:
      return target.tlb.entries.size() + target.tlb.psc.size() == 0 ? "the CPU has nothing cached"
                                                                    : nullptr;
    case ActionKind::vcpu_preempt:
      return target.place == VcpuPlace::running ? nullptr : "the host has the processor already";
    case ActionKind::vcpu_resume:
      return target.place == VcpuPlace::descheduled ? nullptr : "the CPU has its processor";
    case ActionKind::deliver:
      return std::any_of(broadcasts_.begin(), broadcasts_.end(),
                         [&](const BroadcastMessage& one) { return one.left.test(target.id); })
                 ? nullptr
                 : "no broadcast is on its way to the CPU";
    case ActionKind::duplicate:
      return target.call_pending ? "an interrupt waits at the CPU already" : nullptr;
    case ActionKind::nmi:
      return target.nmi_pending ? "an NMI waits at the CPU already" : nullptr;
    case ActionKind::device:
      if (!device_->is_bound(action.cpu)) return "the device does not use the space then";
      return has_cached(action) ? "the device has it cached already" : nullptr;
    case ActionKind::hold:
    case ActionKind::fail:
    case ActionKind::lose:
    case ActionKind::overtake:
    case ActionKind::stale:
      break;
  }
  return nullptr;
}

void Machine::begin_effect(const Action& action) {
  const CpuId cpu = action.cpu % kHostCpus;
  const bool is_waiting = waits(action, backend());
  if (is_waiting) settle_effect(action.kind, cpu, "the next one like it came first");
  effects_.push_back({.kind = action.kind,
                      .cpu = cpu,
                      .nothing = why_nothing(action),
                      .waits = is_waiting,
                      .held = cpus_[cpu].held});
}

/// What switches to another CPU comes here late, and is none of these.
void Machine::end_effect(const Action& action, std::uint64_t before) {
  const bool is_walk = action.kind == ActionKind::fill || action.kind == ActionKind::device;
  if (!is_walk && action.kind != ActionKind::overtake) return;
  if (what_it_changes(action) != before || effects_.back().nothing != nullptr) return;
  effects_.back().nothing =
      is_walk ? "the walk found nothing to cache" : "no store of the CPU may overtake another";
}

bool Machine::still_waits(const Effect& effect) const {
  switch (effect.kind) {
    case ActionKind::hold:
      return cpus_[effect.cpu].held == effect.held;
    case ActionKind::lose:
      return cpus_[effect.cpu].loses_next;
    case ActionKind::fail:
      return hypervisor_->fails_next(effect.cpu);
    default:
      return cxx_.makes_stale(effect.cpu);
  }
}

/// An action of that kind at that CPU waits no longer: what it was to change has come, or it did
/// nothing.
void Machine::settle_effect(ActionKind kind, CpuId cpu, const char* why_nothing) {
  for (Effect& effect : effects_) {
    if (!effect.waits || effect.kind != kind || effect.cpu != cpu) continue;
    effect.waits = false;
    if (still_waits(effect)) effect.nothing = why_nothing;
  }
}

void Machine::end_effects() {
  for (Effect& effect : effects_) {
    if (effect.waits) settle_effect(effect.kind, effect.cpu, why_nothing_came(effect.kind));
  }
}

}  // namespace shootdown::host
