#include "fuzz/guest.h"

#include <memory>

#include "fuzz/layout.h"
#include "hal/host/walk.h"

namespace shootdown::fuzz {

namespace {

using host::FrameKind;
using host::FramePool;
using host::kPteLarge;
using host::kPtePresent;
using host::kPteUser;
using host::kPteWritable;
using host::table_index;

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

Guest::Guest(Machine& machine, Oracles& oracles) : machine_(machine), oracles_(oracles) {}

unsigned Guest::index_of(const GuestMm& space) const {
  return static_cast<unsigned>(&space - spaces_.data());
}

// ---- Set-up
// ---------------------------------------------------------------------------------------

void Guest::build_tables(unsigned index, CpuId cpu) {
  FramePool& frames = machine_.frames();
  GuestMm& space = spaces_[index];
  const std::uint64_t step = machine_.step();
  space.root = frames.allocate(FrameKind::table, owner_tag(index, 4), step, cpu);
  const std::uint32_t upper = frames.allocate(FrameKind::table, owner_tag(index, 3), step, cpu);
  space.directory = frames.allocate(FrameKind::table, owner_tag(index, 2), step, cpu);
  frames.words(space.root)[table_index(kSmallBase, 4)] = FramePool::address(upper) | kTableBits;
  frames.words(upper)[table_index(kSmallBase, 3)] =
      FramePool::address(space.directory) | kTableBits;
}

void Guest::prepare(const Scenario& scenario) {
  scenario_ = &scenario;
  FramePool& frames = machine_.frames();
  std::destroy_at(&system_);
  std::construct_at(&system_);
  HostHal::concurrent_flush = scenario.header.concurrent;
  kernel_root_ = frames.allocate(FrameKind::table, owner_tag(kKernelSpace, 4), 0, 0);
  system_.config = {.pcid = scenario.header.pcid, .ceiling_strides = scenario.header.ceiling};
  oracles_.prepare(*this, scenario.header.mms);
  for (unsigned index = 0; index < scenario.header.mms; ++index) {
    GuestMm& space = spaces_[index];
    std::destroy_at(&space);
    std::construct_at(&space);
    build_tables(index, 0);
    for (unsigned page : {0U, 1U, 2U, 3U, 8U, 9U, 10U, 11U}) {
      std::uint64_t& upper = frames.words(space.directory)[table_index(page_address(page), 2)];
      if (upper == 0) {
        upper = FramePool::address(frames.allocate(FrameKind::table, owner_tag(index, 1), 0, 0)) |
                kTableBits;
      }
      const std::uint32_t frame = frames.allocate(FrameKind::data, owner_tag(index, page), 0, 0);
      frames.words(FramePool::frame_at(upper))[table_index(page_address(page), 1)] =
          leaf_value(frame, page);
    }
  }
}

void Guest::boot(void* self, CpuId cpu) {
  Guest& guest = *static_cast<Guest*>(self);
  System<HostHal>& system = guest.system_;
  if (cpu == 0) {
    initialize_system(system, system.config, FramePool::address(guest.kernel_root_));
    for (unsigned index = 0; index < guest.scenario_->header.mms; ++index) {
      GuestMm& space = guest.spaces_[index];
      space.mm.initialize(system.allocate_context(), FramePool::address(space.root));
    }
  }
  initialize_cpu(system);
  switch_mm(system, guest.spaces_[0].mm);
  guest.spaces_[0].users.fetch_add(1, std::memory_order_relaxed);
  guest.task_[cpu] = 0;
  guest.loaded_[cpu] = 0;
  HostHal::enable_interrupts();
}

void Guest::interrupt(void* self, CpuId /*cpu*/) {
  handle_call_function_interrupt(static_cast<Guest*>(self)->system_);
}

void Guest::program(void* self, CpuId cpu) {
  Guest& guest = *static_cast<Guest*>(self);
  for (const Op& op : guest.scenario_->ops[cpu]) guest.execute(cpu, op);
}

void Guest::execute(CpuId cpu, const Op& op) {
  if (machine_.recording()) machine_.record("== " + print(op), {});
  switch (op.kind) {
    case OpKind::switch_to:
      run_task(cpu, op.mm);
      break;
    case OpKind::idle:
      go_idle(cpu);
      break;
    case OpKind::resume:
      if (loaded_[cpu] != kNoTask) run_task(cpu, static_cast<unsigned>(loaded_[cpu]));
      break;
    case OpKind::leave:
      leave(cpu);
      break;
    case OpKind::read:
    case OpKind::write:
      access(cpu, op);
      break;
    default:
      execute_memory(op);
      break;
  }
}

void Guest::execute_memory(const Op& op) {
  if (op.kind == OpKind::exit) {
    exit(op);
    return;
  }
  // Whoever works on a space keeps it alive, as a kernel's reference to an mm does.
  if (!get_user(op.mm)) return;
  switch (op.kind) {
    case OpKind::map:
      map(op);
      break;
    case OpKind::unmap:
      unmap(op);
      break;
    case OpKind::protect:
      protect(op);
      break;
    case OpKind::unprotect:
      unprotect(op);
      break;
    case OpKind::replace:
      replace(op);
      break;
    case OpKind::free_table:
      free_table(op);
      break;
    case OpKind::flush_mm:
      static_cast<void>(flush_tlb_mm(system_, spaces_[op.mm].mm));
      break;
    default:
      break;
  }
  put_user(op.mm);
}

// ---- Tasks
// ----------------------------------------------------------------------------------------

bool Guest::get_user(unsigned space) {
  auto& users = spaces_[space].users;
  std::int32_t count = users.load(std::memory_order_relaxed);
  do {
    if (count == kDying) return false;
  } while (!users.compare_exchange(count, count + 1, std::memory_order_acq_rel));
  return true;
}

void Guest::put_user(int space) {
  if (space != kNoTask) {
    spaces_[static_cast<unsigned>(space)].users.fetch_add(-1, std::memory_order_acq_rel);
  }
}

void Guest::run_task(CpuId cpu, unsigned space) {
  if (!get_user(space)) return;
  {
    InterruptsOff<HostHal> guard;
    switch_mm(system_, spaces_[space].mm);
  }
  put_user(task_[cpu]);
  task_[cpu] = static_cast<int>(space);
  loaded_[cpu] = static_cast<int>(space);
}

void Guest::go_idle(CpuId cpu) {
  if (task_[cpu] == kNoTask) return;
  {
    InterruptsOff<HostHal> guard;
    enter_lazy_tlb(system_);
  }
  // Only now: a space without users may be torn down, which relies on this CPU being in its mask.
  put_user(task_[cpu]);
  task_[cpu] = kNoTask;
}

void Guest::leave(CpuId cpu) {
  {
    InterruptsOff<HostHal> guard;
    leave_mm(system_);
  }
  put_user(task_[cpu]);
  task_[cpu] = kNoTask;
  loaded_[cpu] = kNoTask;
}

void Guest::access(CpuId cpu, const Op& op) {
  if (task_[cpu] == kNoTask) return;
  static_cast<void>(machine_.access(page_address(op.page), op.kind == OpKind::write));
}

// ---- Page tables
// ----------------------------------------------------------------------------------

void Guest::lock(GuestMm& space) {
  while (space.lock.exchange(1, std::memory_order_acquire) != 0) {
    while (space.lock.load(std::memory_order_relaxed) != 0) HostHal::pause();
  }
}

void Guest::unlock(GuestMm& space) { space.lock.store(0, std::memory_order_release); }

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
  const std::uint32_t table = frames.allocate(FrameKind::table, owner_tag(index_of(space), 1),
                                              machine_.step(), machine_.running().id);
  if (table == FramePool::kNoFrame) return nullptr;
  std::uint64_t* upper = frames.words(space.directory) + table_index(page_address(page), 2);
  machine_.exchange_word(upper, FramePool::address(table) | kTableBits);
  return frames.words(table) + table_index(page_address(page), 1);
}

void Guest::map(const Op& op) {
  GuestMm& space = spaces_[op.mm];
  lock(space);
  for (unsigned page = op.page; page < op.page + op.count; ++page) {
    std::uint64_t* entry = find_or_make_entry(space, page);
    if (entry == nullptr || (machine_.read_word(entry) & kPtePresent) != 0) continue;
    const std::uint32_t frame = machine_.frames().allocate(FrameKind::data, owner_tag(op.mm, page),
                                                           machine_.step(), machine_.running().id);
    if (frame == FramePool::kNoFrame) break;
    machine_.exchange_word(entry, leaf_value(frame, page));
  }
  unlock(space);
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
  lock(space);
  clear_pages(space, op.page, op.count, unmapped);
  unlock(space);
  if (unmapped.changed == 0) return;
  release(unmapped, flush_tlb_mm_range(system_, space.mm, range_of(op.page, op.count)));
}

void Guest::protect(const Op& op) {
  GuestMm& space = spaces_[op.mm];
  unsigned changed = 0;
  lock(space);
  for (unsigned page = op.page; page < op.page + op.count; ++page) {
    std::uint64_t* entry = find_entry(space, page);
    if (entry == nullptr || (machine_.read_word(entry) & kPtePresent) == 0) continue;
    const std::uint64_t old = machine_.clear_bits(entry, kPteWritable);
    if ((old & kPteWritable) == 0) continue;
    oracles_.on_entry_changed(op.mm, page);
    ++changed;
  }
  unlock(space);
  if (changed == 0) return;
  static_cast<void>(flush_tlb_mm_range(system_, space.mm, range_of(op.page, op.count)));
}

void Guest::unprotect(const Op& op) {
  // More rights need no flush: an entry with fewer causes a fault that drops it.
  GuestMm& space = spaces_[op.mm];
  lock(space);
  for (unsigned page = op.page; page < op.page + op.count; ++page) {
    std::uint64_t* entry = find_entry(space, page);
    if (entry == nullptr || (machine_.read_word(entry) & kPtePresent) == 0) continue;
    machine_.set_bits(entry, kPteWritable);
  }
  unlock(space);
}

void Guest::replace(const Op& op) {
  GuestMm& space = spaces_[op.mm];
  Unmapped unmapped;
  lock(space);
  std::uint64_t* entry = find_entry(space, op.page);
  if (entry != nullptr && (machine_.read_word(entry) & kPtePresent) != 0) {
    const std::uint32_t frame = machine_.frames().allocate(
        FrameKind::data, owner_tag(op.mm, op.page), machine_.step(), machine_.running().id);
    if (frame != FramePool::kNoFrame) {
      unmapped.add(FramePool::frame_at(machine_.exchange_word(entry, leaf_value(frame, op.page))));
      oracles_.on_entry_changed(op.mm, op.page);
    }
  }
  unlock(space);
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
  lock(space);
  clear_table(space, table, unmapped);
  unlock(space);
  if (unmapped.changed == 0) return;
  release_tables(unmapped,
                 flush_tlb_mm_range_freed_tables(system_, space.mm,
                                                 range_of(table * kPagesPerTable, kPagesPerTable)));
}

void Guest::exit(const Op& op) {
  GuestMm& space = spaces_[op.mm];
  std::int32_t nobody = 0;
  if (!space.users.compare_exchange(nobody, kDying, std::memory_order_acq_rel)) return;
  FramePool& frames = machine_.frames();
  Unmapped unmapped;
  // No lock: nobody else has a reference.
  for (unsigned table = 0; table < kTables; ++table) clear_table(space, table, unmapped);
  clear_pages(space, kSmallPages, kLargePages, unmapped);
  const std::uint32_t upper =
      FramePool::frame_at(frames.words(space.root)[table_index(kSmallBase, 4)]);
  const WalkersQuiet quiet = flush_tlb_mm_range_freed_tables(system_, space.mm, {});
  oracles_.on_destroy(op.mm);
  machine_.stop_if_failed();
  for (std::uint32_t frame : {space.root, upper, space.directory}) unmapped.add(frame);
  release_tables(unmapped, quiet);
  build_tables(op.mm, machine_.running().id);
  space.mm.initialize(system_.allocate_context(), FramePool::address(space.root));
  space.users.store(0, std::memory_order_release);
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
