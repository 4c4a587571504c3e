// The simulated kernel: set-up, tasks, CPUs that come and go.
#include "fuzz/guest.h"

#include <memory>

#include "fuzz/layout.h"
#include "hal/host/walk.h"

namespace shootdown::fuzz {

using host::FrameKind;
using host::FramePool;
using host::kPteGlobal;
using host::kPteLarge;
using host::kPtePresent;
using host::kPteUser;
using host::kPteWritable;
using host::table_index;

namespace {

constexpr std::uint64_t kTableBits = kPtePresent | kPteWritable | kPteUser;

Config config_of(const Header& header) {
  return {
      .pcid = header.pcid,
      .pti = header.pti,
      .invpcid = header.invpcid,
      .global_pages = header.global_pages,
      .defer_user_pages = header.defer_user_pages,
      .early_acknowledgement = header.early,
      .invlpg_leaves_globals = header.invlpg_erratum,
      .mask_policy = header.lazy_masks ? MaskPolicy::kept_lazily : MaskPolicy::cleared_at_switch,
      .lazy_test = header.lazy_test_up_front ? LazyTest::up_front : LazyTest::when_queued,
      .target_test = header.by_loaded_space ? TargetTest::by_loaded_space : TargetTest::not_lazy,
      .trim_interval = 3,
      .ceiling_strides = header.ceiling,
      .broadcast = header.broadcast,
      .broadcast_max_pages = host::kInvlpgbMaxPages,
      .broadcast_threshold = 1,
      .global_slots = Guest::global_slots(header.mms)};
}

}  // namespace

Guest::Guest(Machine& machine, Oracles& oracles) : machine_(machine), oracles_(oracles) {}

unsigned Guest::index_of(const GuestMm& space) const {
  return static_cast<unsigned>(&space - spaces_.data());
}

PhysAddr Guest::user_root_of(const GuestMm& space) const {
  return scenario_->header.pti ? FramePool::address(space.user_root) : 0;
}

std::uint32_t Guest::take_frame(FrameKind kind, std::uint16_t owner) {
  return machine_.frames().allocate(kind, owner, machine_.step(), machine_.running().id);
}

// ---- Set-up
// ---------------------------------------------------------------------------------------

void Guest::build_kernel() {
  FramePool& frames = machine_.frames();
  kernel_root_ = take_frame(FrameKind::table, owner_tag(kKernelSpace, 4));
  kernel_upper_ = take_frame(FrameKind::table, owner_tag(kKernelSpace, 3));
  const std::uint32_t directory = take_frame(FrameKind::table, owner_tag(kKernelSpace, 2));
  kernel_table_ = take_frame(FrameKind::table, owner_tag(kKernelSpace, 1));
  frames.words(kernel_root_)[table_index(kKernelBase, 4)] =
      FramePool::address(kernel_upper_) | kTableBits;
  frames.words(kernel_upper_)[table_index(kKernelBase, 3)] =
      FramePool::address(directory) | kTableBits;
  frames.words(directory)[table_index(kKernelBase, 2)] =
      FramePool::address(kernel_table_) | kTableBits;
  for (unsigned page = 0; page < kKernelPages; ++page) {
    const std::uint32_t frame = take_frame(FrameKind::data, owner_tag(kKernelSpace, page));
    frames.words(kernel_table_)[table_index(kernel_address(page), 1)] =
        FramePool::address(frame) | kTableBits | kernel_bits();
  }
}

std::uint64_t Guest::kernel_bits() const {
  return system_.config.kernel_is_global() ? kPteGlobal : 0;
}

void Guest::build_tables(unsigned index) {
  FramePool& frames = machine_.frames();
  GuestMm& space = spaces_[index];
  space.root = take_frame(FrameKind::table, owner_tag(index, 4));
  space.upper = take_frame(FrameKind::table, owner_tag(index, 3));
  space.directory = take_frame(FrameKind::table, owner_tag(index, 2));
  const std::uint64_t upper = FramePool::address(space.upper) | kTableBits;
  frames.words(space.root)[table_index(kSmallBase, 4)] = upper;
  frames.words(space.root)[table_index(kKernelBase, 4)] =
      FramePool::address(kernel_upper_) | kTableBits;
  frames.words(space.upper)[table_index(kSmallBase, 3)] =
      FramePool::address(space.directory) | kTableBits;
  if (!scenario_->header.pti) return;
  space.user_root = take_frame(FrameKind::table, owner_tag(index, 5));
  frames.words(space.user_root)[table_index(kSmallBase, 4)] = upper;
}

void Guest::premap(unsigned index) {
  FramePool& frames = machine_.frames();
  for (unsigned page : {0U, 1U, 2U, 3U, 8U, 9U, 10U, 11U}) {
    std::uint64_t& upper =
        frames.words(spaces_[index].directory)[table_index(page_address(page), 2)];
    if (upper == 0) {
      upper = FramePool::address(take_frame(FrameKind::table, owner_tag(index, 1))) | kTableBits;
    }
    const std::uint32_t frame = take_frame(FrameKind::data, owner_tag(index, page));
    frames.words(FramePool::frame_at(upper))[table_index(page_address(page), 1)] =
        FramePool::address(frame) | kTableBits;
  }
}

void Guest::prepare(const Scenario& scenario) {
  scenario_ = &scenario;
  std::destroy_at(&system_);
  std::construct_at(&system_);
  HostHal::concurrent_flush = scenario.header.concurrent;
  system_.config = config_of(scenario.header);
  task_.fill(kNoTask);
  loaded_.fill(kNoTask);
  in_user_.fill(false);
  offline_.fill(false);
  for (GuestBatch& batch : batches_) batch = {};
  std::destroy_at(&kernel_lock_);
  std::construct_at(&kernel_lock_, 0U);
  build_kernel();
  for (unsigned index = 0; index <= scenario.header.mms; ++index) {
    std::destroy_at(&spaces_[index]);
    std::construct_at(&spaces_[index]);
    build_tables(index);
    if (index != temporary_space()) premap(index);
  }
  oracles_.prepare(*this, scenario.header.mms + 1U);
}

void Guest::boot(void* self, CpuId cpu) {
  Guest& guest = *static_cast<Guest*>(self);
  System<HostHal>& system = guest.system_;
  if (cpu == 0) {
    initialize_system(system, system.config, FramePool::address(guest.kernel_root_));
    for (unsigned index = 0; index <= guest.scenario_->header.mms; ++index) {
      GuestMm& space = guest.spaces_[index];
      space.mm.initialize(system.allocate_context(), FramePool::address(space.root),
                          guest.user_root_of(space));
    }
  }
  initialize_cpu(system);
  switch_mm(system, guest.spaces_[0].mm);
  guest.spaces_[0].users.fetch_add(1, std::memory_order_relaxed);
  guest.task_[cpu] = 0;
  guest.loaded_[cpu] = 0;
  HostHal::enable_interrupts();
}

void Guest::interrupt(void* self, CpuId cpu) {
  Guest& guest = *static_cast<Guest*>(self);
  const bool from_user = guest.in_user_[cpu];
  if (from_user) enter_from_user(guest.system_);
  guest.in_user_[cpu] = false;
  handle_call_function_interrupt(guest.system_);
  if (from_user) return_to_user(guest.system_);
  guest.in_user_[cpu] = from_user;
}

void Guest::program(void* self, CpuId cpu) {
  Guest& guest = *static_cast<Guest*>(self);
  for (const Op& op : guest.scenario_->ops[cpu]) guest.execute(cpu, op);
  guest.flush_batch(cpu);
}

void Guest::execute(CpuId cpu, const Op& op) {
  if (machine_.recording()) machine_.record("== " + print(op), {});
  if (op.kind == OpKind::online) {
    come_online(cpu);
  } else if (!offline_[cpu]) {
    execute_task(cpu, op);
  }
}

void Guest::execute_task(CpuId cpu, const Op& op) {
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
    case OpKind::offline:
      go_offline(cpu);
      break;
    case OpKind::temporary:
      use_temporary(cpu, op);
      break;
    case OpKind::batch_flush:
      flush_batch(cpu);
      break;
    case OpKind::kernel_map:
      kernel_map(op);
      break;
    case OpKind::kernel_unmap:
      kernel_unmap(op);
      break;
    case OpKind::kernel_read:
      static_cast<void>(machine_.access(kernel_address(op.page), /*write=*/false));
      break;
    case OpKind::flush_all:
      static_cast<void>(flush_tlb_all(system_));
      break;
    case OpKind::exit:
      exit(op);
      break;
    default:
      execute_memory(op);
      break;
  }
}

void Guest::execute_memory(const Op& op) {
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
    case OpKind::protect_early:
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
    case OpKind::reclaim:
      reclaim(machine_.running().id, op);
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
  const bool write = op.kind == OpKind::write;
  if (!scenario_->header.pti) {
    static_cast<void>(machine_.access(page_address(op.page), write));
    return;
  }
  HostHal::disable_interrupts();
  return_to_user(system_);
  in_user_[cpu] = true;
  HostHal::enable_interrupts();
  static_cast<void>(machine_.access(page_address(op.page), write));
  HostHal::disable_interrupts();
  in_user_[cpu] = false;
  enter_from_user(system_);
  HostHal::enable_interrupts();
}

void Guest::go_offline(CpuId cpu) {
  flush_batch(cpu);
  HostHal::disable_interrupts();
  // From here on the CPU uses only mappings that nobody takes away.
  oracles_.on_offline(cpu);
  take_cpu_offline(system_);
  put_user(task_[cpu]);
  task_[cpu] = kNoTask;
  loaded_[cpu] = kNoTask;
  offline_[cpu] = true;
}

void Guest::come_online(CpuId cpu) {
  if (!offline_[cpu]) return;
  initialize_cpu(system_);
  oracles_.on_online(cpu);
  machine_.stop_if_failed();
  offline_[cpu] = false;
  HostHal::enable_interrupts();
}

void Guest::use_temporary(CpuId cpu, const Op& op) {
  GuestMm& space = spaces_[temporary_space()];
  lock(space.lock);
  const std::uint32_t frame = take_frame(FrameKind::data, owner_tag(temporary_space(), op.page));
  std::uint64_t* entry =
      frame != FramePool::kNoFrame ? find_or_make_entry(space, op.page) : nullptr;
  if (entry != nullptr) {
    machine_.exchange_word(
        entry, FramePool::address(frame) | kTableBits | (op.page < kSmallPages ? 0 : kPteLarge));
    oracles_.on_temporary_begin(cpu);
    {
      const TemporaryMm<HostHal> scope(system_, space.mm);
      static_cast<void>(machine_.access(page_address(op.page), /*write=*/true));
    }
    oracles_.on_temporary_end(cpu);
    machine_.stop_if_failed();
    // This CPU went back to where it was; while idle that is the kernel's space.
    if (task_[cpu] == kNoTask) loaded_[cpu] = kNoTask;
    machine_.exchange_word(entry, 0);
    oracles_.on_entry_changed(temporary_space(), op.page);
    Unmapped unmapped;
    unmapped.add(frame);
    release(unmapped, flush_tlb_mm(system_, space.mm));
  } else if (frame != FramePool::kNoFrame) {
    machine_.frames().release(frame, machine_.step(), cpu);
  }
  unlock(space.lock);
}

}  // namespace shootdown::fuzz
