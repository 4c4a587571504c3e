// Lockless walkers, and tables that wait for them.
//
// A lockless walker reads page tables with interrupts off and no lock. Two things keep a table from
// being reused under it:
//   a flush that interrupts its targets does not return while a target has interrupts off;
//   otherwise the walkers' sequences tell: odd means inside, and a table that was unhooked while a
//   walker was inside is released only when that walker has moved on.
//     walker:    make own sequence odd | full barrier | read tables
//     releaser:  unhook                | full barrier | read sequences
// In every interleaving the walker misses the table or the releaser sees the walker.
#pragma once

#include <atomic>

#include "core/completion.h"
#include "core/flush_dispatch.h"
#include "core/hal.h"
#include "core/walkers.h"
#include "kernel-glue/mm/lock.h"
#include "kernel-glue/mm/manager.h"

namespace shootdown::vm {

/// A lockless walk, for a scope. Interrupts are off meanwhile. Context: a task of the mm that it
/// walks, on the CPU that has it loaded.
template <MemoryPlatform P>
class LocklessWalk {
 public:
  using H = typename P::Hal;

  explicit LocklessWalk(Manager<P>& manager)
      : manager_(manager), sequence_(manager.walkers[H::this_cpu()].sequence) {
    sequence_.store(sequence_.owner_load() + 1, std::memory_order_relaxed);
    // Orders the announcement before the reads of tables, against the releaser's unhooking before
    // its reads of sequences. Otherwise the releaser finds no walker, and this CPU finds the table.
    H::full_fence();
  }
  ~LocklessWalk() {
    manager_.platform.walker_done();
    // Release: the reads of tables are over, against the releaser's acquire.
    sequence_.store(sequence_.owner_load() + 1, std::memory_order_release);
  }
  LocklessWalk(const LocklessWalk&) = delete;
  LocklessWalk& operator=(const LocklessWalk&) = delete;

 private:
  InterruptsOff<H> interrupts_off_;
  Manager<P>& manager_;
  typename H::template Atomic<std::uint64_t>& sequence_;
};

namespace internal {

/// Whether every walker that was inside when the table was unhooked has moved on.
template <MemoryPlatform P>
[[nodiscard]] bool is_ripe(Manager<P>& manager, const DeferredTable<typename P::Hal>& record) {
  for (CpuId cpu = 0; cpu < P::Hal::kMaxCpus; ++cpu) {
    const std::uint64_t seen = record.seen[cpu];
    if (seen % 2 == 0) continue;
    if (manager.walkers[cpu].sequence.load(std::memory_order_acquire) == seen) return false;
  }
  return true;
}

/// What is released was mapped or walked in an mm that the token's flush was of.
template <MemoryPlatform P>
void require_covered(bool covered) {
  require<typename P::Hal>(covered, Rule::r1,
                           "memory is released with a token that is spent or of another mm");
}

/// Whether a flush that frees tables has excluded software walkers when it returns.
template <MemoryPlatform P>
[[nodiscard]] bool flush_excludes_walkers(const Manager<P>& manager) {
  return manager.config.flush_interrupts_targets && flush_interrupts_targets(manager.system);
}

}  // namespace internal

/// Releases the deferred tables that no walker can be in any more. Context: interrupts on.
template <MemoryPlatform P>
void collect_tables(Manager<P>& manager) {
  using Record = DeferredTable<typename P::Hal>;
  if (manager.deferred.load(std::memory_order_relaxed) == nullptr) return;
  const LockGuard<typename P::Hal> lock(manager.deferred_lock);
  Record* kept = nullptr;
  for (Record* record = manager.deferred.owner_load(); record != nullptr;) {
    Record* following = record->next;
    if (internal::is_ripe(manager, *record)) {
      manager.platform.release_table(record->table);
      manager.platform.release_record(record);
    } else {
      record->next = kept;
      kept = record;
    }
    record = following;
  }
  manager.deferred.store(kept, std::memory_order_relaxed);
}

/// Releases an unhooked table, now or when walkers permit. The token is of the flush after the
/// unhooking, of the same mm: it speaks for hardware walkers. Context: as for a flush.
template <MemoryPlatform P>
void retire_table(Manager<P>& manager, const AddressSpace<P>& mm, PhysAddr table,
                  const TablesUnreachable& proof) {
  using H = typename P::Hal;
  internal::require_covered<P>(proof.covers(mm.core));
  if (internal::flush_excludes_walkers(manager)) {
    manager.platform.release_table(table);
    return;
  }
  collect_tables(manager);
  DeferredTable<H>* record = manager.platform.allocate_record();
  if (record == nullptr) {
    // No memory to remember the table with: then wait here, at the price of an interrupt each.
    wait_for_walkers(manager.system);
    manager.platform.release_table(table);
    return;
  }
  record->table = table;
  // Orders the unhooking before the reads of sequences, against the walker's announcement. The
  // flush in between has done so already, but a backend owes no barrier to software.
  H::full_fence();
  record->seen = {};
  // A CPU that is not online is in no walk, and one that comes online finds the table gone.
  manager.system.calls.online().for_each([&](CpuId cpu) {
    record->seen[cpu] = manager.walkers[cpu].sequence.load(std::memory_order_acquire);
  });
  const LockGuard<H> lock(manager.deferred_lock);
  record->next = manager.deferred.owner_load();
  manager.deferred.store(record, std::memory_order_relaxed);
}

}  // namespace shootdown::vm
