// Page-table locks: one for each table, as a kernel has them.
//
// A table's lock keeps all other CPUs from its entries, except hardware walkers, which set accessed
// and dirty bits, and lockless ones, which only read. Order: a directory's before a page table's;
// of two page tables of an mm, the one with the lower addresses first. A lock may be held across
// a flush: a CPU that waits for the lock has interrupts on and answers.
#pragma once

#include <atomic>
#include <cstdint>

#include "core/hal.h"
#include "core/trace.h"
#include "kernel-glue/mm/manager.h"

namespace shootdown::vm {

/// Holds a lock word for a scope, with preemption off. Context: interrupts on (R12), no lock that
/// comes later in the order is held.
template <Hal H>
class LockGuard {
 public:
  using Word = typename H::template Atomic<std::uint32_t>;
  explicit LockGuard(Word& word) : word_(word) {
    require<H>(H::interrupts_enabled(), Rule::r12, "a page-table lock is taken with interrupts on");
    // Acquire pairs with the release in the destructor: what the holder before changed is visible,
    // entries and marks alike.
    while (word_.exchange(1, std::memory_order_acquire) != 0) {
      while (word_.load(std::memory_order_relaxed) != 0) H::pause();
    }
  }
  ~LockGuard() { word_.store(0, std::memory_order_release); }
  LockGuard(const LockGuard&) = delete;
  LockGuard& operator=(const LockGuard&) = delete;

 private:
  PreemptionOff<H> preemption_off_;
  Word& word_;
};

/// The lock of the table in frame `table`.
template <MemoryPlatform P>
class TableLock : public LockGuard<typename P::Hal> {
 public:
  TableLock(Manager<P>& manager, PhysAddr table)
      : LockGuard<typename P::Hal>(manager.platform.table_lock(table)) {}
};

}  // namespace shootdown::vm
