// What a flush asks of each CPU.
#pragma once

#include <cstdint>

#include "core/mm.h"
#include "core/range.h"
#include "core/trace.h"
#include "core/types.h"

namespace shootdown {

/// One flush. Filled by its initiator, then immutable until every target has answered (R10), so
/// plain data is enough: the push of the initiator's post publishes it, and the last answer ends
/// its life.
template <Hal H>
struct FlushRequest {
  Mm<H>* mm{};                  // the address space; null = the one loaded on each CPU
  VirtAddr start{};             // whole strides, as `enter_range` makes them: the first address
  VirtAddr end{};               // the first address behind them, 0 being 2^64, or kFlushAll
  Generation generation{};      // what a target must reach; kNoGeneration = none given
  CpuId initiator{};            // the CPU that started the flush
  FlushReason reason{};         // why, for the initiator's own part
  std::uint8_t stride_shift{};  // log2 of the page size unmapped
  bool frees_tables{};          // page tables go away: lazy CPUs are targets too (R6)
  bool trims_mask{};            // CPUs that run another mm are to leave the mask
  bool acknowledges_early{};    // targets answer before they flush
  bool needs_ipi_handler{};     // each target must run the flush function itself

  [[nodiscard]] FlushRange range() const {
    return {.start = start, .end = end, .stride_shift = stride_shift};
  }
  [[nodiscard]] bool all() const { return range().all(); }
  [[nodiscard]] std::uint64_t strides() const { return range().strides(); }
  /// The same, where `names_pages` holds: the stride is a constant.
  [[nodiscard]] FlushRange pages_of_4_kib() const {
    return {.start = start, .end = end, .stride_shift = kPageShift};
  }
  /// R5: whether the invalidation of each address of `range()` may stand for the request, in every
  /// way to flush. 4 KiB pages only. One address of a larger page leaves the small entries of what
  /// was mapped there before, and the core cannot know that none are left: their change may be made
  /// and not counted yet, and a generation tells of counts.
  [[nodiscard]] bool names_pages() const { return !all() && stride_shift == kPageShift; }
  /// Whether each target must run the flush function itself: every other backend falls back to
  /// IPIs.
  [[nodiscard]] bool needs_interrupts() const { return trims_mask || needs_ipi_handler; }
  /// For traces: 4 KiB pages covered, 0 = all.
  [[nodiscard]] std::uint64_t pages() const { return all() ? 0 : (end - start) >> kPageShift; }
};

}  // namespace shootdown
