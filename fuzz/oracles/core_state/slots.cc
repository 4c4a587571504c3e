#include "fuzz/oracles/core_state/slots.h"

#include "fuzz/oracles/hardware/flushes.h"
#include "fuzz/oracles/hardware/tables.h"
#include "fuzz/oracles/reports/names.h"

namespace shootdown::fuzz {

using host::PscEntry;
using host::TlbEntry;

// ---- Which generation stands for which change

void SlotChecker::start() {
  for (unsigned space = 0; space < core_.truth().spaces(); ++space) on_destroy(space);
}

void SlotChecker::on_destroy(unsigned space) {
  for (Log& log : log_[space]) log.size = 0;
}

void SlotChecker::note(unsigned space, unsigned page, Generation generation) {
  Log& log = log_[space][page];
  if (log.size == kLogDepth) return;
  log.entries[log.size++] = {.generation = generation,
                             .version = core_.truth().space(space).pages[page].version};
}

void SlotChecker::on_flush_begun(unsigned space, const AskedRange& asked, Generation generation) {
  for (unsigned page = 0; page < kPages; ++page) {
    if (holds_part_of(probe_address(page), asked.start, asked.end)) note(space, page, generation);
  }
}

void SlotChecker::on_batch_add(CpuId cpu, Generation generation) {
  note(core_.truth().changed_space(cpu), core_.truth().changed_page(cpu), generation);
}

bool SlotChecker::is_stale_at(const TlbEntry& entry, Generation generation) const {
  const Log& log = log_[entry.from.space][page_of(entry.page << entry.shift)];
  for (unsigned i = log.size; i-- > 0;) {
    if (log.entries[i].generation <= generation) {
      return log.entries[i].version > entry.from.version;
    }
  }
  return false;
}

// ---- What flushes and switches leave

void SlotChecker::on_translation_left(CpuId cpu, CpuId target, const TlbEntry& entry,
                                      unsigned page) {
  if (!core_.machine().setup().hardware.pcid) return;
  const RequestChecker::Flush& flush = requests_.flush(cpu);
  const bool twin = (entry.pcid & kUserPcidBit) != 0;
  const Slot slot = (entry.pcid & ~kUserPcidBit) - 1U;
  const Mm<host::HostHal>& mm = core_.mm(flush.space);
  const CpuPrivate<host::HostHal>& own = core_.own(target);
  const bool kept = is_global_slot(slot)
                        ? slot == mm.global_slot.peek()
                        : own.slots[slot].context == mm.context &&
                              own.slots[slot].generation >= flush.request->generation;
  if (!kept || (twin && core_.twin_is_owed(target, slot, probe_address(page)))) return;
  const char* title = "a slot holds a translation older than the generation it records";
  if (is_global_slot(slot)) title = "a global slot holds a translation older than its flush";
  if (twin) title = "the user half keeps what the kernel half has flushed";
  core_.truth().fail(twin ? Oracle::o12 : Oracle::o4, title,
                     cpu_name(target) + " would load " + mm_name(flush.space) +
                         " without a flush although " + page_name(page) + " is older.",
                     core_.truth().fill_event(target, entry),
                     core_.truth().event(cpu, "the flush returns"));
}

void SlotChecker::on_kernel_translation_left(CpuId cpu, CpuId target, const TlbEntry& entry,
                                             unsigned page) {
  const Slot slot = (entry.pcid & ~kUserPcidBit) - 1U;
  // User roots map some of these pages, too, and their entries are paid for on the way there.
  const bool twin = core_.machine().setup().hardware.pcid && (entry.pcid & kUserPcidBit) != 0;
  if (twin && core_.twin_is_owed(target, slot)) return;
  const bool loaded = entry.global || slot == core_.own(target).loaded_slot;
  // Inside a switch a slot may say that it is fresh already, and CR3 flushes it next.
  if (!loaded &&
      (core_.truth().cpu(target).in_switch || !core_.loads_without_flush(target, slot))) {
    return;
  }
  report_kernel_translation(core_.truth(), cpu, target, entry, page,
                            std::string(twin ? " for user mode" : "") +
                                (loaded ? "." : " in a slot that it will load without a flush."));
}

void SlotChecker::on_pointer_left(CpuId target, const PscEntry& pointer) {
  if (!core_.config().isolation.enabled || !core_.config().processor.pcid ||
      core_.truth().cpu(target).in_switch)
    return;
  const Slot slot = core_.own(target).loaded_slot;
  if (pointer.pcid != (pcid_of(slot) | kUserPcidBit) || core_.twin_is_owed(target, slot)) return;
  core_.truth().fail(
      Oracle::o12, "the user half keeps a pointer to a page table that is released",
      cpu_name(target) + " will go to user mode with it, and may walk the table there.",
      pointer_event(target, pointer),
      core_.truth().event(core_.machine().running().id, "releases the table"));
}

void SlotChecker::on_loaded(CpuId cpu, const TlbEntry& entry, unsigned page) {
  const Generation recorded = core_.own(cpu).generation_of(core_.own(cpu).loaded_slot);
  if (!is_stale_at(entry, recorded)) return;
  core_.truth().fail(
      Oracle::o4, "a slot holds a translation older than the generation it records",
      cpu_name(cpu) + " recorded generation " + std::to_string(recorded) + " of " +
          mm_name(core_.truth().cpu(cpu).space) + ", but " + page_name(page) + " is older.",
      core_.truth().fill_event(cpu, entry), core_.truth().event(cpu, "records the generation"));
}

void SlotChecker::on_kernel_beside(CpuId cpu, const TlbEntry& entry) {
  const Slot slot = core_.own(cpu).loaded_slot;
  if (!core_.machine().setup().hardware.pcid || entry.pcid != (pcid_of(slot) | kUserPcidBit))
    return;
  if (!core_.twin_is_owed(cpu, slot)) report_kernel_switch(core_.truth(), cpu, entry);
}

void SlotChecker::check_twin(CpuId cpu) const {
  if (!core_.config().isolation.enabled || !core_.config().processor.pcid) return;
  const Truth& truth = core_.truth();
  const Slot slot = core_.own(cpu).loaded_slot;
  const unsigned space = truth.cpu(cpu).space;
  const Generation recorded = core_.own(cpu).generation_of(slot);
  for (const TlbEntry& entry : core_.machine().cpu(cpu).tlb.entries) {
    if (entry.pcid != (pcid_of(slot) | kUserPcidBit) || entry.from.space == kKernelSpace) continue;
    const bool foreign =
        entry.from.space != space || entry.from.life != truth.space(entry.from.space).life;
    if (!foreign && !is_stale_at(entry, recorded)) continue;
    if (core_.twin_is_owed(cpu, slot, probe_address(page_of(entry.page << entry.shift)))) continue;
    truth.fail(Oracle::o12,
               foreign ? "the user half holds translations of another address space"
                       : "the user half keeps what the kernel half has flushed",
               cpu_name(cpu) + " would go to user mode with " + truth.entry_name(entry) +
                   (foreign ? " under the PCID of " + truth.space_name(space) + "."
                            : " from before generation " + std::to_string(recorded) + "."),
               truth.fill_event(cpu, entry), truth.event(cpu, "records the generation"));
  }
}

// ---- CPUs that come up

void SlotChecker::on_online(CpuId cpu) const {
  // Not an empty TLB: hardware may have walked again since it was emptied. Nor empty slots, where a
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
