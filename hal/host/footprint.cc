#include "hal/host/footprint.h"

#include "hal/host/machine.h"

namespace shootdown::host {

void FootprintLog::record_cached(CpuId cpu, VirtAddr address, bool write) {
  record_access(place(LocationKind::tlb, cpu), false);
  record_access(cached(cpu, address), write);
}

void FootprintLog::record_dropped(CpuId cpu, VirtAddr address) {
  if (!on_) return;
  HostCpu& owner = machine_.cpu(cpu);
  // An entry for a large page is found by any address in it.
  const TlbEntry* entry = owner.tlb.find(address, owner.pcid());
  const bool large = entry != nullptr && entry->shift != kPageShift;
  record_access(place(LocationKind::tlb, cpu), large);
  record_access(place(LocationKind::drops, cpu), large);
  record_access(cached(cpu, address), true);
  record_access(dropped(cpu, address), true);
  record_access(place(LocationKind::tables, cpu), true);
  record_access(place(LocationKind::table_drops, cpu), true);
}

void FootprintLog::record_page_access(CpuId cpu, bool write) {
  if (!on_) return;
  for (CpuId other = 0; other < machine_.cpu_count(); ++other) {
    record_access(place(LocationKind::page_stores, other), write && other == cpu);
  }
}

}  // namespace shootdown::host
