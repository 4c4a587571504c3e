// What a flush of the kernel's half has to leave behind, on every CPU and in each half of a slot.
#include "fuzz/kernel/guest.h"
#include "fuzz/oracles/names.h"
#include "fuzz/oracles/oracles.h"

namespace shootdown::fuzz {

using host::HostCpu;
using host::Oracle;
using host::TlbEntry;

void Oracles::begin_kernel_flush(CpuId cpu, const TraceEvent& event) {
  CpuGhost& ghost = cpu_[cpu];
  ghost.kernel_asked = {.start = event.value, .end = event.value2, .step = machine_.step()};
  ghost.kernel_coverage.ask(event.value, event.value2);
  kernel_flushing_.set(cpu);
  ghost.flush.queued = {};
  for (unsigned page = 0; page < kKernelPages; ++page) {
    const bool covered = holds_part_of(kernel_address(page), event.value, event.value2);
    if (covered) machine_.touch(version_place(kMaxMms + 1, page), false);
    ghost.kernel_wanted[page] = covered ? kernel_[page].version : 0;
  }
}

void Oracles::end_kernel_flush(CpuId cpu) {
  check_kernel_covered(cpu);
  kernel_flushing_.clear(cpu);
  machine_.touch(host::place(host::Part::demands), false);
  touch_pages();
  const CpuGhost& self = cpu_[cpu];
  for (unsigned page = 0; page < kKernelPages; ++page) {
    Demand& demand = kernel_[page].demand;
    if (self.kernel_wanted[page] > demand.version) {
      demand = {.version = self.kernel_wanted[page], .step = machine_.step(), .cpu = cpu};
    }
  }
  for (CpuId target = 0; target < machine_.cpu_count(); ++target) {
    const CpuPrivate<host::HostHal>& own = guest_->system().cpus[target].own;
    for (const TlbEntry& entry : machine_.cpu(target).tlb.entries) {
      if (entry.from.space != kKernelSpace) continue;
      const unsigned page = kernel_page_of(entry.page << entry.shift);
      if (entry.from.version >= self.kernel_wanted[page]) continue;
      touch_cpu(target);
      if (cpu_[target].offline) break;
      const Slot slot = (entry.pcid & ~kUserPcidBit) - 1U;
      // User roots map some of these pages, too, and their entries are paid for on the way there.
      const bool twin = machine_.setup().hardware.pcid && (entry.pcid & kUserPcidBit) != 0;
      if (twin && twin_is_owed(target, slot)) continue;
      const bool loaded =
          entry.global || !machine_.setup().hardware.pcid || slot == own.loaded_slot;
      // Inside a switch a slot may say that it is fresh already, and CR3 flushes it next.
      if (!loaded && (cpu_[target].in_switch || !loads_without_flush(target, slot))) continue;
      fail(Oracle::o13, "a kernel range is flushed but a CPU can still use an older translation",
           cpu_name(target) + " holds " + kernel_page_name(page) + (twin ? " for user mode" : "") +
               (loaded ? "." : " in a slot that it will load without a flush."),
           fill_event(target, entry), event(cpu, "the flush returns"));
    }
  }
}

void Oracles::audit_kernel(CpuId cpu) {
  if (cpu_[cpu].offline) return;
  const HostCpu& hardware = machine_.cpu(cpu);
  const Slot slot = guest_->system().cpus[cpu].own.loaded_slot;
  for (const TlbEntry& entry : hardware.tlb.entries) {
    if (entry.from.space != kKernelSpace) continue;
    const bool twin = machine_.setup().hardware.pcid &&
                      entry.pcid == (pcid_of(slot) | kUserPcidBit) && !twin_is_owed(cpu, slot);
    if (!entry.global && !twin && entry.pcid != machine_.pcid_of(hardware.cr3)) continue;
    const unsigned page = kernel_page_of(entry.page << entry.shift);
    if (!is_outdated(entry, page)) continue;
    const Demand& demand = kernel_[page].demand;
    if (entry.from.version >= demand.version) continue;
    fail(Oracle::o13, "a CPU switches in with an older translation of a kernel page",
         cpu_name(cpu) + " may use " + kernel_page_name(page) + " from now on, but " +
             made_by(demand) + ".",
         fill_event(cpu, entry), event(cpu, "may use it now"));
  }
}

}  // namespace shootdown::fuzz
