#include "fuzz/oracles/hardware/flushes.h"

#include "fuzz/oracles/reports/names.h"

namespace shootdown::fuzz {

using host::HostCpu;
using host::Machine;
using host::TlbEntry;

void FlushChecker::on_flush_begun(CpuId cpu, unsigned mm, const AskedRange& asked) {
  Flush& flush = flush_[truth_.thread_on(cpu)];
  flush.wanted.mm = mm;
  for (unsigned page = 0; page < kPages; ++page) {
    flush.wanted.pages[page] = 0;
    if (!holds_part_of(probe_address(page), asked.start, asked.end)) continue;
    truth_.machine().record_access(Truth::version_place(mm, page), false);
    flush.wanted.pages[page] = truth_.mm(mm).pages[page].version;
  }
}

void FlushChecker::on_flush_returns(CpuId cpu) {
  const Flush& flush = flush_[truth_.thread_on(cpu)];
  truth_.machine().record_access(place(Ghost::demands), false);
  for (unsigned page = 0; page < kPages; ++page) {
    if (flush.wanted.pages[page] == 0) continue;
    truth_.record_page_access(page);
    truth_.demand(
        flush.wanted.mm, page,
        {.version = flush.wanted.pages[page], .step = truth_.machine().step(), .cpu = cpu});
  }
}

void FlushChecker::on_flush_returned(CpuId cpu, bool early) const {
  for (CpuId target = 0; target < truth_.machine().cpu_count(); ++target) {
    check_target(cpu, flush_[truth_.thread_on(cpu)], target, early);
  }
}

void FlushChecker::check_target(CpuId cpu, const Flush& flush, CpuId target, bool early) const {
  const Machine& machine = truth_.machine();
  const HostCpu& hardware = machine.cpu(target);
  const Truth::Cpu& state = truth_.cpu(target);
  const std::uint16_t loaded_pcid = hardware.pcid();
  for (const TlbEntry& entry : hardware.tlb.entries) {
    if (entry.from.mm != flush.wanted.mm || entry.from.life != truth_.mm(flush.wanted.mm).life) {
      continue;
    }
    const unsigned page = page_of(entry.page << entry.shift);
    if (entry.from.version >= flush.wanted.pages[page]) continue;
    truth_.record_cpu_access(target);
    // Inside switch_mm the CPU uses nothing; what it may use afterwards is looked at behind it. A
    // target that answered early flushes before it leaves its handler.
    if (state.in_switch || state.offline || (early && hardware.in_interrupt)) return;
    if (state.mm == flush.wanted.mm && entry.pcid == loaded_pcid &&
        truth_.may_use_user_addresses(target)) {
      truth_.fail(Oracle::o1, "a flush returns while a CPU can still use an older translation",
                  cpu_name(target) + " runs " + mm_name(flush.wanted.mm) + " with " +
                      page_name(page) + " from before the change that " + cpu_name(cpu) +
                      " flushed.",
                  truth_.fill_event(target, entry), truth_.event(cpu, "the flush returns"));
    }
    truth_.leftovers().on_translation_left(cpu, target, entry, page);
  }
}

void FlushChecker::on_loaded(CpuId cpu, After after) const {
  const unsigned mm = truth_.cpu(cpu).mm;
  const HostCpu& hardware = truth_.machine().cpu(cpu);
  const std::uint16_t pcid = hardware.pcid();
  for (const TlbEntry& entry : hardware.tlb.entries) {
    if (entry.pcid != pcid || entry.from.mm == kKernelMm) continue;
    const unsigned page = page_of(entry.page << entry.shift);
    if (entry.from.mm != mm || entry.from.life != truth_.mm(mm).life) {
      truth_.fail(Oracle::o4, "an ASID holds translations of another address space",
                  cpu_name(cpu) + " has " + mm_name(mm) + " loaded, with entries of " +
                      truth_.origin_name(entry.from) + truth_.same_pcid() + ".",
                  truth_.fill_event(cpu, entry), truth_.event(cpu, "may use it now"));
    }
    truth_.leftovers().on_loaded(cpu, entry, page);
    // Under a kernel thread a CPU may hold it: a request for another mm finds it so, and changes
    // nothing.
    if (after == After::handler && !truth_.kernel().may_use_user_memory(cpu)) continue;
    const Demand& demand = truth_.mm(mm).pages[page].demand;
    if (!truth_.is_outdated(entry, page) || entry.from.version >= demand.version) continue;
    static constexpr const char* kAfter[] = {"switches in with", "leaves lazy mode with",
                                             "ends a flush function and keeps"};
    truth_.fail(after == After::lazy_exit ? Oracle::o2 : Oracle::o1,
                std::string("a CPU ") + kAfter[static_cast<unsigned>(after)] + " a translation " +
                    older_than(demand),
                cpu_name(cpu) + " may use " + page_name(page) + " of " + mm_name(mm) +
                    " from now on, but " + made_by(demand) + ".",
                truth_.fill_event(cpu, entry), truth_.event(cpu, "may use it now"));
  }
}

// ---- The kernel's half

void FlushChecker::on_kernel_flush_begun(CpuId cpu, const AskedRange& asked) {
  flush_[truth_.thread_on(cpu)].wanted = {};
  for (unsigned page = 0; page < kKernelPages; ++page) {
    const bool covered = holds_part_of(kernel_address(page), asked.start, asked.end);
    if (covered) truth_.machine().record_access(Truth::kernel_version_place(page), false);
    flush_[truth_.thread_on(cpu)].kernel_wanted[page] =
        covered ? truth_.kernel_version_seen_by(cpu, page) : 0;
  }
}

void FlushChecker::on_kernel_flush_returned(CpuId cpu) {
  truth_.machine().record_access(place(Ghost::demands), false);
  truth_.record_page_accesses();
  for (unsigned page = 0; page < kKernelPages; ++page) {
    truth_.demand_of_kernel(page, {.version = flush_[truth_.thread_on(cpu)].kernel_wanted[page],
                                   .step = truth_.machine().step(),
                                   .cpu = cpu});
  }
  for (CpuId target = 0; target < truth_.machine().cpu_count(); ++target) {
    check_kernel_target(cpu, target);
  }
}

void FlushChecker::check_kernel_target(CpuId cpu, CpuId target) const {
  const Machine& machine = truth_.machine();
  for (const TlbEntry& entry : machine.cpu(target).tlb.entries) {
    if (entry.from.mm != kKernelMm) continue;
    const unsigned page = kernel_page_of(entry.page << entry.shift);
    if (entry.from.version >= flush_[truth_.thread_on(cpu)].kernel_wanted[page]) continue;
    truth_.record_cpu_access(target);
    if (truth_.cpu(target).offline) break;
    // User roots map some of these pages, too, and their entries are paid for on the way there.
    const bool user_pcid = machine.setup().hardware.pcid && (entry.pcid & kUserPcidBit) != 0;
    if (!user_pcid && (entry.global || !machine.setup().hardware.pcid)) {
      report_kernel_translation(truth_, cpu, target, entry, page, ".");
    } else {
      truth_.leftovers().on_kernel_translation_left(cpu, target, entry, page);
    }
  }
}

void report_kernel_translation(const Truth& truth, CpuId cpu, CpuId target, const TlbEntry& entry,
                               unsigned page, const std::string& where) {
  truth.fail(Oracle::o13, "a kernel range is flushed but a CPU can still use an older translation",
             cpu_name(target) + " holds " + kernel_page_name(page) + where,
             truth.fill_event(target, entry), truth.event(cpu, "the flush returns"));
}

void FlushChecker::on_kernel_loaded(CpuId cpu) const {
  if (truth_.cpu(cpu).offline) return;
  const HostCpu& hardware = truth_.machine().cpu(cpu);
  for (const TlbEntry& entry : hardware.tlb.entries) {
    if (entry.from.mm != kKernelMm) continue;
    if (entry.global || entry.pcid == hardware.pcid()) {
      report_kernel_switch(truth_, cpu, entry);
    } else {
      truth_.leftovers().on_kernel_beside(cpu, entry);
    }
  }
}

void report_kernel_switch(const Truth& truth, CpuId cpu, const TlbEntry& entry) {
  const unsigned page = kernel_page_of(entry.page << entry.shift);
  if (!truth.is_outdated(entry, page)) return;
  const Demand& demand = truth.kernel_page(page).demand;
  if (entry.from.version >= demand.version) return;
  truth.fail(Oracle::o13, "a CPU switches in with an older translation of a kernel page",
             cpu_name(cpu) + " may use " + kernel_page_name(page) + " from now on, but " +
                 made_by(demand) + ".",
             truth.fill_event(cpu, entry), truth.event(cpu, "may use it now"));
}

}  // namespace shootdown::fuzz
