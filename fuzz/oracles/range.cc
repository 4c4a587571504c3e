// O28: what was invalidated covers what was asked, on each CPU that has carried the flush out.
// Judged from the addresses that the caller gave and from what the hardware of the CPU has dropped
// since the generation was bumped; what the core made of the range, and what it believes of its
// slots, is not looked at. That no CPU is left out is judged by others (O1, O2, O4, O5).
#include <charconv>
#include <string>

#include "fuzz/kernel/guest.h"
#include "fuzz/oracles/names.h"
#include "fuzz/oracles/oracles.h"

namespace shootdown::fuzz {

using host::Dropped;
using host::FramePool;
using host::Oracle;

namespace {

constexpr unsigned kUserHalf = 9;  // behind the PCIDs of the kernel's half, 0 to 8

/// Which of the PCIDs that scenarios use it is, or none of them.
unsigned index_of(std::uint16_t pcid) {
  const unsigned number = pcid & ~static_cast<unsigned>(kUserPcidBit);
  if (number >= kUserHalf) return 2 * kUserHalf;
  return number + ((pcid & kUserPcidBit) != 0 ? kUserHalf : 0);
}

std::string hex(VirtAddr address) {
  std::array<char, 16> digits;
  const auto end = std::to_chars(digits.begin(), digits.end(), address, 16).ptr;
  return "0x" + std::string(digits.begin(), end);
}

std::string bounds(VirtAddr start, VirtAddr end) {
  if (end == kFlushAll) return "everything";
  return hex(start) + " to " + (end == 0 ? "the end of the address space" : hex(end));
}

}  // namespace

void Oracles::Coverage::ask(VirtAddr start, VirtAddr end) {
  dropped = {};
  first_page = start >> kPageShift;
  pages = end == kFlushAll ? 0 : ((end - 1) >> kPageShift) - first_page + 1;
  // More pages than bits: only what covers all of them at once is noted.
  wanted = pages == 0 || pages > 64 ? 1 : ~std::uint64_t{0} >> (64 - pages);
}

std::uint64_t Oracles::Coverage::hit_by(const Dropped& what) const {
  if (what.pages == 0) return wanted;
  if (pages == 0) return 0;
  const std::uint64_t from = what.address >> kPageShift;
  if (pages > 64) {
    return from <= first_page && first_page - from + pages <= what.pages ? wanted : 0;
  }
  std::uint64_t hit = 0;
  for (unsigned page = 0; page < pages; ++page) {
    if (first_page + page - from < what.pages) hit |= std::uint64_t{1} << page;
  }
  return hit;
}

void Oracles::Coverage::add(CpuId cpu, const Dropped& what, bool everywhere) {
  const std::uint64_t hit = hit_by(what);
  if (everywhere) {
    for (std::uint64_t& mask : dropped[cpu]) mask |= hit;
  } else if (const unsigned index = index_of(what.pcid); index < dropped[cpu].size()) {
    dropped[cpu][index] |= hit;
  }
}

bool Oracles::Coverage::is_complete(CpuId cpu, std::uint16_t pcid) const {
  const unsigned index = index_of(pcid);
  if (index >= dropped[cpu].size() || (dropped[cpu][index] & wanted) != wanted) return false;
  // In user mode the kernel's half has been flushed, too.
  return index < kUserHalf || is_complete(cpu, pcid & ~static_cast<unsigned>(kUserPcidBit));
}

void Oracles::on_dropped(CpuId cpu, const Dropped& what) {
  if (machine_.controlled().is_on()) return;
  flushing_.for_each([&](CpuId initiator) {
    FlushGhost& flush = cpu_[initiator].flush;
    if (what.root != ~0U && what.root != FramePool::frame_at(guest_->space(flush.space).mm.root)) {
      return;
    }
    flush.coverage.add(cpu, what, what.every_pcid);
  });
  // Where the kernel's pages are global, what leaves those leaves them in every PCID.
  const bool global = guest_->system().config.kernel_is_global();
  if (global && !what.globals) return;
  kernel_flushing_.for_each([&](CpuId initiator) {
    cpu_[initiator].kernel_coverage.add(cpu, what, what.every_pcid || global);
  });
}

void Oracles::note_carried_out(CpuId cpu, const FlushRequest<host::HostHal>& request) {
  // Who was answered early may be at its next flush already.
  FlushGhost& flush = cpu_[request.initiator].flush;
  const FlushRequest<host::HostHal>* now = flush.request;
  if (now == nullptr || now->mm != request.mm || now->generation != request.generation) return;
  flush.carried_out.set(cpu);
}

bool Oracles::is_loaded(CpuId cpu, Slot slot) const {
  return machine_.setup().hardware.pcid && machine_.pcid_of(machine_.cpu(cpu).cr3) == pcid_of(slot);
}

void Oracles::check_covered(CpuId cpu, const FlushGhost& flush) {
  // Exhaustive search does not follow who drops what when; O1, O2 and O4 see there what is left.
  if (machine_.controlled().is_on()) return;
  for (CpuId target = 0; target < machine_.cpu_count(); ++target) {
    const CpuGhost& ghost = cpu_[target];
    const bool hears_broadcasts = flush.global != kNoGlobalSlot && is_loaded(target, flush.global);
    if (!flush.carried_out.test(target) && !hears_broadcasts) continue;
    const bool busy = flush.request->acknowledges_early && machine_.cpu(target).in_interrupt;
    if (ghost.space != flush.space || ghost.in_switch || ghost.offline || busy ||
        !uses_user_half(target)) {
      continue;
    }
    const std::uint16_t pcid = machine_.pcid_of(machine_.cpu(target).cr3);
    // A CPU that has moved to a slot which was granted meanwhile has left what is to be dropped.
    const Slot slot = (pcid & ~kUserPcidBit) - 1U;
    if (machine_.setup().hardware.pcid && is_global_slot(slot) && slot != flush.global) continue;
    if (!flush.coverage.is_complete(target, pcid)) report_uncovered(cpu, target, flush.asked);
  }
}

void Oracles::check_kernel_covered(CpuId cpu) {
  if (machine_.controlled().is_on()) return;
  for (CpuId target = 0; target < machine_.cpu_count(); ++target) {
    const CpuGhost& ghost = cpu_[target];
    if (ghost.in_switch || ghost.offline ||
        machine_.hypervisor().will_flush(machine_.cpu(target))) {
      continue;
    }
    // The kernel runs on its own half; what the user's shares with it is judged by O13.
    const auto pcid = static_cast<std::uint16_t>(machine_.pcid_of(machine_.cpu(target).cr3) &
                                                 ~static_cast<unsigned>(kUserPcidBit));
    if (!cpu_[cpu].kernel_coverage.is_complete(target, pcid)) {
      report_uncovered(cpu, target, cpu_[cpu].kernel_asked);
    }
  }
}

void Oracles::report_uncovered(CpuId cpu, CpuId target, const AskedRange& asked) {
  fail(Oracle::o28, "what was invalidated does not cover what was asked",
       cpu_name(cpu) + " asked for " + bounds(asked.start, asked.end) + ", and " +
           cpu_name(target) + ", which may use all of it, has not dropped all of it since.",
       {.step = asked.step, .cpu = cpu, .what = "asks for the flush"},
       event(cpu, "the flush returns"));
}

}  // namespace shootdown::fuzz
