// What the C++ memory model owes the core, whatever the hardware adds: who takes something over
// knows all that was done before it was handed over. Only Memory::cxx keeps the clocks that tell.
#include <utility>

#include "fuzz/kernel/guest.h"
#include "fuzz/oracles/names.h"
#include "fuzz/oracles/oracles.h"

namespace shootdown::fuzz {

using host::Oracle;

void Oracles::check_order(CpuId cpu, const TraceEvent& event) {
  const host::CxxMemory& memory = machine_.memory().cxx();
  OrderGhost& self = order_[cpu];
  switch (event.kind) {
    case TraceKind::flush_begin:
    case TraceKind::batch_add:
      note_bump(cpu, space_of(event.mm), event.value);
      break;
    case TraceKind::call_queued:
      // What came before the push: the record's plain fields, the request, the bump.
      self.queued[event.value] = self.last_event;
      break;
    case TraceKind::call_run: {
      const auto sender = static_cast<CpuId>(event.value);
      if (!memory.knows(cpu, sender, order_[sender].queued[cpu])) {
        order_failure("a call runs before its record is visible (M7)",
                      "Nothing orders what " + cpu_name(sender) + " wrote before what " +
                          cpu_name(cpu) + " reads.",
                      sender, cpu);
      }
      order_[sender].answered[cpu] = memory.now(cpu);
      break;
    }
    case TraceKind::handler_end: {
      const auto& request = *static_cast<const FlushRequest<host::HostHal>*>(event.request);
      // Who has answered early reads a copy.
      if (request.initiator != cpu && &request == cpu_[request.initiator].flush.request) {
        order_[request.initiator].answered[cpu] = memory.now(cpu);
      }
      check_bump(cpu);
      break;
    }
    case TraceKind::switch_end:
      check_bump(cpu);
      break;
    case TraceKind::slot_granted:
      grants_[space_of(event.mm)] = {.generation = event.value,
                                     .life = space_[space_of(event.mm)].life,
                                     .cpu = cpu,
                                     .time = memory.now(cpu)};
      break;
    case TraceKind::flush_broadcast:
      check_grant(cpu, space_of(event.mm));
      break;
    case TraceKind::flush_end:
    case TraceKind::batch_end:
    case TraceKind::kernel_end:
      check_answers(cpu);
      break;
    default:
      break;
  }
  self.last_event = memory.now(cpu);
}

void Oracles::note_bump(CpuId cpu, unsigned space, Generation generation) {
  bumps_[space][generation % kBumps] = {.generation = generation,
                                        .life = space_[space].life,
                                        .cpu = cpu,
                                        .time = order_[cpu].last_change};
}

void Oracles::check_bump(CpuId cpu) {
  const CpuPrivate<host::HostHal>& own = guest_->system().cpus[cpu].own;
  const unsigned space = space_of(own.loaded_mm.seen_by(machine_.cpu(cpu)));
  if (space == kNoSpace) return;
  const Generation recorded = own.generation_of(own.loaded_slot);
  const Bump& bump = bumps_[space][recorded % kBumps];
  if (bump.generation != recorded || bump.life != space_[space].life) return;
  if (machine_.memory().cxx().knows(cpu, bump.cpu, bump.time)) return;
  order_failure("a generation is recorded before what it stands for is visible (M6)",
                "Nothing orders " + cpu_name(bump.cpu) + "'s change of the entries before " +
                    cpu_name(cpu) + "'s record that they are flushed.",
                bump.cpu, cpu);
}

void Oracles::check_grant(CpuId cpu, unsigned space) {
  const Bump& grant = grants_[space];
  if (grant.time == 0 || grant.life != space_[space].life) return;
  if (machine_.memory().cxx().knows(cpu, grant.cpu, grant.time)) return;
  order_failure("a global slot is seen before what came before it (M14)",
                "Nothing orders the start of the transition on " + cpu_name(grant.cpu) +
                    " before the flush on " + cpu_name(cpu) + " that asks about it.",
                grant.cpu, cpu);
}

void Oracles::check_answers(CpuId cpu) {
  for (CpuId target = 0; target < machine_.cpu_count(); ++target) {
    const std::uint32_t time = std::exchange(order_[cpu].answered[target], 0);
    if (time == 0 || machine_.memory().cxx().knows(cpu, target, time)) continue;
    order_failure("a flush returns before what its targets did is visible (M8)",
                  "Nothing orders " + cpu_name(target) + "'s last use before what " +
                      cpu_name(cpu) + " releases.",
                  target, cpu);
  }
}

void Oracles::note_use(CpuId cpu, std::uint32_t frame) {
  used_[frame][cpu] = machine_.memory().cxx().now(cpu);
}

void Oracles::check_last_uses(std::uint32_t frame) {
  const std::array<std::uint32_t, kMaxCpus> used = std::exchange(used_[frame], {});
  // A hypervisor and hardware that broadcasts wait in ways of their own.
  if (machine_.setup().hardware.backend != host::Backend::native ||
      guest_->system().config.broadcast)
    return;
  const CpuId self = machine_.running().id;
  for (CpuId cpu = 0; cpu < machine_.cpu_count(); ++cpu) {
    if (used[cpu] == 0 || machine_.memory().cxx().knows(self, cpu, used[cpu])) continue;
    order_failure(
        "a page is released before its last use is visible (M8)",
        "Nothing orders an access of " + cpu_name(cpu) + " to the page before its next owner's.",
        cpu, self);
  }
}

void Oracles::order_failure(const char* title, const std::string& detail, CpuId first,
                            CpuId second) {
  // The clocks tell that the first is not before the second, but not at which step it was.
  fail(Oracle::order, title, detail, {},
       event(second, "goes on, and need not see what " + cpu_name(first) + " did"));
}

}  // namespace shootdown::fuzz
