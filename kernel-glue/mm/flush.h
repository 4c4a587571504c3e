// Flushes of the memory manager. What keeps translations outside the CPUs, such as a device that
// walks an mm's page tables, hears of each one behind the CPUs and before anything is released:
// the entries are gone or weaker by then, so that no walk can cache an old one anew.
#pragma once

#include "core/shootdown.h"
#include "kernel-glue/mm/manager.h"

namespace shootdown::vm {

/// Around a flush.
template <MemoryPlatform P>
class FlushContext {
 public:
  using H = typename P::Hal;
  explicit FlushContext(const Manager<P>& manager) : closes_(manager.config.closed_flushes) {
    if (closes_) H::disable_interrupts();
  }
  ~FlushContext() {
    if (closes_) H::enable_interrupts();
  }
  FlushContext(const FlushContext&) = delete;
  FlushContext& operator=(const FlushContext&) = delete;

 private:
  bool closes_;
};

/// Leaf entries of `range` have lost something. Context: as for `flush_tlb_mm_range`.
template <MemoryPlatform P>
TranslationsQuiet flush_range(Manager<P>& manager, AddressSpace<P>& mm, const FlushRange& range) {
  const FlushContext<P> context(manager);
  TranslationsQuiet quiet = flush_tlb_mm_range(manager.system, mm.core, range);
  manager.platform.flush_secondary(mm.core, range.start, range.end);
  return quiet;
}

/// The same for one 4 KiB page, after which nothing is released.
template <MemoryPlatform P>
void flush_page(Manager<P>& manager, AddressSpace<P>& mm, VirtAddr page) {
  const FlushContext<P> context(manager);
  static_cast<void>(flush_tlb_page(manager.system, mm.core, page));
  manager.platform.flush_secondary(mm.core, page, page + kSmallPage);
}

/// Tables of `range` were unhooked as well. Context: as for `flush_tlb_mm_range`.
template <MemoryPlatform P>
TablesUnreachable flush_tables(Manager<P>& manager, AddressSpace<P>& mm, const FlushRange& range) {
  const FlushContext<P> context(manager);
  TablesUnreachable quiet = flush_tlb_mm_range_freed_tables(manager.system, mm.core, range);
  manager.platform.flush_secondary(mm.core, range.start, range.end);
  return quiet;
}

/// As `flush_range`, if nothing is released: CPUs may answer before they flush.
template <MemoryPlatform P>
void flush_range_early(Manager<P>& manager, AddressSpace<P>& mm, const FlushRange& range) {
  const FlushContext<P> context(manager);
  static_cast<void>(flush_tlb_mm_range_early(manager.system, mm.core, range));
  manager.platform.flush_secondary(mm.core, range.start, range.end);
}

/// Leaf entries of [start, end) in the kernel's half have lost something. Every mm shares that
/// half, and so does every device that walks one. Context: as for `flush_tlb_mm_range`.
template <MemoryPlatform P>
KernelQuiet flush_kernel_range(Manager<P>& manager, VirtAddr start, VirtAddr end) {
  const FlushContext<P> context(manager);
  KernelQuiet quiet = flush_tlb_kernel_range(manager.system, start, end);
  manager.platform.flush_secondary_kernel(start, end);
  return quiet;
}

}  // namespace shootdown::vm
