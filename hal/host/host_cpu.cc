#include "hal/host/host_cpu.h"

namespace shootdown::host {

namespace {

/// One bit for each of `count` things that may still happen.
std::uint32_t all_of(std::size_t count) { return (std::uint32_t{1} << count) - 1; }

}  // namespace

void HostCpu::prepare(const Setup& setup) {
  cr3 = 0;
  cr4 = (setup.hardware.pcid ? kCr4Pcid : 0) | (setup.hardware.global_pages ? kCr4GlobalPages : 0);
  interrupts_enabled = false;
  in_interrupt = false;
  call_pending = false;
  bau_pending = false;
  loses_next = false;
  has_lost = false;
  nmi_pending = false;
  in_nmi = false;
  nmi_after = 0;
  in_emulation = false;
  last_operation = {};
  last_word = nullptr;
  place = VcpuPlace::running;
  blocked = false;
  exchange = {};
  hold = 0;
  held = 0;
  stores.clear();
  preemption_off = 0;
  pause_saw = ~std::uint64_t{0};
  tlb.clear();
  tlb.keeps_older = setup.hardware.older_entries;
  at_start_barrier = false;
  waits_for_startup = false;
  pending = Pending::plain;
  interruptible = true;
  started = false;
  takes_interrupt = false;
  takes_nmi = false;
  leaves = false;
  vain_pauses = 0;
  stores_buffered = 0;
  looks.clear();
  loads = nullptr;
  const Exploration& exploration = setup.exploration;
  preemptions_left = exploration.preemptions;
  losses_left = exploration.losses;
  duplicates_left = exploration.duplicates;
  nmis_left = all_of(exploration.nmis.size());
  fills_left = all_of(exploration.fills.size());
  evictions_left = all_of(2 * exploration.evictions.size());
}

void HostCpu::reset() {
  cr3 = 0;
  cr4 = 0;
  interrupts_enabled = false;
  in_interrupt = false;
  in_nmi = false;
  call_pending = false;
  bau_pending = false;
  nmi_pending = false;
  loses_next = false;
  has_lost = false;
  in_emulation = false;
  hold = 0;
  nmi_after = 0;
  preemption_off = 0;
  exchange = {};
  blocked = true;
  waits_for_startup = true;
}

}  // namespace shootdown::host
