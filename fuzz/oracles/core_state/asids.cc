#include "fuzz/oracles/core_state/asids.h"

#include <algorithm>

#include "fuzz/oracles/hardware/flushes.h"
#include "fuzz/oracles/hardware/tables.h"
#include "fuzz/oracles/reports/names.h"

namespace shootdown::fuzz {

using host::PscEntry;
using host::TlbEntry;

// ---- Which generation stands for which change

void AsidChecker::start() {
  for (unsigned mm = 0; mm < core_.truth().mms(); ++mm) on_destroy(mm);
}

void AsidChecker::on_destroy(unsigned mm) {
  for (Log& log : log_[mm]) log.clear();
}

void AsidChecker::note(unsigned mm, unsigned page, Generation generation) {
  log_[mm][page].push_back(
      {.generation = generation, .version = core_.truth().mm(mm).pages[page].version});
}

void AsidChecker::on_flush_begun(unsigned mm, const AskedRange& asked, Generation generation) {
  for (unsigned page = 0; page < kPages; ++page) {
    if (holds_part_of(probe_address(page), asked.start, asked.end)) note(mm, page, generation);
  }
}

void AsidChecker::on_batch_add(CpuId cpu, Generation generation) {
  note(core_.truth().changed_mm(cpu), core_.truth().changed_page(cpu), generation);
}

bool AsidChecker::is_stale_at(const TlbEntry& entry, Generation generation) const {
  const Log& log = log_[entry.from.mm][page_of(entry.page << entry.shift)];
  const auto last = std::find_if(log.rbegin(), log.rend(),
                                 [&](const LogEntry& one) { return one.generation <= generation; });
  return last != log.rend() && last->version > entry.from.version;
}

// ---- What flushes and switches leave

void AsidChecker::on_translation_left(CpuId cpu, CpuId target, const TlbEntry& entry,
                                      unsigned page) {
  if (!core_.machine().setup().hardware.pcid) return;
  const RequestChecker::Flush& flush = requests_.flush_on(cpu);
  const bool user_pcid = (entry.pcid & kUserPcidBit) != 0;
  const Asid asid = (entry.pcid & ~kUserPcidBit) - 1U;
  const Mm<host::HostHal>& mm = core_.core_mm(flush.mm);
  const CpuPrivate<host::HostHal>& own = core_.own(target);
  const bool kept = is_global_asid(asid)
                        ? asid == mm.global_asid.peek()
                        : own.asids[asid].context.peek() == mm.context &&
                              own.asids[asid].generation.peek() >= flush.asked.generation;
  if (!kept || (user_pcid && core_.user_flush_is_pending(target, asid, probe_address(page))))
    return;
  const char* title = "an ASID holds a translation older than the generation it records";
  if (is_global_asid(asid)) title = "a global ASID holds a translation older than its flush";
  if (user_pcid) title = "the user PCID keeps what was flushed under the kernel PCID";
  core_.truth().fail(user_pcid ? Oracle::o12 : Oracle::o4, title,
                     cpu_name(target) + " would load " + mm_name(flush.mm) +
                         " without a flush although " + page_name(page) + " is older.",
                     core_.truth().fill_event(target, entry),
                     core_.truth().event(cpu, "the flush returns"));
}

void AsidChecker::on_kernel_translation_left(CpuId cpu, CpuId target, const TlbEntry& entry,
                                             unsigned page) {
  const Asid asid = (entry.pcid & ~kUserPcidBit) - 1U;
  // User roots map some of these pages, too, and their entries are paid for on the way there.
  const bool user_pcid = core_.machine().setup().hardware.pcid && (entry.pcid & kUserPcidBit) != 0;
  if (user_pcid && core_.user_flush_is_pending(target, asid)) return;
  const bool loaded = entry.global || asid == core_.loaded_asid(target);
  // Inside a switch an ASID may say that it is fresh already, and CR3 flushes it next.
  if (!loaded &&
      (core_.truth().cpu(target).in_switch || !core_.loads_without_flush(target, asid))) {
    return;
  }
  report_kernel_translation(core_.truth(), cpu, target, entry, page,
                            std::string(user_pcid ? " for user mode" : "") +
                                (loaded ? "." : " in an ASID that it will load without a flush."));
}

void AsidChecker::on_pointer_left(CpuId target, const PscEntry& pointer) {
  if (!core_.config().isolation.enabled || !core_.config().processor.pcid ||
      core_.truth().cpu(target).in_switch)
    return;
  const Asid asid = core_.loaded_asid(target);
  if (pointer.pcid != (pcid_of(asid) | kUserPcidBit) || core_.user_flush_is_pending(target, asid))
    return;
  core_.truth().fail(
      Oracle::o12, "the user PCID keeps a pointer to a page table that is released",
      cpu_name(target) + " will go to user mode with it, and may walk the table there.",
      pointer_event(target, pointer),
      core_.truth().event(core_.machine().running().id, "releases the table"));
}

void AsidChecker::on_loaded(CpuId cpu, const TlbEntry& entry, unsigned page) {
  const Generation recorded = core_.recorded(cpu);
  if (!is_stale_at(entry, recorded)) return;
  core_.truth().fail(
      Oracle::o4, "an ASID holds a translation older than the generation it records",
      cpu_name(cpu) + " recorded generation " + std::to_string(recorded) + " of " +
          mm_name(core_.truth().cpu(cpu).mm) + ", but " + page_name(page) + " is older.",
      core_.truth().fill_event(cpu, entry), core_.truth().event(cpu, "records the generation"));
}

void AsidChecker::on_kernel_beside(CpuId cpu, const TlbEntry& entry) {
  const Asid asid = core_.loaded_asid(cpu);
  if (!core_.machine().setup().hardware.pcid || entry.pcid != (pcid_of(asid) | kUserPcidBit))
    return;
  if (!core_.user_flush_is_pending(cpu, asid)) report_kernel_switch(core_.truth(), cpu, entry);
}

void AsidChecker::check_user_pcid(CpuId cpu) const {
  if (!core_.config().isolation.enabled || !core_.config().processor.pcid) return;
  const Truth& truth = core_.truth();
  const Asid asid = core_.loaded_asid(cpu);
  const unsigned mm = truth.cpu(cpu).mm;
  const Generation recorded = core_.recorded(cpu);
  for (const TlbEntry& entry : core_.machine().cpu(cpu).tlb.entries) {
    if (entry.pcid != (pcid_of(asid) | kUserPcidBit) || entry.from.mm == kKernelMm) continue;
    const bool foreign = entry.from.mm != mm || entry.from.life != truth.mm(entry.from.mm).life;
    if (!foreign && !is_stale_at(entry, recorded)) continue;
    if (core_.user_flush_is_pending(cpu, asid, probe_address(page_of(entry.page << entry.shift))))
      continue;
    truth.fail(Oracle::o12,
               foreign ? "the user PCID holds translations of another address space"
                       : "the user PCID keeps what was flushed under the kernel PCID",
               cpu_name(cpu) + " would go to user mode with " + truth.entry_name(entry) +
                   (foreign ? " under the PCID of " + truth.owner_name(mm) + "."
                            : " from before generation " + std::to_string(recorded) + "."),
               truth.fill_event(cpu, entry), truth.event(cpu, "records the generation"));
  }
}

// ---- CPUs that come up

void AsidChecker::on_online(CpuId cpu) const {
  // Not an empty TLB: hardware may have walked again since it was emptied. Nor empty ASIDs, where a
  // switch would flush.
  const char* title = "a CPU comes up with old translations";
  const Truth& truth = core_.truth();
  const host::Tlb& tlb = core_.machine().cpu(cpu).tlb;
  for (const TlbEntry& entry : tlb.entries) {
    if (entry.from.step > bring_up_[cpu] || !core_.trusts(cpu, entry.pcid, entry.global)) continue;
    truth.fail(Oracle::o24, title,
               cpu_name(cpu) + " would use " + truth.entry_name(entry) +
                   " without a flush, from before it came up.",
               truth.fill_event(cpu, entry), truth.event(cpu, "comes online"));
    return;
  }
  for (const PscEntry& pointer : tlb.psc) {
    if (pointer.from.step > bring_up_[cpu] || !core_.trusts(cpu, pointer.pcid, /*global=*/false)) {
      continue;
    }
    truth.fail(Oracle::o24, title,
               cpu_name(cpu) + " would walk through a pointer to a table of " +
                   truth.origin_name(pointer.from) + " without a flush, from before it came up.",
               {.step = pointer.from.step, .cpu = cpu, .what = "cached the pointer"},
               truth.event(cpu, "comes online"));
    return;
  }
}

}  // namespace shootdown::fuzz
