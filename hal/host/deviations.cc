#include "hal/host/deviations.h"

#include <cstdlib>

#include "hal/host/hypervisor.h"
#include "hal/host/machine.h"

namespace shootdown::host {

void Deviations::apply(const Action& action) {
  if (!machine_.recorder().has_timeline()) return perform(action);
  if (TimelineWatch* watch = machine_.recorder().watch()) watch->before_action(action);
  const std::uint64_t before = effects_.begin(action);
  perform(action);
  effects_.end(action, before);
}

void Deviations::perform(const Action& action) {
  HostCpu& target = machine_.cpu(action.cpu % kHostCpus);
  switch (action.kind) {
    case EventKind::preempt:
      machine_.scheduler().preempt(target);
      break;
    case EventKind::hold:
      target.hold = static_cast<std::uint32_t>(action.argument);
      break;
    case EventKind::drain:
      machine_.memory().drain(target, static_cast<unsigned>(action.argument));
      break;
    case EventKind::fill:
      // A virtual CPU without a processor has no walker.
      if (target.place != VcpuPlace::running) break;
      machine_.translation().speculate(target, {.address = action.argument, .level = action.level});
      break;
    case EventKind::evict:
      target.tlb.evict(static_cast<std::uint32_t>(action.argument));
      break;
    case EventKind::vcpu_preempt:
      machine_.hypervisor().deschedule(target);
      if (&target == &machine_.running() && target.place == VcpuPlace::descheduled) {
        machine_.scheduler().give_way();
      }
      break;
    case EventKind::vcpu_resume:
      machine_.hypervisor().resume(target);
      break;
    case EventKind::fail:
      machine_.hypervisor().fail_next(target, action.argument);
      break;
    case EventKind::overtake:
      machine_.memory().overtake(target, action.argument);
      break;
    case EventKind::stale:
      if (!machine_.memory().reorders()) break;
      machine_.memory().compiler_reordering().make_stale(target.id,
                                                         static_cast<unsigned>(action.argument));
      break;
    case EventKind::deliver:
      machine_.broadcasts().deliver_some(target.id, action.argument);
      break;
    case EventKind::lose:
      target.loses_next = true;
      break;
    case EventKind::duplicate:
      target.call_pending = true;
      break;
    case EventKind::device:
      machine_.translation().device_walk(action.cpu,
                                         {.address = action.argument, .level = action.level});
      break;
    case EventKind::nmi:
      // One waits at most, as hardware keeps one.
      if (machine_.setup().programs.nmi == nullptr || target.nmi_pending) break;
      if (target.waits_for_startup) break;
      target.nmi_pending = true;
      target.nmi_address = action.argument;
      target.nmi_after = action.level - 1U;
      break;
    case EventKind::migrate:
      if (!machine_.deviations().effects().can_migrate(action)) break;
      machine_.scheduler().ask_for_exchange(target, machine_.cpu(action.argument));
      break;
    default:
      // A schedule must give actions only, see is_action.
      std::abort();
  }
}

}  // namespace shootdown::host
