// What each CPU knows about its own TLB, and what it lets others see.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "core/counters.h"
#include "core/mm.h"
#include "core/trace.h"
#include "core/types.h"

namespace shootdown {

template <Hal H>
struct CallPost;

/// One cached address space: whose entries live under this ASID's PCID, and how fresh they are.
/// Meaning: the TLB holds no entry under the PCID that is older than `generation` (O4). Under
/// page-table isolation the same holds for the user PCID, unless its bit in `user_pcid_flush_mask`
/// is set.
template <Hal H>
struct AsidState {
  Own<H, ContextId> context{kNoContext};
  Own<H, Generation> generation{kNoGeneration};
};

/// 4 KiB pages of the loaded ASID's user half that are to be invalidated on the way to user mode.
struct DeferredPages {
  VirtAddr start{0};
  VirtAddr end{0};
  [[nodiscard]] bool empty() const { return start == end; }
};

/// Whose the post of a CPU is, and the request in it.
enum class PostUse : std::uint8_t {
  by_none,    // the CPU is not up
  free,       // it may be written
  by_flush,   // a flush that is on its way to other CPUs, and waits for them
  by_submit,  // one whose caller has gone on: the CPU takes it back before its next use (R10)
};

/// Written by the owning CPU only, with interrupts off, so that a flush interrupt never sees it
/// half changed. NMIs may read it. Others read `loaded_mm` and `on_global` and nothing else.
template <Hal H>
struct alignas(kCacheLine) CpuPrivate {
  /// The mm whose root is in CR3; null inside the switching window, when CR3 may be either
  /// (M10).
  typename H::template Atomic<Mm<H>*> loaded_mm{nullptr};
  /// The loaded ASID is a global one. Stored after CR3, before `loaded_mm`, and only if it changes.
  typename H::template Atomic<bool> on_global{false};
  Own<H, Asid> loaded_asid{0};
  Own<H, Asid> next_asid{0};
  /// This CPU's number, its bit in a word of a mask, and its post; constant while it is up.
  CpuId number{0};
  std::uint64_t bit{0};
  CallPost<H>* post{nullptr};
  /// `asids[loaded_asid]`, unless that is a global one. It is no `Own`: it changes with its ASID.
  AsidState<H>* loaded{nullptr};
  std::array<AsidState<H>, kDynamicAsids> asids{};
  /// Page-table isolation: bit s + 1 says that ASID s's user PCID must be flushed before user mode
  /// (R9). A user root does not map it: the way to user mode takes it over into its EntryBlock.
  Own<H, std::uint16_t> user_pcid_flush_mask{0};
  /// A kernel page that is not global was invalidated in the loaded ASID and its user PCID only.
  Own<H, bool> invalidate_other{false};
  /// A flush was answered early and is not done yet: user memory means what it meant before. A word
  /// of its own kind because an NMI on this CPU reads it in the middle of everything.
  typename H::template Atomic<bool> early_acked_flush_pending{false};
  /// The CPU is part of the core, from `initialize_cpu` to `take_cpu_offline`.
  Own<H, bool> is_up{false};
  /// Traps nesting (R10), and flushes by a CPU that is not up, which has no request to give.
  Own<H, PostUse> post_use{PostUse::by_none};
  Own<H, DeferredPages> deferred{};
  /// Shadow of CR4, equal to the register whenever interrupts are on (M15).
  Own<H, std::uint64_t> cr4{0};
  Counters counters{};

  /// Notes that `asid` is loaded now. Release: a flusher that sees the CPU on a global ASID takes
  /// it that CR3 has left the old one.
  void set_loaded_asid(Asid asid) {
    loaded_asid = asid;
    loaded = is_global_asid(asid) ? nullptr : &asids[asid];
    if (on_global.owner_load() != is_global_asid(asid)) {
      on_global.store(is_global_asid(asid), std::memory_order_release);
    }
  }
  /// What an ASID has recorded; a global ASID records nothing.
  [[nodiscard]] Generation generation_of(Asid asid) {
    if (is_global_asid(asid)) return kNoGeneration;
    return asids[asid].generation;
  }
};

/// Written by the owner, read by every flusher. Alone on its line, and stored only when it changes:
/// otherwise each switch would take the line away from the flushers that poll it.
template <Hal H>
struct alignas(kCacheLine) CpuShared {
  /// The CPU keeps user tables loaded but promises not to use their user half before it leaves lazy
  /// mode through `switch_mm` (R3).
  typename H::template Atomic<bool> is_lazy{false};
};

template <Hal H>
struct CpuState {
  CpuPrivate<H> own;
  CpuShared<H> shared;
};

}  // namespace shootdown
