#include "fuzz/oracles/core_state/bookkeeping.h"

#include "fuzz/oracles/core_state/checksum.h"
#include "fuzz/oracles/reports/names.h"

namespace shootdown::fuzz {

namespace {

/// What a CPU knows of itself. Not its counters.
std::uint64_t checksum_of(const CpuPrivate<host::HostHal>& own) {
  const auto& [loaded_mm, on_global, loaded_asid, next_asid, number, bit, post, loaded, asids,
               user_pcid_flush_mask, invalidate_other, early_acked_flush_pending, is_up, post_use,
               deferred, cr4, counters] = own;
  static_cast<void>(counters);
  const auto& [deferred_start, deferred_end] = deferred.peek();
  std::uint64_t sum =
      checksum(loaded_mm.peek(), on_global.peek(), loaded_asid.peek(), next_asid.peek(), number,
               bit, post, loaded, user_pcid_flush_mask.peek(), invalidate_other.peek(),
               early_acked_flush_pending.peek(), is_up.peek(), post_use.peek(), deferred_start,
               deferred_end, cr4.peek());
  for (const auto& [context, generation] : asids) {
    sum = checksum(sum, context.peek(), generation.peek());
  }
  return sum;
}

}  // namespace

void BookkeepingChecker::on_cr3(CpuId cpu) {
  if (core_.truth().cpu(cpu).on_user_root) own_state_[cpu] = checksum_of(core_.own(cpu));
}

void BookkeepingChecker::compare_own_state(CpuId cpu) const {
  if (checksum_of(core_.own(cpu)) == own_state_[cpu]) return;
  core_.truth().fail(
      Oracle::o32, "a CPU changes its own state on a user root",
      cpu_name(cpu) + " would fault: a user root maps of the kernel what an entry needs.", {},
      core_.truth().event(cpu, "has changed its state since it loaded the user root"));
}

void BookkeepingChecker::check_paid(CpuId cpu) const {
  const Truth& truth = core_.truth();
  const host::HostCpu& hardware = core_.machine().cpu(cpu);
  const unsigned mm = truth.cpu(cpu).mm;
  if (mm == kNoMm || mm != called_for_[cpu].mm || core_.is_lazy(cpu) ||
      core_.loaded(cpu) != &core_.core_mm(mm))
    return;
  // What a global ASID holds the broadcast drops, and the initiator waits for that before it
  // returns.
  if (is_global_asid(core_.loaded_asid(cpu))) return;
  for (const host::TlbEntry& entry : hardware.tlb.entries) {
    if (entry.from.mm != mm || entry.from.life != truth.mm(mm).life) continue;
    if (entry.pcid != hardware.pcid()) continue;
    const unsigned page = page_of(entry.page << entry.shift);
    if (entry.from.version >= called_for_[cpu].pages[page]) continue;
    truth.fail(Oracle::o22, "user_access_ok would be true before the flush that was answered for",
               "An NMI on " + cpu_name(cpu) + " now could read " + page_name(page) + " of " +
                   mm_name(mm) + " as it was before the flush, which may have returned.",
               truth.fill_event(cpu, entry), truth.event(cpu, "says that it owes no flush"));
  }
}

void BookkeepingChecker::on_switch_end(CpuId cpu) const {
  const auto& asids = core_.own(cpu).asids;
  for (Asid a = 0; a < kDynamicAsids; ++a) {
    for (Asid b = a + 1; b < kDynamicAsids; ++b) {
      const ContextId context = asids[a].context.peek();
      if (context == kNoContext || context != asids[b].context.peek()) continue;
      core_.truth().fail(Oracle::o14, "two ASIDs of a CPU name the same mm",
                         cpu_name(cpu) + " may load the older of the two.", {},
                         core_.truth().event(cpu, "ends a switch"));
    }
  }
}

void BookkeepingChecker::report_root(CpuId cpu) const {
  core_.truth().fail(Oracle::o22, "user_access_ok would be true while CR3 holds another mm",
                     "An NMI on " + cpu_name(cpu) + " now would take the wrong mm for its task's.",
                     {}, core_.truth().event(cpu, "may be interrupted by an NMI"));
}

void BookkeepingChecker::report_disagreement(CpuId cpu, const char* disagrees) const {
  core_.truth().fail(
      Oracle::o8, "interrupts are on while the bookkeeping and CR3 disagree",
      "What a flush interrupt that arrives on " + cpu_name(cpu) + " now would go by " + disagrees,
      {}, core_.truth().event(cpu, "runs with interrupts on"));
}

void BookkeepingChecker::report_cr4(CpuId cpu) const {
  core_.truth().fail(Oracle::o23, "CR4 and its shadow differ while interrupts are on",
                     "A write of CR4 from the shadow on " + cpu_name(cpu) +
                         ", such as a flush without INVPCID makes, would set the wrong bits.",
                     {}, core_.truth().event(cpu, "runs with interrupts on"));
}

void BookkeepingChecker::report_lazy_use(CpuId cpu) const {
  core_.truth().fail(Oracle::o9, "a lazy CPU uses a user address",
                     cpu_name(cpu) + " accessed memory without leaving lazy mode.", {},
                     core_.truth().event(cpu, "uses user memory"));
}

void BookkeepingChecker::report_lazy(CpuId cpu) const {
  core_.truth().fail(Oracle::o9, "a CPU is lazy on the kernel's own mm",
                     cpu_name(cpu) + " has no user half loaded that it could leave alone.", {},
                     core_.truth().event(cpu, "is lazy"));
}

}  // namespace shootdown::fuzz
