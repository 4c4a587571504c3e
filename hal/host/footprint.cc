#include "hal/host/footprint.h"

#include "hal/host/machine.h"

namespace shootdown::host {

void FootprintLog::touch_cached(CpuId cpu, VirtAddr address, bool write) {
  touch(place(Part::tlb, cpu), false);
  touch(cached(cpu, address), write);
}

void FootprintLog::touch_dropped(CpuId cpu, VirtAddr address) {
  if (!on_) return;
  HostCpu& owner = machine_.cpu(cpu);
  // An entry for a large page is found by any address in it.
  const TlbEntry* entry = owner.tlb.find(address, machine_.pcid_of(owner.cr3));
  const bool large = entry != nullptr && entry->shift != kPageShift;
  touch(place(Part::tlb, cpu), large);
  touch(place(Part::drops, cpu), large);
  touch(cached(cpu, address), true);
  touch(dropped(cpu, address), true);
  touch(place(Part::tables, cpu), true);
  touch(place(Part::table_drops, cpu), true);
}

}  // namespace shootdown::host
