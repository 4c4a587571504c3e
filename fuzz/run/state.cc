#include "fuzz/run/state.h"

#include <string_view>

#include "fuzz/events/layout.h"
#include "fuzz/oracles/labels.h"
#include "fuzz/oracles/reports/names.h"

namespace shootdown::fuzz {

namespace {

using host::FramePool;
using host::HostCpu;

/// One look at everything.
class Look {
 public:
  Look(host::Machine& machine, SimKernel& sim, host::Observer& names)
      : machine_(machine), sim_(sim), names_(names) {}

  State all() {
    for (CpuId cpu = 0; cpu < machine_.cpu_count(); ++cpu) {
      prefix_ = cpu_name(cpu) + "/";
      hardware(machine_.cpu(cpu));
      core(cpu);
      calls(cpu);
    }
    for (unsigned mm = 0; mm <= sim_.temporary_mm(); ++mm) {
      prefix_ = mm_name(mm) + "/";
      space(mm);
    }
    prefix_ = "kernel/";
    for (unsigned page = 0; page < kKernelPages; ++page) {
      const std::uint64_t entry = leaf(sim_.mm(0).core.root, kernel_address(page)).entry;
      if (entry != 0) put("page/" + std::to_string(page), mapping_text(entry));
    }
    prefix_.clear();
    put("online", set_of(mask_in(sim_.system().calls)));
    return std::move(state_);
  }

 private:
  void put(const std::string& name, std::string what) { state_[prefix_ + name] = std::move(what); }

  /// The mask among the shared words of what has one.
  template <class Words>
  [[nodiscard]] static host::HostCpuMask mask_in(Words& words) {
    host::HostCpuMask mask;
    std::size_t index = 0;
    words.visit_shared([&](std::string_view name, auto& word) {
      if (name == "cpu_mask") mask.set_word(index++, static_cast<std::uint64_t>(word.peek()));
    });
    return mask;
  }

  [[nodiscard]] static std::string set_of(const host::HostCpuMask& mask) {
    std::string text;
    mask.for_each([&](CpuId cpu) { text += (text.empty() ? "" : ",") + std::to_string(cpu); });
    return "{" + text + "}";
  }

  // ---- Page tables

  struct Leaf {
    std::uint64_t entry{0};  // 0: none
    unsigned level{1};
  };
  /// As memory has it, without what waits in store buffers.
  [[nodiscard]] Leaf leaf(PhysAddr table, VirtAddr address) {
    for (unsigned level = vm::kRootLevel; level > 0; --level) {
      const std::uint32_t frame = FramePool::frame_at(table);
      if (frame == FramePool::kNoFrame) return {};
      const std::uint64_t entry = machine_.frames().words(frame)[vm::entry_index(address, level)];
      if (!vm::is_present(entry)) return {};
      if (level == 1 || (level == 2 && vm::is_large(entry))) return {entry, level};
      table = vm::frame_of(entry);
    }
    return {};
  }

  void space(unsigned index) {
    SimMm& mm = sim_.mm(index);
    if (mm.core.root == 0) return;
    put("generation", std::to_string(mm.core.tlb_gen.peek()));
    if (const Asid asid = mm.core.global_asid.peek(); asid != kNoGlobalAsid)
      put("asid", std::to_string(asid));
    put("cpus", set_of(mask_in(mm.core)));
    for (unsigned page = 0; page < kPages; ++page) {
      const Leaf found = leaf(mm.core.root, probe_address(page));
      if (found.entry != 0) put("page/" + std::to_string(page), mapping_text(found.entry));
    }
  }

  // ---- What a CPU's hardware holds

  [[nodiscard]] static std::string page_text(VirtAddr address) {
    if (const unsigned page = page_of(address); page != kPages) return page_name(page);
    if (const unsigned page = kernel_page_of(address); page != kKernelPages)
      return kernel_page_name(page);
    return "address " + std::to_string(address);
  }

  /// Whether memory still says what the entry says, as far as a program can tell.
  [[nodiscard]] bool is_stale(const host::TlbEntry& entry, VirtAddr address) {
    const bool is_kernel = kernel_page_of(address) != kKernelPages;
    if (!is_kernel && entry.from.mm > sim_.temporary_mm()) return false;
    const PhysAddr root = sim_.mm(is_kernel ? 0 : entry.from.mm).core.root;
    const Leaf now = leaf(root, address);
    if (now.entry == 0) return true;
    const bool same_size = (now.level == 1) == (entry.shift == kPageShift);
    if (same_size && FramePool::frame_at(vm::frame_of(now.entry)) != entry.frame) return true;
    return (entry.rights.writable && (now.entry & vm::kPteWritable) == 0) ||
           (entry.rights.executable && (now.entry & vm::kPteNoExecute) != 0) ||
           (entry.rights.user && (now.entry & vm::kPteUser) == 0) ||
           (entry.dirty && (now.entry & vm::kPteDirty) == 0);
  }

  [[nodiscard]] std::string entry_text(const host::TlbEntry& entry) {
    const VirtAddr address = entry.page << entry.shift;
    const bool is_kernel = kernel_page_of(address) != kKernelPages;
    std::string text = page_text(address);
    if (!is_kernel && entry.from.mm <= sim_.temporary_mm()) text += " of " + mm_name(entry.from.mm);
    text += " -> frame " + std::to_string(entry.frame);
    text += entry.rights.writable ? ", writable" : ", read-only";
    if (!entry.rights.executable) text += ", no-execute";
    if (entry.shift != kPageShift) text += ", large";
    if (entry.dirty) text += ", dirty";
    text += entry.global ? ", global" : ", PCID " + std::to_string(entry.pcid);
    if (is_stale(entry, address)) text += kStale;
    return text;
  }

  void caches(const host::Tlb& tlb) {
    for (const host::TlbEntry& entry : tlb.entries)
      put("tlb/" + std::to_string(entry.number), entry_text(entry));
    for (const host::PscEntry& entry : tlb.psc) {
      const VirtAddr address = entry.prefix << entry.shift;
      const auto& info = machine_.frames().info(entry.table);
      const bool is_there = info.kind == host::FrameKind::table && info.life == entry.life;
      put("tables/" + std::to_string(entry.level()) + ":" + std::to_string(address >> kPageShift) +
              ":" + std::to_string(entry.pcid),
          "level " + std::to_string(entry.level()) + " for " + region_text(address, entry.shift) +
              " -> frame " + std::to_string(entry.table) + ", PCID " + std::to_string(entry.pcid) +
              (is_there ? "" : ", released" + std::string(kStale)));
    }
  }

  /// What a pointer to a table covers.
  [[nodiscard]] static std::string region_text(VirtAddr address, std::uint8_t shift) {
    if ((address >> 63) != 0) return "the kernel's half";
    std::string text;
    for (unsigned page = 0; page < kPages; ++page) {
      if (page_address(page) >> shift != address >> shift) continue;
      if (text.empty()) text = "pages " + std::to_string(page);
      if (page + 1 == kPages || page_address(page + 1) >> shift != address >> shift)
        text += "-" + std::to_string(page);
    }
    return text.empty() ? "other addresses" : text;
  }

  void hardware(const HostCpu& cpu) {
    put("cr3", names_.label(reinterpret_cast<const void*>(cpu.cr3)));
    put("interrupts", cpu.interrupts_enabled ? "on" : "off");
    if (cpu.in_nmi) {
      put("handler", "NMI");
    } else if (cpu.in_interrupt) {
      put("handler", "interrupt");
    }
    if (cpu.call_pending) put("waits/call", "a call-function interrupt");
    if (cpu.bau_pending) put("waits/message", "an interrupt of the hub");
    if (cpu.nmi_pending) put("waits/nmi", "an NMI");
    if (cpu.hold != 0) put("waits/hold", "interrupts held back for " + std::to_string(cpu.hold));
    if (cpu.has_lost) put("waits/lost", "an interrupt that got lost");
    if (machine_.broadcasts().has_one_for(cpu.id)) put("waits/broadcast", "a broadcast");
    if (cpu.place != host::VcpuPlace::running)
      put("host", cpu.place == host::VcpuPlace::entering ? "is about to enter it" : "has it");
    for (unsigned i = 0; i < cpu.stores.size(); ++i) {
      const host::BufferedStore& store = cpu.stores[i];
      put("buffer/" + std::to_string(store.number), store_text(store));
    }
    caches(cpu.tlb);
  }

  [[nodiscard]] std::string store_text(const host::BufferedStore& store) {
    if (store.to_page) {
      const auto frame = machine_.frames().frame_of(static_cast<const std::uint64_t*>(store.word));
      return "a store to frame " + std::to_string(frame);
    }
    const std::string label = names_.label(store.word);
    // A pointer's bits differ from process to process, and its words are named.
    const std::uint64_t value = label.ends_with(".loaded_mm") ? store.bits != 0 : store.bits;
    return label + " = " + names_.shown(store.word, value, store.bits);
  }

  // ---- What the core keeps for a CPU

  void core(CpuId cpu) {
    const CpuState<host::HostHal>& state = sim_.system().cpus[cpu];
    const auto& own = state.own;
    if (const Mm<host::HostHal>* mm = own.loaded_mm.peek()) {
      const unsigned index = sim_.mm_of(mm);
      put("runs", index == kNoMm ? "the kernel's mm" : mm_name(index));
    } else {
      put("runs", "none: inside a switch");
    }
    const Asid loaded = own.loaded_asid.peek();
    put("asid", (is_global_asid(loaded) ? "global " : "") + std::to_string(loaded));
    for (unsigned i = 0; i < kDynamicAsids; ++i) {
      const ContextId context = own.asids[i].context.peek();
      if (context == kNoContext) continue;
      put("asid/" + std::to_string(i),
          owner_of(context) + ", generation " + std::to_string(own.asids[i].generation.peek()));
    }
    if (state.shared.is_lazy.peek()) put("lazy", "yes");
    if (own.early_acked_flush_pending.peek()) put("answered", "a flush, and has yet to do it");
    if (own.user_pcid_flush_mask.peek() != 0)
      put("owed", "user PCIDs " + set_text(own.user_pcid_flush_mask.peek()));
    if (const DeferredPages pages = own.deferred.peek(); !pages.empty())
      put("deferred", page_text(pages.start) + " to " + page_text(pages.end - 1));
    if (sim_.in_user_mode(cpu)) put("mode", "user");
  }

  [[nodiscard]] std::string owner_of(ContextId context) {
    for (unsigned mm = 0; mm <= sim_.temporary_mm(); ++mm) {
      if (sim_.mm(mm).core.context == context) return mm_name(mm);
    }
    return context == sim_.system().kernel_mm.context ? "the kernel's mm" : "an mm that is gone";
  }

  void calls(CpuId cpu) {
    std::string senders;
    std::string closed;
    unsigned number = 0;
    constexpr unsigned kWords = PendingSenders<host::HostHal>::kWords;
    sim_.system().calls.visit_shared([&](std::string_view name, auto& word) {
      if (name != "call_pending") return;
      const unsigned index = number++;
      if (index / kWords != cpu || word.peek() == 0) return;
      const std::string text = senders_text(word.peek(), index % kWords, sim_.system().cpu_count());
      (text == "closed" ? closed : senders) += (senders.empty() ? "" : " ") + text;
    });
    if (!senders.empty()) put("calls", "from " + senders);
    if (!closed.empty()) put("calls", "closed");
  }

  host::Machine& machine_;
  SimKernel& sim_;
  host::Observer& names_;
  std::string prefix_;
  State state_;
};

}  // namespace

State state_of(host::Machine& machine, SimKernel& sim, host::Observer& names) {
  return Look(machine, sim, names).all();
}

}  // namespace shootdown::fuzz
