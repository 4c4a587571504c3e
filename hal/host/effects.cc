#include "hal/host/effects.h"

#include <algorithm>

#include "hal/host/device.h"
#include "hal/host/hypervisor.h"
#include "hal/host/machine.h"

namespace shootdown::host {

namespace {

/// Actions that change something that comes later, and are over then.
bool waits(const Action& action, Backend backend) {
  switch (action.kind) {
    case EventKind::hold:
    case EventKind::lose:
    case EventKind::stale:
    case EventKind::migrate:
      return true;
    case EventKind::fail:
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

const char* why_nothing_came(EventKind kind) {
  switch (kind) {
    case EventKind::hold:
      return "no interrupt came to the CPU while it was held";
    case EventKind::lose:
      return "no interrupt to the CPU came after it";
    case EventKind::migrate:
      return "one of the two threads could not be taken off any more";
    case EventKind::fail:
      return "no hypercall or message of the CPU came after it";
    default:
      return "no load of the CPU that may be old came after it";
  }
}

}  // namespace

const Tlb& Effects::tlb_of(const Action& action) const {
  return action.kind == EventKind::device ? machine_.device().tlb()
                                          : machine_.cpu(action.cpu % kHostCpus).tlb;
}

bool Effects::can_migrate(const Action& action) const {
  const HostCpu& one = machine_.cpu(action.cpu % kHostCpus);
  if (machine_.setup().programs.reschedule == nullptr || one.id == action.argument) return false;
  if (action.argument >= machine_.cpu_count() || one.id >= machine_.cpu_count()) return false;
  return one.exchange.state == Exchange::State::none &&
         machine_.cpu(action.argument).exchange.state == Exchange::State::none;
}

std::uint64_t Effects::marker(EventKind kind, CpuId cpu) const {
  return kind == EventKind::migrate ? machine_.cpu(cpu).exchange.done : machine_.cpu(cpu).held;
}

bool Effects::has_cached(const Action& action) const {
  const bool is_device = action.kind == EventKind::device;
  const Tlb& tlb = tlb_of(action);
  const auto tag = is_device ? static_cast<std::uint16_t>(action.cpu)
                             : machine_.cpu(action.cpu % kHostCpus).pcid();
  if (action.level == 1) {
    return std::any_of(tlb.entries.begin(), tlb.entries.end(), [&](const TlbEntry& entry) {
      return entry.covers(action.argument) && (entry.global || entry.pcid == tag);
    });
  }
  return tlb.find_table(action.argument, tag, action.level - 1U) != nullptr;
}

std::uint64_t Effects::what_it_changes(const Action& action) const {
  if (action.kind == EventKind::overtake) return machine_.cpu(action.cpu % kHostCpus).stores.size();
  if (action.kind != EventKind::fill && action.kind != EventKind::device) return 0;
  // A walk that finds no page may have cached pointers to tables on its way.
  return digest(tlb_of(action));
}

const char* Effects::why_nothing(const Action& action) const {
  const HostCpu& target = machine_.cpu(action.cpu % kHostCpus);
  switch (action.kind) {
    case EventKind::preempt:
      if (&target == &machine_.running()) return "the CPU is running already";
      if (machine_.scheduler().can_run(target)) return nullptr;
      return machine_.scheduler().has_work(target) ? "the host has the CPU's processor"
                                                   : "the CPU waits or has finished";
    case EventKind::drain:
      return target.stores.empty() || action.argument == 0 ? "the CPU's store buffer is empty"
                                                           : nullptr;
    case EventKind::fill:
      if (target.place != VcpuPlace::running) return "the host has the CPU's processor";
      return has_cached(action) ? "the CPU has it cached already" : nullptr;
    case EventKind::evict:
      return target.tlb.entries.size() + target.tlb.psc.size() == 0 ? "the CPU has nothing cached"
                                                                    : nullptr;
    case EventKind::vcpu_preempt:
      return target.place == VcpuPlace::running ? nullptr : "the host has the processor already";
    case EventKind::vcpu_resume:
      return target.place == VcpuPlace::descheduled ? nullptr : "the CPU has its processor";
    case EventKind::deliver:
      return machine_.broadcasts().has_one_for(target.id) ? nullptr
                                                          : "no broadcast is on its way to the CPU";
    case EventKind::duplicate:
      return target.call_pending ? "an interrupt waits at the CPU already" : nullptr;
    case EventKind::nmi:
      return target.nmi_pending ? "an NMI waits at the CPU already" : nullptr;
    case EventKind::device:
      if (!machine_.device().is_bound(action.cpu)) return "the device does not use the mm then";
      return has_cached(action) ? "the device has it cached already" : nullptr;
    case EventKind::migrate:
      return can_migrate(action) ? nullptr
                                 : "it names one CPU twice, or a thread is on its way already";
    case EventKind::hold:
    case EventKind::fail:
    case EventKind::lose:
    case EventKind::overtake:
    case EventKind::stale:
    default:
      break;
  }
  return nullptr;
}

std::uint64_t Effects::begin(const Action& action) {
  const std::uint64_t before = what_it_changes(action);
  const CpuId cpu = action.cpu % kHostCpus;
  const bool is_waiting = waits(action, machine_.setup().hardware.backend);
  if (is_waiting) publish_all(action.kind, cpu, "the next one like it came first");
  effects_.push_back({.kind = action.kind,
                      .cpu = cpu,
                      .nothing = why_nothing(action),
                      .waits = is_waiting,
                      .before = marker(action.kind, cpu)});
  return before;
}

/// What switches to another CPU comes here late, and is none of these.
void Effects::end(const Action& action, std::uint64_t before) {
  const bool is_walk = action.kind == EventKind::fill || action.kind == EventKind::device;
  if (!is_walk && action.kind != EventKind::overtake) return;
  if (what_it_changes(action) != before || effects_.back().nothing != nullptr) return;
  effects_.back().nothing =
      is_walk ? "the walk found nothing to cache" : "no store of the CPU may overtake another";
}

bool Effects::still_waits(const Effect& effect) const {
  switch (effect.kind) {
    case EventKind::hold:
    case EventKind::migrate:
      return marker(effect.kind, effect.cpu) == effect.before;
    case EventKind::lose:
      return machine_.cpu(effect.cpu).loses_next;
    case EventKind::fail:
      return machine_.hypervisor().fails_next(effect.cpu);
    default:
      return machine_.memory().compiler_reordering().makes_stale(effect.cpu);
  }
}

void Effects::publish_all(EventKind kind, CpuId cpu, const char* why_nothing) {
  for (Effect& effect : effects_) {
    if (!effect.waits || effect.kind != kind || effect.cpu != cpu) continue;
    effect.waits = false;
    if (still_waits(effect)) effect.nothing = why_nothing;
  }
}

void Effects::finish() {
  for (Effect& effect : effects_) {
    if (effect.waits) publish_all(effect.kind, effect.cpu, why_nothing_came(effect.kind));
  }
}

}  // namespace shootdown::host
