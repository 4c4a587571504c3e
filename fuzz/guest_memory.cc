// The simulated kernel's page tables, and what it owes the TLBs after each change.
#include "fuzz/guest.h"
#include "fuzz/layout.h"
#include "hal/host/walk.h"

namespace shootdown::fuzz {

using host::FrameKind;
using host::FramePool;
using host::kPteLarge;
using host::kPtePresent;
using host::kPteUser;
using host::kPteWritable;
using host::table_index;

namespace {

constexpr std::uint64_t kTableBits = kPtePresent | kPteWritable | kPteUser;

std::uint64_t leaf_value(std::uint32_t frame, unsigned page) {
  return FramePool::address(frame) | kTableBits | (page < kSmallPages ? 0 : kPteLarge);
}

FlushRange range_of(unsigned first, unsigned count) {
  const std::uint8_t shift = page_shift(first);
  const VirtAddr start = page_address(first);
  return {.start = start, .end = start + (VirtAddr{count} << shift), .stride_shift = shift};
}

}  // namespace

// ---- Page tables
// ----------------------------------------------------------------------------------

void Guest::lock(Lock& lock) {
  while (lock.exchange(1, std::memory_order_acquire) != 0) {
    while (lock.load(std::memory_order_relaxed) != 0) HostHal::pause();
  }
}

void Guest::unlock(Lock& lock) { lock.store(0, std::memory_order_release); }

std::uint64_t* Guest::find_entry(GuestMm& space, unsigned page) {
  FramePool& frames = machine_.frames();
  std::uint64_t* upper = frames.words(space.directory) + table_index(page_address(page), 2);
  if (page >= kSmallPages) return upper;
  const std::uint64_t value = machine_.read_word(upper);
  if ((value & kPtePresent) == 0) return nullptr;
  return frames.words(FramePool::frame_at(value)) + table_index(page_address(page), 1);
}

std::uint64_t* Guest::find_or_make_entry(GuestMm& space, unsigned page) {
  if (std::uint64_t* entry = find_entry(space, page)) return entry;
  FramePool& frames = machine_.frames();
  const std::uint32_t table = take_frame(FrameKind::table, owner_tag(index_of(space), 1));
  if (table == FramePool::kNoFrame) return nullptr;
  std::uint64_t* upper = frames.words(space.directory) + table_index(page_address(page), 2);
  machine_.exchange_word(upper, FramePool::address(table) | kTableBits);
  return frames.words(table) + table_index(page_address(page), 1);
}

void Guest::map(const Op& op) {
  GuestMm& space = spaces_[op.mm];
  lock(space.lock);
  for (unsigned page = op.page; page < op.page + op.count; ++page) {
    std::uint64_t* entry = find_or_make_entry(space, page);
    if (entry == nullptr || (machine_.read_word(entry) & kPtePresent) != 0) continue;
    const std::uint32_t frame = take_frame(FrameKind::data, owner_tag(op.mm, page));
    if (frame == FramePool::kNoFrame) break;
    machine_.exchange_word(entry, leaf_value(frame, page));
  }
  unlock(space.lock);
}

void Guest::clear_pages(GuestMm& space, unsigned first, unsigned count, Unmapped& out) {
  for (unsigned page = first; page < first + count; ++page) {
    std::uint64_t* entry = find_entry(space, page);
    if (entry == nullptr) continue;
    const std::uint64_t old = machine_.exchange_word(entry, 0);
    if ((old & kPtePresent) == 0) continue;
    oracles_.on_entry_changed(index_of(space), page);
    out.add(FramePool::frame_at(old));
    ++out.changed;
  }
}

void Guest::unmap(const Op& op) {
  GuestMm& space = spaces_[op.mm];
  Unmapped unmapped;
  lock(space.lock);
  clear_pages(space, op.page, op.count, unmapped);
  oracles_.note_promise(op.mm, op.page, op.count);
  unlock(space.lock);
  if (unmapped.changed != 0) {
    release(unmapped, flush_tlb_mm_range(system_, space.mm, range_of(op.page, op.count)));
  }
  settle_batches(space);
}

void Guest::protect(const Op& op) {
  GuestMm& space = spaces_[op.mm];
  unsigned changed = 0;
  lock(space.lock);
  for (unsigned page = op.page; page < op.page + op.count; ++page) {
    std::uint64_t* entry = find_entry(space, page);
    if (entry == nullptr || (machine_.read_word(entry) & kPtePresent) == 0) continue;
    const std::uint64_t old = machine_.clear_bits(entry, kPteWritable);
    if ((old & kPteWritable) == 0) continue;
    oracles_.on_entry_changed(op.mm, page);
    ++changed;
  }
  oracles_.note_promise(op.mm, op.page, op.count);
  unlock(space.lock);
  if (changed != 0) {
    const FlushRange range = range_of(op.page, op.count);
    if (op.kind == OpKind::protect_early) {
      static_cast<void>(flush_tlb_mm_range_early(system_, space.mm, range));
    } else {
      static_cast<void>(flush_tlb_mm_range(system_, space.mm, range));
    }
  }
  settle_batches(space);
}

void Guest::unprotect(const Op& op) {
  // More rights need no flush: an entry with fewer causes a fault that drops it.
  GuestMm& space = spaces_[op.mm];
  lock(space.lock);
  for (unsigned page = op.page; page < op.page + op.count; ++page) {
    std::uint64_t* entry = find_entry(space, page);
    if (entry == nullptr || (machine_.read_word(entry) & kPtePresent) == 0) continue;
    machine_.set_bits(entry, kPteWritable);
  }
  unlock(space.lock);
}

void Guest::replace(const Op& op) {
  GuestMm& space = spaces_[op.mm];
  Unmapped unmapped;
  lock(space.lock);
  std::uint64_t* entry = find_entry(space, op.page);
  if (entry != nullptr && (machine_.read_word(entry) & kPtePresent) != 0) {
    const std::uint32_t frame = machine_.frames().allocate(
        FrameKind::data, owner_tag(op.mm, op.page), machine_.step(), machine_.running().id);
    if (frame != FramePool::kNoFrame) {
      unmapped.add(FramePool::frame_at(machine_.exchange_word(entry, leaf_value(frame, op.page))));
      oracles_.on_entry_changed(op.mm, op.page);
    }
  }
  unlock(space.lock);
  if (unmapped.count == 0) return;
  release(unmapped, flush_tlb_page(system_, space.mm, page_address(op.page)));
}

void Guest::clear_table(GuestMm& space, unsigned table, Unmapped& out) {
  const unsigned first = table * kPagesPerTable;
  std::uint64_t* upper =
      machine_.frames().words(space.directory) + table_index(page_address(first), 2);
  if ((machine_.read_word(upper) & kPtePresent) == 0) return;
  clear_pages(space, first, kPagesPerTable, out);
  const std::uint64_t old = machine_.exchange_word(upper, 0);
  out.add(FramePool::frame_at(old));
  ++out.changed;
}

void Guest::free_table(const Op& op) {
  if (op.page >= kSmallPages) return;
  GuestMm& space = spaces_[op.mm];
  Unmapped unmapped;
  const unsigned table = op.page / kPagesPerTable;
  lock(space.lock);
  clear_table(space, table, unmapped);
  unlock(space.lock);
  if (unmapped.changed == 0) return;
  release_tables(unmapped,
                 flush_tlb_mm_range_freed_tables(system_, space.mm,
                                                 range_of(table * kPagesPerTable, kPagesPerTable)));
}

void Guest::exit(const Op& op) {
  GuestMm& space = spaces_[op.mm];
  std::int32_t nobody = 0;
  if (!space.users.compare_exchange(nobody, kDying, std::memory_order_acq_rel)) return;
  Unmapped unmapped;
  // No lock: nobody else has a reference.
  for (unsigned table = 0; table < kTables; ++table) clear_table(space, table, unmapped);
  clear_pages(space, kSmallPages, kLargePages, unmapped);
  const WalkersQuiet quiet = retire_mm(system_, space.mm);
  oracles_.on_destroy(op.mm);
  machine_.stop_if_failed();
  for (std::uint32_t frame : {space.root, space.upper, space.directory}) unmapped.add(frame);
  if (scenario_->header.pti) unmapped.add(space.user_root);
  release_tables(unmapped, quiet);
  build_tables(op.mm);
  space.mm.initialize(system_.allocate_context(), FramePool::address(space.root),
                      user_root_of(space));
  space.users.store(0, std::memory_order_release);
}

// ---- Reclaim
// --------------------------------------------------------------------------------------

void Guest::reclaim(CpuId cpu, const Op& op) {
  GuestBatch& batch = batches_[cpu];
  if (batch.count == batch.frames.size()) flush_batch(cpu);
  GuestMm& space = spaces_[op.mm];
  lock(space.lock);
  std::uint64_t* entry = find_entry(space, op.page);
  if (entry != nullptr && (machine_.read_word(entry) & kPtePresent) != 0) {
    const std::uint64_t old = machine_.exchange_word(entry, 0);
    oracles_.on_entry_changed(op.mm, op.page);
    batch.batch.add(system_, space.mm);
    oracles_.on_batch_add(op.mm, op.page);
    batch.frames[batch.count++] = FramePool::frame_at(old);
  }
  unlock(space.lock);
}

void Guest::flush_batch(CpuId cpu) {
  GuestBatch& batch = batches_[cpu];
  if (batch.count == 0) return;
  const TranslationsQuiet quiet = batch.batch.flush(system_);
  static_cast<void>(quiet);
  for (unsigned i = 0; i < batch.count; ++i) {
    oracles_.on_release(batch.frames[i]);
    machine_.stop_if_failed();
    machine_.frames().release(batch.frames[i], machine_.step(), cpu);
  }
  batch.count = 0;
}

void Guest::settle_batches(GuestMm& space) {
  // An entry that was found gone may have been taken by a batch that is not flushed yet.
  flush_tlb_batched_pending(system_, space.mm);
  oracles_.on_promise();
  machine_.stop_if_failed();
}

// ---- The kernel's own pages
// -----------------------------------------------------------------------

std::uint64_t* Guest::kernel_entry(unsigned page) {
  return machine_.frames().words(kernel_table_) + table_index(kernel_address(page), 1);
}

void Guest::kernel_map(const Op& op) {
  lock(kernel_lock_);
  std::uint64_t* entry = kernel_entry(op.page);
  if ((machine_.read_word(entry) & kPtePresent) == 0) {
    const std::uint32_t frame = take_frame(FrameKind::data, owner_tag(kKernelSpace, op.page));
    if (frame != FramePool::kNoFrame) {
      machine_.exchange_word(entry, FramePool::address(frame) | kTableBits | kernel_bits());
    }
  }
  unlock(kernel_lock_);
}

void Guest::kernel_unmap(const Op& op) {
  Unmapped unmapped;
  lock(kernel_lock_);
  for (unsigned page = op.page; page < op.page + op.count; ++page) {
    const std::uint64_t old = machine_.exchange_word(kernel_entry(page), 0);
    if ((old & kPtePresent) == 0) continue;
    oracles_.on_kernel_entry_changed(page);
    unmapped.add(FramePool::frame_at(old));
  }
  unlock(kernel_lock_);
  if (unmapped.count == 0) return;
  release(unmapped, flush_tlb_kernel_range(system_, kernel_address(op.page),
                                           kernel_address(op.page + op.count)));
}

void Guest::release(const Unmapped& unmapped, const TranslationsQuiet& /*proof*/) {
  for (unsigned i = 0; i < unmapped.count; ++i) {
    const std::uint32_t frame = unmapped.frames[i];
    oracles_.on_release(frame);
    machine_.stop_if_failed();
    machine_.frames().release(frame, machine_.step(), machine_.running().id);
  }
}

void Guest::release_tables(const Unmapped& unmapped, const WalkersQuiet& proof) {
  release(unmapped, proof);
}

}  // namespace shootdown::fuzz
