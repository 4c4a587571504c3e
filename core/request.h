// What a flush asks of each CPU.
#pragma once

#include <cstdint>

#include "core/mm.h"
#include "core/trace.h"
#include "core/types.h"

namespace shootdown {

/// One flush. Filled by its initiator, then immutable until every target has answered (R10), so
/// plain data is enough: the call record's push publishes it and the record's release ends its
/// life.
template <Hal H>
struct alignas(kCacheLine) FlushRequest {
  Mm<H>* mm;                  // the address space; null = whatever is loaded
  VirtAddr start;             // first address, aligned to the stride
  VirtAddr end;               // first address behind the range, or kFlushAll
  Generation generation;      // what a target must reach; kNoGeneration = none given
  CpuId initiator;            // the CPU that started the flush
  FlushReason reason;         // why, for the initiator's own part
  std::uint8_t stride_shift;  // log2 of the page size unmapped
  bool frees_tables;          // page tables go away: lazy CPUs are targets too (R6)
  bool trims_mask;            // CPUs that run another space are to leave the mask
  bool acknowledges_early;    // targets answer before they flush
  bool by_hand;               // targets have something to do that nobody can do for them

  [[nodiscard]] bool all() const { return end == kFlushAll; }
  [[nodiscard]] std::uint64_t strides() const { return (end - start) >> stride_shift; }
  /// Whoever flushes the targets in another way than by an interrupt does not do what is wanted.
  [[nodiscard]] bool needs_interrupts() const { return trims_mask || by_hand; }
  /// For traces: 4 KiB pages covered, 0 = all.
  [[nodiscard]] std::uint64_t pages() const { return all() ? 0 : (end - start) >> kPageShift; }
};

}  // namespace shootdown
