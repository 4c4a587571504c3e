// The simulated kernel's operations on memory: which call of the memory manager each one is.
#include "fuzz/events/layout.h"
#include "fuzz/kernel/sim_kernel.h"
#include "hal/host/walk.h"

namespace shootdown::fuzz {

using host::FrameKind;
using host::FramePool;
using host::table_index;

std::uint64_t SimKernel::leaf(unsigned mm, unsigned page) const {
  const VirtAddr address = probe_address(page);
  PhysAddr table = mms_[mm].core.root;
  for (unsigned level = vm::kRootLevel;; --level) {
    const std::uint32_t frame = FramePool::frame_at(table);
    if (frame == FramePool::kNoFrame) return 0;
    const vm::Pte entry = machine_.memory().seen_by(
        machine_.running(), machine_.frames().words(frame) + vm::entry_index(address, level));
    if (level == 1 || !vm::is_table(entry)) return vm::is_present(entry) ? entry : 0;
    table = vm::frame_of(entry);
  }
}

bool SimKernel::waits_for_walkers(std::uint32_t frame) const {
  const vm::DeferredTable<HostHal>* record = manager_->deferred.peek();
  while (record != nullptr && FramePool::frame_at(record->table) != frame) record = record->next;
  return record != nullptr;
}

void SimKernel::execute_memory(const Op& op) {
  // An operation on an mm keeps it alive, as a kernel's reference to an mm does.
  if (!get_user(op.mm)) return;
  if (scenario_->header.submits && (op.kind == OpKind::unmap || op.kind == OpKind::free_table)) {
    return begin_unmap(op);
  }
  SimMm& mm = mms_[op.mm];
  switch (op.kind) {
    case OpKind::map:
      map(op);
      break;
    case OpKind::map_small: {
      const VirtAddr part = probe_address(op.page);
      vm::map(*manager_, mm, {.start = part, .end = part + vm::kSmallPage}, kUserRights);
      break;
    }
    case OpKind::unprotect:
      vm::unprotect(*manager_, mm, range_of(op.page, op.count), protected_right());
      break;
    case OpKind::clean:
      vm::clean(*manager_, mm, range_of(op.page, op.count));
      break;
    case OpKind::reclaim_tables:
      vm::reclaim_tables(*manager_, mm, range_of(op.page, 1));
      break;
    case OpKind::flush_mm:
      static_cast<void>(flush_tlb_mm(system_, mm.core));
      break;
    case OpKind::flush_range:
      static_cast<void>(flush_tlb_mm_range(system_, mm.core, odd_range_of(op.page, op.count)));
      break;
    case OpKind::reclaim:
      batches_[machine_.running().thread->number].reclaim(*manager_, mm, probe_address(op.page));
      break;
    case OpKind::fork:
      fork(op);
      break;
    default:
      execute_promise(op);
      break;
  }
  put_user(op.mm);
}

vm::Range SimKernel::range_of_table(unsigned page) {
  const unsigned first = page / kPagesPerTable * kPagesPerTable;
  return page < kSmallPages ? range_of(first, kPagesPerTable) : range_of(page, 1);
}

void SimKernel::begin_unmap(const Op& op) {
  const bool frees_tables = op.kind == OpKind::free_table;
  tell()->begin_promise();
  later_[machine_.running().thread->number].begin(
      op, *manager_, mms_[op.mm],
      frees_tables ? range_of_table(op.page) : range_of(op.page, op.count),
      frees_tables ? vm::EmptyTables::release : vm::EmptyTables::keep);
}

void SimKernel::go_on_with_unmap(unsigned thread, bool waits) {
  Later& later = later_[thread];
  if (!later.is_on_its_way() || (!waits && !later.unmap().is_done())) return;
  later.unmap().finish();
  tell()->on_promise();
  tell_what_is_left(later.op());
  machine_.stop_if_failed();
  later.forget();
  put_user(later.op().mm);
}

void SimKernel::execute_promise(const Op& op) {
  SimMm& mm = mms_[op.mm];
  const vm::Range range = range_of(op.page, op.count);
  tell()->begin_promise();
  switch (op.kind) {
    case OpKind::unmap:
      vm::unmap(*manager_, mm, range);
      break;
    case OpKind::protect:
      vm::protect(*manager_, mm, range, protected_right());
      break;
    case OpKind::protect_early:
      vm::protect_early(*manager_, mm, range, protected_right());
      break;
    case OpKind::replace:
      vm::migrate(*manager_, mm, probe_address(op.page));
      break;
    case OpKind::free_table:
      vm::unmap(*manager_, mm, range_of_table(op.page), vm::EmptyTables::release);
      break;
    case OpKind::move:
      vm::move_page(*manager_, mm, page_address(op.page), page_address(op.to()));
      break;
    case OpKind::cow:
      vm::copy_on_write(*manager_, mm, probe_address(op.page));
      break;
    case OpKind::split:
      vm::split(*manager_, mm, page_address(op.page));
      break;
    case OpKind::collapse:
      vm::collapse(*manager_, mm, page_address(op.page));
      break;
    default:
      break;
  }
  tell()->on_promise();
  tell_what_is_left(op);
  machine_.stop_if_failed();
}

void SimKernel::tell_what_is_left(const Op& op) {
  const unsigned last = op.page + op.count - 1U;
  switch (op.kind) {
    case OpKind::unmap:
      tell()->on_unmapped(op.mm, op.page, last);
      break;
    case OpKind::free_table: {
      const unsigned first = op.page / kPagesPerTable * kPagesPerTable;
      if (op.page < kSmallPages) {
        tell()->on_unmapped(op.mm, first, first + kPagesPerTable - 1);
      } else {
        tell()->on_unmapped(op.mm, op.page, op.page);
      }
      break;
    }
    case OpKind::protect:
    case OpKind::protect_early:
      tell()->on_protected(op.mm, op.page, last);
      break;
    default:
      break;
  }
}

void SimKernel::map(const Op& op) {
  const vm::Range range = range_of(op.page, op.count);
  if (op.page < kSmallPages) {
    vm::map(*manager_, mms_[op.mm], range, kUserRights);
  } else {
    vm::map_large(*manager_, mms_[op.mm], range, kUserRights);
  }
}

void SimKernel::walk(unsigned thread, const Op& op) {
  if (task_[thread] == kNoTask) return;
  SimMm& mm = mms_[static_cast<unsigned>(task_[thread])];
  tell()->begin_lookup(static_cast<unsigned>(task_[thread]), op.page);
  const PhysAddr page = vm::get_page(*manager_, mm, probe_address(op.page));
  tell()->end_lookup(FramePool::frame_at(page));
  machine_.stop_if_failed();
  if (page == vm::kNoFrame) return;
  memory_.read_page(page);
  vm::put(*manager_, page);
}

bool SimKernel::renew(unsigned index) {
  SimMm& mm = mms_[index];
  std::int32_t no_user = 0;
  if (!mm.users.compare_exchange(no_user, kDying, std::memory_order_acq_rel)) return false;
  vm::destroy(*manager_, mm);
  // Without memory the mm stays dead.
  return create(index);
}

void SimKernel::exit(const Op& op) {
  if (renew(op.mm)) mms_[op.mm].users.store(0, std::memory_order_release);
}

void SimKernel::fork(const Op& op) {
  if (!renew(op.to())) return;
  SimMm& child = mms_[op.to()];
  tell()->begin_promise();
  tell()->begin_fork(op.mm);
  const bool complete = vm::fork(*manager_, mms_[op.mm], child);
  tell()->on_promise();
  if (complete) tell()->on_forked(op.mm, op.to());
  machine_.stop_if_failed();
  if (!complete) {
    vm::destroy(*manager_, child);
    if (!create(op.to())) return;
  }
  child.users.store(0, std::memory_order_release);
}

void SimKernel::flush_batch(unsigned thread) { batches_[thread].flush(*manager_); }

// ---- The kernel's own pages
// -----------------------------------------------------------------------

std::uint64_t SimKernel::exchange_kernel_entry(unsigned page, std::uint64_t value) {
  const auto entry_in = [&](const KernelTables& tables) {
    return machine_.frames().words(tables.table) + table_index(kernel_address(page), 1);
  };
  const bool in_entry_tables = config_.isolation.enabled && is_entry_page(page);
  if (!scenario_->header.plain_pte) {
    const std::uint64_t old = machine_.memory().exchange_word(entry_in(kernel_tables_), value);
    if (in_entry_tables) machine_.memory().exchange_word(entry_in(entry_tables_), value);
    return old;
  }
  // The accessed and dirty bits of kernel pages mean nothing, so they may get lost.
  const std::uint64_t old = machine_.memory().read_word(entry_in(kernel_tables_));
  if (!vm::is_present(old) && !vm::is_present(value)) return old;
  store_kernel_entry(page, entry_in(kernel_tables_), value);
  if (in_entry_tables) store_kernel_entry(page, entry_in(entry_tables_), value);
  return old;
}

void SimKernel::store_kernel_entry(unsigned page, std::uint64_t* entry, std::uint64_t value) {
  machine_.memory().store_word(entry, value, std::memory_order_release);
  if (machine_.memory().buffers_stores()) tell()->on_kernel_entry_store(page);
}

void SimKernel::reserve_kernel(unsigned page, bool on) {
  // Of the allocator of addresses only the result is modelled, so this is no visible operation.
  const host::ModelScope scope;
  machine_.record_access(host::place(host::LocationKind::frames), true);
  kernel_reserved_[page] = on;
}

void SimKernel::kernel_map(const Op& op) {
  const vm::LockGuard<HostHal> lock(kernel_lock_);
  {
    const host::ModelScope scope;
    machine_.record_access(host::place(host::LocationKind::frames), false);
    if (kernel_reserved_[op.page]) return;
  }
  const std::uint64_t* entry =
      machine_.frames().words(kernel_tables_.table) + table_index(kernel_address(op.page), 1);
  if (vm::is_present(machine_.memory().read_word(entry))) return;
  const std::uint32_t frame =
      memory_.allocate_frame(FrameKind::data, owner_tag(kKernelMm, op.page));
  if (frame == FramePool::kNoFrame) return;
  exchange_kernel_entry(op.page, FramePool::address(frame) | vm::kTableBits | kernel_bits());
}

void SimKernel::kernel_unmap(const Op& op) {
  struct Removed {
    unsigned page;
    std::uint32_t frame;
  };
  std::array<Removed, kKernelPages> removed;
  unsigned count = 0;
  {
    const vm::LockGuard<HostHal> lock(kernel_lock_);
    for (unsigned page = op.page; page < op.page + op.count; ++page) {
      const std::uint64_t old = exchange_kernel_entry(page, 0);
      if (!vm::is_present(old)) continue;
      tell()->on_kernel_entry_changed(page);
      // The address is given out again behind the flush, or two frames would live under it.
      reserve_kernel(page, true);
      removed[count++] = {.page = page, .frame = FramePool::frame_at(old)};
    }
  }
  if (count == 0) return;
  const KernelQuiet quiet = vm::flush_kernel_range(*manager_, kernel_address(op.page),
                                                   kernel_address(op.page + op.count));
  require<HostHal>(quiet.covers_kernel(), Rule::r1, "frames are released with a spent token");
  const host::ModelScope scope;
  for (unsigned i = 0; i < count; ++i) {
    tell()->on_release(removed[i].frame);
    machine_.stop_if_failed();
    memory_.record_frame_access(removed[i].frame);
    machine_.frames().release(removed[i].frame, machine_.step(), machine_.running().id);
    reserve_kernel(removed[i].page, false);
  }
}

}  // namespace shootdown::fuzz
