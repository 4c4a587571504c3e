// The simulated kernel: set-up, tasks, CPUs that come and go.
#include "fuzz/kernel/guest.h"

#include <memory>
#include <utility>

#include "fuzz/events/layout.h"
#include "hal/host/walk.h"

namespace shootdown::fuzz {

using host::FrameKind;
using host::FramePool;
using host::kPteGlobal;
using host::table_index;

namespace {

/// A header may turn on what cannot be together: then isolation wins, and what needs it or excludes
/// it is off.
Config config_of(const Header& header) {
  // A guest of KVM is not given INVLPGB: the host's emulated accesses do not hear it.
  const bool broadcasts =
      header.broadcast && header.backend != Backend::kvm && header.pcid && !header.pti;
  return {.processor = {.pcid = header.pcid,
                        .invpcid = header.invpcid,
                        .global_pages = header.global_pages,
                        .invlpg_leaves_globals = header.invlpg_erratum},
          .isolation = {.enabled = header.pti,
                        .defer_user_pages = header.pti && header.defer_user_pages},
          .targets = {.early_acknowledgement = header.early,
                      .mask_policy = header.lazy_masks ? MaskPolicy::kept_lazily
                                                       : MaskPolicy::cleared_at_switch,
                      .lazy_test =
                          header.lazy_test_up_front ? LazyTest::up_front : LazyTest::when_queued,
                      .target_test = header.by_loaded_space ? TargetTest::by_loaded_space
                                                            : TargetTest::not_lazy,
                      .trim_interval = 3},
          .broadcast = {.enabled = broadcasts,
                        .max_pages = host::kInvlpgbMaxPages,
                        .threshold = 1,
                        .global_slots = Guest::global_slots(header.mms)},
          // A lost interrupt is sent again by who has waited so long.
          .limits = {.ceiling_strides = header.ceiling,
                     .patience = header.faults ? Guest::kPatience : LimitConfig{}.patience}};
}

/// Whether the entries that the operation takes away come back, and no program is to notice.
bool only_replaces(OpKind kind) {
  return kind == OpKind::replace || kind == OpKind::cow || kind == OpKind::split ||
         kind == OpKind::collapse;
}

}  // namespace

host::Backend backend_of(const Header& header) {
  return static_cast<host::Backend>(header.backend);
}

bool Guest::create(unsigned index) {
  if (!vm::create(*manager_, spaces_[index])) return false;
  // So many flushes that the next ones come near the end of the numbers.
  constexpr Generation kNearTheEnd = ~Generation{0} - 0xffff;
  if (scenario_->header.faults) spaces_[index].mm.tlb_gen.poke(kNearTheEnd);
  return true;
}

Guest::Guest(Machine& machine, KernelEvents& events)
    : machine_(machine), events_(events), memory_(machine, *this, events) {}

unsigned Guest::space_of(const void* mm) const {
  const auto first = reinterpret_cast<std::uintptr_t>(&spaces_[0].mm);
  const std::uintptr_t offset = reinterpret_cast<std::uintptr_t>(mm) - first;
  const std::uintptr_t index = offset / sizeof(GuestMm);
  return index <= scenario_->header.mms ? static_cast<unsigned>(index) : kNoSpace;
}

unsigned Guest::index_of(const Mm<HostHal>& mm) const {
  const auto first = reinterpret_cast<std::uintptr_t>(&spaces_[0].mm);
  return static_cast<unsigned>((reinterpret_cast<std::uintptr_t>(&mm) - first) / sizeof(GuestMm));
}

std::uint32_t Guest::take_frame(FrameKind kind, std::uint16_t owner) {
  const host::ModelScope scope;
  const std::uint32_t frame =
      machine_.frames().allocate(kind, owner, machine_.step(), machine_.running().id);
  memory_.touch_frame(frame);
  return frame;
}

void Guest::set_in_user(CpuId cpu, bool on) {
  // Whether the CPU uses its user half is asked by others, too.
  machine_.touch(place(Ghost::cpu, cpu), true);
  in_user_[cpu] = on;
}

void Guest::set_goes_to_user(CpuId cpu, bool on) {
  machine_.touch(place(Ghost::cpu, cpu), true);
  goes_to_user_[cpu] = on;
}

// ---- Set-up
// ---------------------------------------------------------------------------------------

Guest::KernelTables Guest::take_kernel_tables() {
  FramePool& frames = machine_.frames();
  const std::uint32_t upper = take_frame(FrameKind::table, owner_tag(kKernelSpace, 3));
  const std::uint32_t directory = take_frame(FrameKind::table, owner_tag(kKernelSpace, 2));
  const std::uint32_t table = take_frame(FrameKind::table, owner_tag(kKernelSpace, 1));
  frames.words(upper)[table_index(kKernelBase, 3)] = FramePool::address(directory) | vm::kTableBits;
  frames.words(directory)[table_index(kKernelBase, 2)] = FramePool::address(table) | vm::kTableBits;
  return {.upper = upper, .table = table};
}

void Guest::build_kernel() {
  FramePool& frames = machine_.frames();
  kernel_root_ = take_frame(FrameKind::table, owner_tag(kKernelSpace, 4));
  kernel_tables_ = take_kernel_tables();
  frames.words(kernel_root_)[table_index(kKernelBase, 4)] =
      FramePool::address(kernel_tables_.upper) | vm::kTableBits;
  if (system_.config.isolation.enabled) entry_tables_ = take_kernel_tables();
  for (unsigned page = 0; page < kKernelPages; ++page) {
    const std::uint32_t frame = take_frame(FrameKind::data, owner_tag(kKernelSpace, page));
    const std::uint64_t entry = FramePool::address(frame) | vm::kTableBits | kernel_bits();
    frames.words(kernel_tables_.table)[table_index(kernel_address(page), 1)] = entry;
    if (!system_.config.isolation.enabled || !is_entry_page(page)) continue;
    frames.words(entry_tables_.table)[table_index(kernel_address(page), 1)] = entry;
  }
}

std::uint64_t Guest::kernel_bits() const {
  return system_.config.kernel_is_global() ? kPteGlobal : 0;
}

void Guest::premap(unsigned index) {
  for (unsigned first : {0U, 8U}) {
    vm::map(*manager_, spaces_[index],
            {.start = page_address(first), .end = page_address(first + 4)}, kUserRights);
  }
}

void Guest::prepare(const Scenario& scenario) {
  scenario_ = &scenario;
  ends_spaces_ = false;
  for (const auto& program : scenario.ops) {
    for (const Op& op : program) {
      ends_spaces_ = ends_spaces_ || op.kind == OpKind::exit || op.kind == OpKind::fork;
    }
  }
  std::destroy_at(&system_);
  std::construct_at(&system_);
  system_.config = config_of(scenario.header);
  select_backend_of(scenario.header);
  task_.fill(kNoTask);
  loaded_.fill(kNoTask);
  in_user_.fill(false);
  goes_to_user_.fill(false);
  std::destroy_at(&entries_);
  std::construct_at(&entries_);
  offline_.fill(false);
  kernel_reserved_.fill(false);
  batches_.fill({});
  for (GuestMemory::Word* lock : {&kernel_lock_, &temporary_lock_}) {
    std::destroy_at(lock);
    std::construct_at(lock, 0U);
  }
  for (unsigned index = 0; index <= scenario.header.mms; ++index) {
    std::destroy_at(&spaces_[index]);
    std::construct_at(&spaces_[index]);
  }
  events_.on_start(*this, scenario.header.mms + 1U);
  build_kernel();
  initialize_system(system_, system_.config, FramePool::address(kernel_root_));
  memory_.prepare(FramePool::address(kernel_tables_.upper) | vm::kTableBits,
                  FramePool::address(entry_tables_.upper) | vm::kTableBits);
  manager_.emplace(system_, memory_,
                   vm::ManagerConfig{.flush_interrupts_targets = !scenario.header.defer_tables});
  // Nobody else runs yet, but the memory manager asks for the context in which it may wait.
  machine_.running().interrupts_enabled = true;
  for (unsigned index = 0; index <= scenario.header.mms; ++index) {
    create(index);
    if (index != temporary_space()) premap(index);
  }
  machine_.running().interrupts_enabled = false;
}

void Guest::select_backend_of(const Header& header) {
  static_assert(static_cast<unsigned>(Backend::uv) == static_cast<unsigned>(host::Backend::uv));
  HostHal::set_concurrent_flush(true);
  switch (header.backend) {
    case Backend::kvm:
      ops_ = kKvmOps<HostHal>;
      break;
    case Backend::hyperv:
      ops_ = kHypervOps<HostHal>;
      break;
    case Backend::xen:
      ops_ = kXenOps<HostHal>;
      break;
    case Backend::uv:
      ops_ = kHubOps<HostHal>;
      break;
    case Backend::native:
    case Backend::kCount:
      HostHal::set_concurrent_flush(header.concurrent);
      select_backend(system_, kNativeOps<HostHal>);
      return;
  }
  if (!header.concurrent) ops_ = remote_only(ops_);
  select_backend(system_, ops_);
}

void Guest::boot(void* self, CpuId cpu) {
  Guest& guest = *static_cast<Guest*>(self);
  System<HostHal>& system = guest.system_;
  initialize_cpu(system);
  switch_mm(system, guest.spaces_[0].mm);
  guest.spaces_[0].users.fetch_add(1, std::memory_order_relaxed);
  guest.task_[cpu] = 0;
  guest.loaded_[cpu] = 0;
  HostHal::enable_interrupts();
}

void Guest::go_to_user_mode(CpuId cpu) {
  set_goes_to_user(cpu, true);
  return_to_user(system_, entries_[cpu]);
  set_goes_to_user(cpu, false);
  set_in_user(cpu, true);
}

void Guest::come_from_user_mode(CpuId cpu) {
  set_in_user(cpu, false);
  // The processor itself, on its way through the descriptor tables.
  static_cast<void>(machine_.translation().access(kernel_address(kPageOfEntries), /*write=*/false));
  enter_from_user(entries_[cpu]);
  tell()->on_kernel_entered(cpu);
  machine_.stop_if_failed();
}

template <class Work>
void Guest::in_kernel(CpuId cpu, Work&& work) {
  const bool from_user = in_user_[cpu];
  if (from_user) come_from_user_mode(cpu);
  work();
  if (from_user) go_to_user_mode(cpu);
}

void Guest::interrupt(void* self, CpuId cpu) {
  Guest& guest = *static_cast<Guest*>(self);
  guest.in_kernel(cpu, [&] { handle_call_function_interrupt(guest.system_); });
}

void Guest::hub_interrupt(void* self, CpuId cpu) {
  Guest& guest = *static_cast<Guest*>(self);
  guest.in_kernel(cpu, [&] { handle_hub_interrupt(guest.system_); });
}

void Guest::nmi(void* self, CpuId cpu) {
  Guest& guest = *static_cast<Guest*>(self);
  // Not by way of the paths of interrupts: an NMI may have hit those.
  const bool from_user = guest.in_user_[cpu];
  if (from_user) guest.set_in_user(cpu, false);
  const std::uint64_t cr3 = enter_nmi(guest.entries_[cpu]);
  guest.tell()->on_kernel_entered(cpu);
  guest.machine_.stop_if_failed();
  guest.read_in_nmi(cpu);
  leave_nmi(guest.entries_[cpu], cr3);
  if (from_user) guest.set_in_user(cpu, true);
}

void Guest::read_in_nmi(CpuId cpu) {
  const int task = task_[cpu];
  if (task == kNoTask || !user_access_ok(system_, spaces_[static_cast<unsigned>(task)].mm)) return;
  {
    const host::ModelScope scope;
    events_.on_nmi_access(cpu, static_cast<unsigned>(task));
    machine_.stop_if_failed();
  }
  static_cast<void>(machine_.translation().access(machine_.cpu(cpu).nmi_address, /*write=*/false));
}

void Guest::program(void* self, CpuId cpu) {
  Guest& guest = *static_cast<Guest*>(self);
  unsigned number = 0;
  for (const Op& op : guest.scenario_->ops[cpu]) {
    if (number++ == guest.gate_) guest.machine_.controlled().gate();
    guest.execute(cpu, op);
  }
  if (number <= guest.gate_) guest.machine_.controlled().gate();
  guest.flush_batch(cpu);
  guest.tell()->on_program_end(cpu);
  guest.machine_.stop_if_failed();
}

void Guest::execute(CpuId cpu, const Op& op) {
  if (machine_.recorder().has_timeline()) machine_.recorder().line("== " + print(op), {});
  tell()->on_operation(only_replaces(op.kind));
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
      static_cast<void>(machine_.translation().access(kernel_address(op.page), /*write=*/false));
      break;
    case OpKind::flush_all:
      static_cast<void>(flush_tlb_all(system_));
      break;
    case OpKind::exit:
      exit(op);
      break;
    case OpKind::walk:
      walk(cpu, op);
      break;
    case OpKind::fail_allocation:
      memory_.fail_allocation(cpu, op.count - 1U);
      break;
    default:
      execute_memory(op);
      break;
  }
}

// ---- Tasks
// ----------------------------------------------------------------------------------------

bool Guest::counts_users() const {
  // Exhaustive search is spared orders of counting that nobody looks at.
  return !machine_.controlled().is_on() || ends_spaces_;
}

bool Guest::get_user(unsigned space) {
  if (!counts_users()) return true;
  auto& users = spaces_[space].users;
  std::int32_t count = users.load(std::memory_order_relaxed);
  do {
    if (count == kDying) return false;
  } while (!users.compare_exchange(count, count + 1, std::memory_order_acq_rel));
  return true;
}

void Guest::put_user(int space) {
  if (space != kNoTask && counts_users()) {
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
  if (task_[cpu] == kNoTask) {
    // From one kernel thread to the next: interrupts stay on.
    const PreemptionOff<HostHal> guard;
    enter_lazy_tlb(system_);
    return;
  }
  {
    const InterruptsOff<HostHal> guard;
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
    static_cast<void>(machine_.translation().access(probe_address(op.page), write));
    return;
  }
  HostHal::disable_interrupts();
  go_to_user_mode(cpu);
  HostHal::enable_interrupts();
  static_cast<void>(machine_.translation().access(probe_address(op.page), write));
  HostHal::disable_interrupts();
  come_from_user_mode(cpu);
  HostHal::enable_interrupts();
}

void Guest::go_offline(CpuId cpu) {
  flush_batch(cpu);
  HostHal::disable_interrupts();
  // From here on the CPU uses only mappings that nobody takes away.
  tell()->on_offline(cpu);
  take_cpu_offline(system_);
  put_user(task_[cpu]);
  task_[cpu] = kNoTask;
  loaded_[cpu] = kNoTask;
  offline_[cpu] = true;
}

void Guest::come_online(CpuId cpu) {
  if (!offline_[cpu]) return;
  tell()->on_bring_up(cpu);
  initialize_cpu(system_);
  tell()->on_online(cpu);
  machine_.stop_if_failed();
  offline_[cpu] = false;
  HostHal::enable_interrupts();
}

void Guest::use_temporary(CpuId cpu, const Op& op) {
  GuestMm& space = spaces_[temporary_space()];
  // One at a time: each finds the space empty.
  const vm::LockGuard<HostHal> lock(temporary_lock_);
  const vm::Range range = range_of(op.page, 1);
  const bool mapped = op.page < kSmallPages ? vm::map(*manager_, space, range, kUserRights)
                                            : vm::map_large(*manager_, space, range, kUserRights);
  if (!mapped) return;
  tell()->on_temporary_begin(cpu);
  {
    const TemporaryMm<HostHal> scope(system_, space.mm);
    static_cast<void>(machine_.translation().access(probe_address(op.page), /*write=*/true));
  }
  tell()->on_temporary_end(cpu);
  machine_.stop_if_failed();
  // This CPU went back to where it was; while idle that is the kernel's space.
  if (task_[cpu] == kNoTask) loaded_[cpu] = kNoTask;
  vm::unmap(*manager_, space, range);
}

}  // namespace shootdown::fuzz
