// What each CPU knows about its own TLB, and what it lets others see.
#pragma once

#include <array>
#include <atomic>

#include "core/mm.h"
#include "core/request.h"
#include "core/trace.h"
#include "core/types.h"

namespace shootdown {

/// One cached address space: whose entries live under this slot's PCID, and how fresh they are.
/// Meaning: the TLB holds no entry under the PCID that is older than `generation` (O4).
struct SlotState {
  ContextId context{kNoContext};
  Generation generation{kNoGeneration};
};

/// Written and read by the owning CPU only, with interrupts off, so that a flush interrupt never
/// sees it half changed. NMIs may read it.
template <Hal H>
struct alignas(kCacheLine) CpuPrivate {
  /// The space whose root is in CR3; null inside the switching window, when CR3 may be either.
  Mm<H>* loaded_mm{nullptr};
  Slot loaded_slot{0};
  Slot next_slot{0};
  std::array<SlotState, kSlots> slots{};
  /// Owner of `request` while a flush that started here is on its way; traps nesting (R10).
  bool request_in_use{false};
  Counters counters{};
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
