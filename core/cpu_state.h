// What each CPU knows about its own TLB, and what it lets others see.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "core/counters.h"
#include "core/mm.h"
#include "core/request.h"
#include "core/trace.h"
#include "core/types.h"

namespace shootdown {

/// One cached address space: whose entries live under this slot's PCID, and how fresh they are.
/// Meaning: the TLB holds no entry under the PCID that is older than `generation` (O4). Under
/// page-table isolation the same holds for the user twin, unless its bit in `user_flush` is set.
struct SlotState {
  ContextId context{kNoContext};
  Generation generation{kNoGeneration};
};

/// 4 KiB pages of the loaded slot's user half that are to be invalidated on the way to user mode.
struct DeferredPages {
  VirtAddr start{0};
  VirtAddr end{0};
  [[nodiscard]] bool empty() const { return start == end; }
};

/// Written by the owning CPU only, with interrupts off, so that a flush interrupt never sees it
/// half changed. NMIs may read it. Others read `loaded_mm` and `on_global` and nothing else.
template <Hal H>
struct alignas(kCacheLine) CpuPrivate {
  /// The space whose root is in CR3; null inside the switching window, when CR3 may be either
  /// (M10).
  typename H::template Atomic<Mm<H>*> loaded_mm{nullptr};
  /// The loaded slot is a global one. Stored after CR3, before `loaded_mm`, and only if it changes.
  typename H::template Atomic<bool> on_global{false};
  Slot loaded_slot{0};
  Slot next_slot{0};
  std::array<SlotState, kSlots> slots{};
  /// Page-table isolation: bit s + 1 says that slot s's user twin must be flushed before user mode
  /// (R9). A user root does not map it: the way to user mode takes it over into its EntryBlock.
  std::uint16_t user_flush{0};
  /// A kernel page that is not global was invalidated in the loaded slot and its twin only.
  bool invalidate_other{false};
  /// A flush was answered early and is not done yet: user memory means what it meant before. A word
  /// of its own kind because an NMI on this CPU reads it in the middle of everything.
  typename H::template Atomic<bool> owes_answered_flush{false};
  /// The CPU is part of the core, from `initialize_cpu` to `take_cpu_offline`.
  bool is_up{false};
  /// Owner of `request` while a flush that started here is on its way; traps nesting (R10), and
  /// flushes by a CPU that is not up, which has no request to give.
  bool request_in_use{true};
  DeferredPages deferred{};
  /// Shadow of CR4, equal to the register whenever interrupts are on (M15).
  std::uint64_t cr4{0};
  Counters counters{};

  /// Notes that `slot` is loaded now. Release: a flusher that sees the CPU on a global slot takes
  /// it that CR3 has left the old one.
  void set_loaded_slot(Slot slot) {
    loaded_slot = slot;
    if (on_global.owner_load() != is_global_slot(slot)) {
      on_global.store(is_global_slot(slot), std::memory_order_release);
    }
  }
  /// What a slot has recorded; a global slot records nothing.
  [[nodiscard]] Generation generation_of(Slot slot) const {
    return is_global_slot(slot) ? kNoGeneration : slots[slot].generation;
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
  /// The request of the flush that this CPU started. Logically a stack variable of that flush; it
  /// is per CPU so that it has a cache line of its own and no target reads a live stack. One flush
  /// at a time: preemption is off, and flushes do not nest.
  FlushRequest<H> request{};
};

}  // namespace shootdown
