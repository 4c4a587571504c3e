// What is true of the machine, independent of what the kernel believes: how often each translation
// was changed, which tables are unhooked, which mm each CPU's CR3 holds, and what completed flushes
// and operations have promised. It judges nothing; the checkers of this folder do.
//
// Nothing here knows the core. A kernel is known by fuzz/events/events.h alone.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "fuzz/events/events.h"
#include "fuzz/events/layout.h"
#include "fuzz/oracles/hardware/leftovers.h"
#include "fuzz/oracles/reports/catalogue.h"
#include "fuzz/scenario/scenario.h"
#include "hal/host/machine.h"
#include "hal/host/walk.h"

namespace shootdown::fuzz {

/// The bytes that the caller of a flush wants flushed, as it gave them.
struct AskedRange {
  VirtAddr start{0};
  VirtAddr end{0};
  std::uint64_t step{0};
};

/// From now on nothing older than `version` is used.
struct Demand {
  enum class By : std::uint8_t { flush, batch, operation };
  std::uint64_t version{0};
  std::uint64_t step{0};
  CpuId cpu{0};
  By by{By::flush};
};

class Truth {
 public:
  struct Page {
    std::uint64_t version{0};  // how often something was taken from it
    Demand demand;
    /// The version that a page table had when it was unhooked: no walk through a cached pointer to
    /// that table finds anything newer.
    std::uint64_t before_unhook{0};
  };
  struct Mm {
    std::uint32_t life{0};
    std::array<Page, kPages> pages;
  };
  /// A table that no entry points to any more.
  struct UnhookedTable {
    std::uint32_t life{0};  // of its frame
    std::uint64_t step{0};
    VirtAddr region{0};
    bool is_page_table{false};  // otherwise only flushes of everything speak of it
  };
  struct Cpu {
    unsigned mm{kNoMm};        // whose root is in CR3
    bool on_user_root{false};  // under page-table isolation
    bool in_switch{false};
    bool offline{false};
    std::uint32_t walked{host::FramePool::kNoFrame};  // the table that hardware has read last
  };

  explicit Truth(host::Machine& machine) : machine_(machine) {}

  /// From now on hears of what is left.
  void tell(Leftovers& leftovers) { leftovers_ = &leftovers; }
  void start(const KernelView& kernel, unsigned mms);

  [[nodiscard]] host::Machine& machine() const { return machine_; }
  [[nodiscard]] const KernelView& kernel() const { return *kernel_; }
  [[nodiscard]] unsigned mms() const { return mms_; }
  [[nodiscard]] Leftovers& leftovers() const { return *leftovers_; }
  [[nodiscard]] const Cpu& cpu(CpuId cpu) const { return cpu_[cpu]; }
  /// What is promised to a caller is promised to a thread, which may go on on another CPU.
  [[nodiscard]] unsigned thread_on(CpuId cpu) const { return machine_.cpu(cpu).thread->number; }
  [[nodiscard]] unsigned running_thread() const { return machine_.running().thread->number; }
  [[nodiscard]] const Mm& mm(unsigned mm) const { return mm_[mm]; }
  /// What a flush by the CPU covers: its own stores, and those of others that are in memory.
  [[nodiscard]] std::uint64_t kernel_version_seen_by(CpuId cpu, unsigned page) const {
    const bool is_own = kernel_stores_[page] == 0 || kernel_store_cpu_[page] == cpu;
    return is_own ? kernel_pages_[page].version : kernel_version_in_memory_[page];
  }
  [[nodiscard]] const Page& kernel_page(unsigned page) const { return kernel_pages_[page]; }
  [[nodiscard]] const UnhookedTable& unhooked(std::uint32_t table) const {
    return unhooked_[table];
  }
  /// A translation of the page says what memory has said since.
  [[nodiscard]] const Page& page_behind(const host::TlbEntry& entry, unsigned page) const;

  // ---- What it learns from

  void on_cr3(CpuId cpu);
  void on_table_write(const std::uint64_t* word, std::uint64_t before, std::uint64_t after);
  void on_kernel_entry_changed(unsigned page);
  /// A plain store to an entry of a kernel page waits in a store buffer. It belongs to the change
  /// that the kernel tells of next, and `on_entry_stored` follows.
  void on_kernel_entry_store(unsigned page);
  /// A plain store to a word of a page table comes to memory, where walks see it.
  void on_entry_stored(const std::uint64_t* word, std::uint64_t before, std::uint64_t after);
  void on_destroy(unsigned mm);
  void on_offline(CpuId cpu, bool offline);
  void on_switch(CpuId cpu, bool begins) { cpu_[cpu].in_switch = begins; }
  /// A walk of the CPU, or the device, reads the table.
  void on_walk(CpuId walker, std::uint32_t table);
  /// Stamps what a walk has found.
  void on_fill(CpuId walker, VirtAddr address, host::Provenance& from) const;
  /// Nothing of the page that is older than `version` may be used from now on.
  void demand(unsigned mm, unsigned page, const Demand& demand);
  void demand_of_kernel(unsigned page, const Demand& demand);

  // ---- What checkers ask

  /// Where the running CPU changed an entry last.
  [[nodiscard]] unsigned changed_mm(CpuId cpu) const { return changed_[cpu].mm; }
  [[nodiscard]] unsigned changed_page(CpuId cpu) const { return changed_[cpu].page; }
  [[nodiscard]] unsigned mm_walked_by(CpuId walker) const;
  /// The page was changed since the entry was cached.
  [[nodiscard]] bool is_outdated(const host::TlbEntry& entry, unsigned page) const;
  /// The CPU's instructions may use its loaded user translations right now. Not under a kernel
  /// thread, inside a switch, offline, without a processor and owed a flush, or on the last steps
  /// to user mode, where page-table isolation pays its debts.
  [[nodiscard]] bool may_use_user_addresses(CpuId cpu) const;
  /// Calls `visit(cpu, entry)` for each translation that a CPU may use for user memory right now,
  /// of those that concern the caller.
  template <class Concerns, class Visit>
  void for_each_usable(Concerns&& concerns, Visit&& visit) const;

  // ---- For exhaustive search: what a check looks at besides the running CPU

  [[nodiscard]] static host::Location version_place(unsigned mm, unsigned page);
  [[nodiscard]] static host::Location kernel_version_place(unsigned page) {
    return version_place(kMaxMms + 1, page);
  }
  void record_page_access(unsigned page) const;
  void record_page_accesses() const;
  void record_cpu_access(CpuId cpu) const;

  // ---- Reports. The first of a callback counts, and the machine ends the run behind it.

  void fail(Oracle oracle, std::string title, std::string detail, host::Event first,
            host::Event second) const;
  [[nodiscard]] host::Event event(CpuId cpu, std::string what) const;
  /// The last allocation or release of a frame. No event where it was there before the run.
  [[nodiscard]] static host::Event change_event(const host::FrameInfo& info, std::string what);
  [[nodiscard]] host::Event fill_event(CpuId cpu, const host::TlbEntry& entry) const;
  /// What a translation is of, such as "page 3 of mm0".
  [[nodiscard]] std::string entry_name(const host::TlbEntry& entry) const;
  [[nodiscard]] std::string owner_name(unsigned mm) const;
  /// The mm that something cached is from, which may be one of an earlier life.
  [[nodiscard]] std::string origin_name(const host::Provenance& from) const;
  /// Where PCIDs are on, those of entries that are mixed up are the same.
  [[nodiscard]] const char* same_pcid() const;

 private:
  struct Changed {
    unsigned mm{0};
    unsigned page{0};
  };

  void on_entry_changed(unsigned mm, unsigned page);
  void on_table_unhooked(unsigned mm, VirtAddr region, std::uint32_t table);
  void note_unhooked(std::uint32_t table, VirtAddr region, bool is_page_table);
  [[nodiscard]] bool is_unhooked(std::uint32_t table) const;

  host::Machine& machine_;
  const KernelView* kernel_{nullptr};
  Leftovers unheard_;
  Leftovers* leftovers_{&unheard_};
  unsigned mms_{0};
  std::array<Mm, kMaxMms + 1> mm_{};
  std::array<Page, kKernelPages> kernel_pages_{};
  /// How many stores to the kernel page's entries wait in store buffers, and the version that
  /// walks see meanwhile.
  std::array<unsigned, kKernelPages> kernel_stores_{};
  std::array<CpuId, kKernelPages> kernel_store_cpu_{};
  std::array<std::uint64_t, kKernelPages> kernel_version_in_memory_{};
  std::array<UnhookedTable, host::FramePool::kFrames> unhooked_{};
  std::array<Cpu, kMaxCpus> cpu_{};
  std::array<Changed, kMaxCpus> changed_{};
  std::uint32_t walked_by_device_{host::FramePool::kNoFrame};
};

template <class Concerns, class Visit>
void Truth::for_each_usable(Concerns&& concerns, Visit&& visit) const {
  for (CpuId id = 0; id < machine_.cpu_count(); ++id) {
    const host::HostCpu& cpu = machine_.cpu(id);
    for (const host::TlbEntry& entry : cpu.tlb.entries) {
      if (entry.from.mm == kKernelMm || !concerns(entry)) continue;
      record_cpu_access(id);
      if (cpu_[id].mm == kNoMm || cpu_[id].offline || !may_use_user_addresses(id)) break;
      // A target that answered early flushes before it leaves its handler.
      if (kernel_->answers_early() && cpu.in_interrupt) break;
      if (entry.pcid == cpu.pcid()) visit(id, entry);
    }
  }
}

/// How a report ends its title, and what it says about "it".
[[nodiscard]] const char* older_than(const Demand& demand);
[[nodiscard]] std::string made_by(const Demand& demand);

}  // namespace shootdown::fuzz
