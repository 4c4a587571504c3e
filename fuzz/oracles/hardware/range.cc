#include "fuzz/oracles/hardware/range.h"

#include <charconv>
#include <string>

#include "fuzz/oracles/reports/names.h"
#include "hal/host/hypervisor.h"

namespace shootdown::fuzz {

using host::Dropped;
using host::FramePool;
using host::Machine;

namespace {

constexpr unsigned kUserPcids = 9;  // behind the PCIDs of the kernel's half, 0 to 8

/// Which of the PCIDs that scenarios use it is, or none of them.
unsigned index_of(std::uint16_t pcid) {
  const unsigned number = pcid & ~static_cast<unsigned>(kUserPcidBit);
  if (number >= kUserPcids) return 2 * kUserPcids;
  return number + ((pcid & kUserPcidBit) != 0 ? kUserPcids : 0);
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

void RangeChecker::Coverage::ask(VirtAddr start, VirtAddr end) {
  dropped = {};
  first_page = start >> kPageShift;
  pages = end == kFlushAll ? 0 : ((end - 1) >> kPageShift) - first_page + 1;
  // More pages than bits: only what covers all of them at once is noted.
  wanted = pages == 0 || pages > 64 ? 1 : ~std::uint64_t{0} >> (64 - pages);
}

std::uint64_t RangeChecker::Coverage::hit_by(const Dropped& what) const {
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

void RangeChecker::Coverage::add(CpuId cpu, const Dropped& what, bool everywhere) {
  const std::uint64_t hit = hit_by(what);
  if (everywhere) {
    for (std::uint64_t& mask : dropped[cpu]) mask |= hit;
  } else if (const unsigned index = index_of(what.pcid); index < dropped[cpu].size()) {
    dropped[cpu][index] |= hit;
  }
}

bool RangeChecker::Coverage::is_complete(CpuId cpu, std::uint16_t pcid) const {
  const unsigned index = index_of(pcid);
  if (index >= dropped[cpu].size() || (dropped[cpu][index] & wanted) != wanted) return false;
  // In user mode the kernel's half has been flushed, too.
  return index < kUserPcids || is_complete(cpu, pcid & ~static_cast<unsigned>(kUserPcidBit));
}

void RangeChecker::on_flush_begun(CpuId cpu, unsigned mm, const AskedRange& asked) {
  Flush& flush = flush_of(cpu);
  flush.mm = mm;
  flush.global = kNoGlobalAsid;
  flush.asked = asked;
  flush.coverage.ask(asked.start, asked.end);
  flush.carried_out = {};
  flushing_.set(truth_.thread_on(cpu));
}

void RangeChecker::on_kernel_flush_begun(CpuId cpu, const AskedRange& asked) {
  flush_of(cpu).kernel_asked = asked;
  flush_of(cpu).kernel_coverage.ask(asked.start, asked.end);
  kernel_flushing_.set(truth_.thread_on(cpu));
}

void RangeChecker::on_dropped(CpuId cpu, const Dropped& what) {
  if (truth_.machine().controlled().is_on()) return;
  flushing_.for_each([&](CpuId thread) {
    Flush& flush = flush_[thread];
    if (what.root != ~0U && what.root != FramePool::frame_at(truth_.kernel().root(flush.mm))) {
      return;
    }
    flush.coverage.add(cpu, what, what.every_pcid);
  });
  // Where the kernel's pages are global, what leaves those leaves them in every PCID.
  const bool global = truth_.kernel().kernel_is_global();
  if (global && !what.globals) return;
  kernel_flushing_.for_each([&](CpuId thread) {
    flush_[thread].kernel_coverage.add(cpu, what, what.every_pcid || global);
  });
}

bool RangeChecker::is_loaded(CpuId cpu, Asid asid) const {
  const Machine& machine = truth_.machine();
  return machine.setup().hardware.pcid && machine.cpu(cpu).pcid() == pcid_of(asid);
}

void RangeChecker::on_flush_returned(CpuId cpu, bool early) {
  const Machine& machine = truth_.machine();
  flushing_.clear(truth_.thread_on(cpu));
  if (machine.controlled().is_on()) return;
  const Flush& flush = flush_of(cpu);
  for (CpuId target = 0; target < machine.cpu_count(); ++target) {
    const Truth::Cpu& state = truth_.cpu(target);
    const bool hears_broadcasts = flush.global != kNoGlobalAsid && is_loaded(target, flush.global);
    if (!flush.carried_out.test(target) && !hears_broadcasts) continue;
    if (state.mm != flush.mm || state.in_switch || state.offline ||
        (early && machine.cpu(target).in_interrupt) || !truth_.may_use_user_addresses(target)) {
      continue;
    }
    const std::uint16_t pcid = machine.cpu(target).pcid();
    // A CPU that has moved to an ASID which was granted meanwhile has left what is to be dropped.
    const Asid asid = (pcid & ~kUserPcidBit) - 1U;
    if (machine.setup().hardware.pcid && is_global_asid(asid) && asid != flush.global) continue;
    if (!flush.coverage.is_complete(target, pcid)) report_uncovered(cpu, target, flush.asked);
  }
}

void RangeChecker::on_kernel_flush_returned(CpuId cpu) {
  const Machine& machine = truth_.machine();
  kernel_flushing_.clear(truth_.thread_on(cpu));
  if (machine.controlled().is_on()) return;
  for (CpuId target = 0; target < machine.cpu_count(); ++target) {
    const Truth::Cpu& state = truth_.cpu(target);
    if (state.in_switch || state.offline || machine.hypervisor().will_flush(machine.cpu(target))) {
      continue;
    }
    // The kernel runs on its own half; what the user's shares with it is judged by O13.
    const auto pcid = static_cast<std::uint16_t>(machine.cpu(target).pcid() &
                                                 ~static_cast<unsigned>(kUserPcidBit));
    if (!flush_of(cpu).kernel_coverage.is_complete(target, pcid)) {
      report_uncovered(cpu, target, flush_of(cpu).kernel_asked);
    }
  }
}

void RangeChecker::report_uncovered(CpuId cpu, CpuId target, const AskedRange& asked) const {
  truth_.fail(Oracle::o28, "what was invalidated does not cover what was asked",
              cpu_name(cpu) + " asked for " + bounds(asked.start, asked.end) + ", and " +
                  cpu_name(target) + ", which may use all of it, has not dropped all of it since.",
              {.step = asked.step, .cpu = cpu, .what = "asks for the flush"},
              truth_.event(cpu, "the flush returns"));
}

}  // namespace shootdown::fuzz
