// The simulated kernel: set-up, the ways into the kernel and to user mode, programs.
#include "fuzz/kernel/sim_kernel.h"

#include <memory>

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
          .targets = {.concurrent = header.concurrent,
                      .early_acknowledgement = header.early,
                      .closed_waits = header.closed_waits,
                      .mask_policy = header.lazy_masks ? MaskPolicy::kept_lazily
                                                       : MaskPolicy::cleared_at_switch,
                      .lazy_test =
                          header.lazy_test_up_front ? LazyTest::up_front : LazyTest::when_queued,
                      .target_test =
                          header.by_loaded_mm ? TargetTest::by_loaded_mm : TargetTest::not_lazy,
                      .trim_interval = 3},
          .broadcast = {.enabled = broadcasts,
                        .max_pages = header.small ? 2 : host::kInvlpgbMaxPages,
                        .threshold = 1,
                        .global_asids = SimKernel::global_asids(header.mms)},
          // A lost interrupt is sent again by the sender that has waited so long.
          .limits = {
              .ceiling_strides = header.ceiling,
              .stall_limit = header.faults ? SimKernel::kStallLimit : LimitConfig{}.stall_limit}};
}

/// So small that an operation on a few pages fills them. A list of the hypercall is long enough to
/// be done in two parts.
constexpr Capacities kSmallCapacities{.gather_pages = 2,
                                      .gather_tables = 1,
                                      .reclaim_pages = 2,
                                      .hyperv_entries = 3,
                                      .hyperv_pages = 2};

/// Whether the entries that the operation takes away come back, and no program is to notice.
bool only_replaces(OpKind kind) {
  return kind == OpKind::replace || kind == OpKind::cow || kind == OpKind::split ||
         kind == OpKind::collapse;
}

/// Whether a thread may do it while its unmap is on its way: it flushes nothing and promises
/// nothing.
bool may_come_before_the_end(OpKind kind) {
  switch (kind) {
    case OpKind::switch_to:
    case OpKind::idle:
    case OpKind::resume:
    case OpKind::leave:
    case OpKind::read:
    case OpKind::write:
    case OpKind::kernel_read:
      return true;
    default:
      return false;
  }
}

}  // namespace

host::Backend backend_of(const Header& header) {
  return static_cast<host::Backend>(header.backend);
}

bool SimKernel::create(unsigned index) {
  if (!vm::create(*manager_, mms_[index])) return false;
  // So many flushes that the next ones come near the end of the numbers.
  constexpr Generation kNearTheEnd = ~Generation{0} - 0xffff;
  if (scenario_->header.faults) mms_[index].core.tlb_gen.poke(kNearTheEnd);
  return true;
}

SimKernel::SimKernel(Machine& machine, KernelEvents& events)
    : machine_(machine), events_(events), memory_(machine, *this, events) {}

unsigned SimKernel::mm_of(const void* mm) const {
  // The temporary mm follows the scenario's own, so it is mm number `header.mms`.
  const auto first = reinterpret_cast<std::uintptr_t>(&mms_[0].core);
  const std::uintptr_t offset = reinterpret_cast<std::uintptr_t>(mm) - first;
  const std::uintptr_t index = offset / sizeof(SimMm);
  return index <= scenario_->header.mms ? static_cast<unsigned>(index) : kNoMm;
}

CpuId SimKernel::cpu_of(const void* word) const {
  const auto first = reinterpret_cast<std::uintptr_t>(&system_.cpus[0]);
  const std::uintptr_t offset = reinterpret_cast<std::uintptr_t>(word) - first;
  const std::uintptr_t index = offset / sizeof(system_.cpus[0]);
  return index < scenario_->header.cpus ? static_cast<CpuId>(index) : kNoCpu;
}

unsigned SimKernel::index_of(const Mm<HostHal>& mm) const {
  const auto first = reinterpret_cast<std::uintptr_t>(&mms_[0].core);
  return static_cast<unsigned>((reinterpret_cast<std::uintptr_t>(&mm) - first) / sizeof(SimMm));
}

vm::Right SimKernel::protected_right() const {
  if (scenario_->header.take_access) return vm::Right::access;
  return scenario_->header.take_fetch ? vm::Right::fetch : vm::Right::store;
}

void SimKernel::set_in_user(CpuId cpu, bool on) {
  // Whether the CPU uses its user half is asked by others, too.
  machine_.record_access(place(Ghost::cpu, cpu), true);
  in_user_[cpu] = on;
}

void SimKernel::set_uses_user(CpuId cpu, bool on) {
  machine_.record_access(place(Ghost::cpu, cpu), true);
  uses_user_[cpu] = on;
}

void SimKernel::set_goes_to_user(CpuId cpu, bool on) {
  machine_.record_access(place(Ghost::cpu, cpu), true);
  goes_to_user_[cpu] = on;
}

// ---- Set-up
// ---------------------------------------------------------------------------------------

SimKernel::KernelTables SimKernel::take_kernel_tables() {
  FramePool& frames = machine_.frames();
  const std::uint32_t upper = memory_.allocate_frame(FrameKind::table, owner_tag(kKernelMm, 3));
  const std::uint32_t directory = memory_.allocate_frame(FrameKind::table, owner_tag(kKernelMm, 2));
  const std::uint32_t table = memory_.allocate_frame(FrameKind::table, owner_tag(kKernelMm, 1));
  frames.words(upper)[table_index(kKernelBase, 3)] = FramePool::address(directory) | vm::kTableBits;
  frames.words(directory)[table_index(kKernelBase, 2)] = FramePool::address(table) | vm::kTableBits;
  return {.upper = upper, .table = table};
}

void SimKernel::build_kernel() {
  FramePool& frames = machine_.frames();
  kernel_root_ = memory_.allocate_frame(FrameKind::table, owner_tag(kKernelMm, 4));
  kernel_tables_ = take_kernel_tables();
  frames.words(kernel_root_)[table_index(kKernelBase, 4)] =
      FramePool::address(kernel_tables_.upper) | vm::kTableBits;
  if (config_.isolation.enabled) entry_tables_ = take_kernel_tables();
  for (unsigned page = 0; page < kKernelPages; ++page) {
    const std::uint32_t frame = memory_.allocate_frame(FrameKind::data, owner_tag(kKernelMm, page));
    const std::uint64_t entry = FramePool::address(frame) | vm::kTableBits | kernel_bits();
    frames.words(kernel_tables_.table)[table_index(kernel_address(page), 1)] = entry;
    if (!config_.isolation.enabled || !is_entry_page(page)) continue;
    frames.words(entry_tables_.table)[table_index(kernel_address(page), 1)] = entry;
  }
}

std::uint64_t SimKernel::kernel_bits() const { return config_.kernel_is_global() ? kPteGlobal : 0; }

void SimKernel::premap(unsigned index) {
  for (unsigned first : {0U, 8U}) {
    vm::map(*manager_, mms_[index], {.start = page_address(first), .end = page_address(first + 4)},
            kUserRights);
  }
}

void SimKernel::prepare(const Scenario& scenario) {
  scenario_ = &scenario;
  ends_mms_ = false;
  for (const auto& program : scenario.ops) {
    for (const Op& op : program) {
      ends_mms_ = ends_mms_ || op.kind == OpKind::exit || op.kind == OpKind::fork;
    }
  }
  std::destroy_at(&system_);
  std::construct_at(&system_);
  config_ = config_of(scenario.header);
  HostHal::set_capacities(scenario.header.small ? kSmallCapacities : kCapacities);
  task_.fill(kNoTask);
  current_.fill(kNoTask);
  loaded_.fill(kNoTask);
  in_user_.fill(false);
  uses_user_.fill(false);
  goes_to_user_.fill(false);
  std::destroy_at(&entries_);
  std::construct_at(&entries_);
  offline_.fill(false);
  kernel_reserved_.fill(false);
  batches_.fill({});
  for (Later& later : later_) later.forget();
  std::destroy_at(&next_task_);
  std::construct_at(&next_task_);
  for (SimMemory::Word* lock : {&kernel_lock_, &temporary_lock_}) {
    std::destroy_at(lock);
    std::construct_at(lock, 0U);
  }
  for (unsigned index = 0; index <= scenario.header.mms; ++index) {
    std::destroy_at(&mms_[index]);
    std::construct_at(&mms_[index]);
  }
  events_.on_start(*this, scenario.header.mms + 1U);
  build_kernel();
  initialize_system(system_, config_, FramePool::address(kernel_root_));
  select_backend_of(scenario.header);
  memory_.set_unlocked_reads(scenario.header.unlocked_reads);
  memory_.prepare(FramePool::address(kernel_tables_.upper) | vm::kTableBits,
                  FramePool::address(entry_tables_.upper) | vm::kTableBits);
  manager_.emplace(system_, memory_,
                   vm::ManagerConfig{.flush_interrupts_targets = !scenario.header.defer_tables,
                                     .plain_stores = scenario.header.plain_pte,
                                     .closed_flushes = scenario.header.closed_waits});
  // No other CPU runs yet, but the memory manager asks for the context in which it may wait.
  machine_.running().interrupts_enabled = true;
  for (unsigned index = 0; index <= scenario.header.mms; ++index) {
    create(index);
    if (index != temporary_mm()) premap(index);
  }
  machine_.running().interrupts_enabled = false;
}

void SimKernel::select_backend_of(const Header& header) {
  static_assert(static_cast<unsigned>(Backend::uv_bau) ==
                static_cast<unsigned>(host::Backend::uv_bau));
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
    case Backend::uv_bau:
      ops_ = kUvBauOps<HostHal>;
      break;
    case Backend::native:
    case Backend::kCount:
      select_backend(system_, kNativeOps<HostHal>);
      return;
  }
  if (!header.concurrent) ops_ = remote_only(ops_);
  select_backend(system_, ops_);
}

void SimKernel::boot(void* self, CpuId cpu) {
  SimKernel& sim = *static_cast<SimKernel*>(self);
  System<HostHal>& system = sim.system_;
  initialize_cpu(system);
  switch_mm(system, sim.mms_[0].core);
  sim.mms_[0].users.fetch_add(1, std::memory_order_relaxed);
  static_cast<void>(sim.become(cpu, 0, 0));
  HostHal::enable_interrupts();
}

void SimKernel::go_to_user_mode(CpuId cpu) {
  set_goes_to_user(cpu, true);
  return_to_user(system_, entries_[cpu]);
  set_goes_to_user(cpu, false);
  set_in_user(cpu, true);
}

void SimKernel::come_from_user_mode(CpuId cpu) {
  set_in_user(cpu, false);
  // The processor itself, on its way through the descriptor tables.
  static_cast<void>(machine_.translation().access(kernel_address(kPageOfEntries), /*write=*/false));
  enter_from_user(entries_[cpu]);
  tell()->on_kernel_entered(cpu);
  machine_.stop_if_failed();
}

template <class Work>
void SimKernel::in_kernel(CpuId cpu, Work&& work) {
  const bool from_user = in_user_[cpu];
  if (from_user) come_from_user_mode(cpu);
  work();
  if (from_user) go_to_user_mode(cpu);
}

void SimKernel::interrupt(void* self, CpuId cpu) {
  SimKernel& sim = *static_cast<SimKernel*>(self);
  sim.in_kernel(cpu, [&] { handle_call_function_interrupt(sim.system_); });
}

void SimKernel::bau_interrupt(void* self, CpuId cpu) {
  SimKernel& sim = *static_cast<SimKernel*>(self);
  sim.in_kernel(cpu, [&] { handle_bau_interrupt(sim.system_); });
}

void SimKernel::nmi(void* self, CpuId cpu) {
  SimKernel& sim = *static_cast<SimKernel*>(self);
  // Not by way of the paths of interrupts: an NMI may have hit those.
  const bool from_user = sim.in_user_[cpu];
  if (from_user) sim.set_in_user(cpu, false);
  const std::uint64_t cr3 = enter_nmi(sim.entries_[cpu]);
  sim.tell()->on_kernel_entered(cpu);
  sim.machine_.stop_if_failed();
  sim.read_in_nmi(cpu);
  leave_nmi(sim.entries_[cpu], cr3);
  if (from_user) sim.set_in_user(cpu, true);
}

void SimKernel::read_in_nmi(CpuId cpu) {
  const int task = current_[cpu];
  if (task == kNoTask || !user_access_ok(system_, mms_[static_cast<unsigned>(task)].core)) return;
  {
    const host::ModelScope scope;
    events_.on_nmi_access(cpu, static_cast<unsigned>(task));
    machine_.stop_if_failed();
  }
  static_cast<void>(machine_.translation().access(machine_.cpu(cpu).nmi_address, /*write=*/false));
}

void SimKernel::program(void* self, unsigned thread) {
  SimKernel& sim = *static_cast<SimKernel*>(self);
  unsigned number = 0;
  for (const Op& op : sim.scenario_->ops[thread]) {
    if (number++ == sim.start_barrier_) sim.machine_.controlled().start_barrier();
    sim.execute(thread, op);
  }
  if (number <= sim.start_barrier_) sim.machine_.controlled().start_barrier();
  sim.go_on_with_unmap(thread, /*waits=*/true);
  sim.flush_batch(thread);
  sim.tell()->on_program_end(HostHal::this_cpu());
  sim.machine_.stop_if_failed();
}

void SimKernel::execute(unsigned thread, const Op& op) {
  go_on_with_unmap(thread, /*waits=*/!may_come_before_the_end(op.kind));
  if (machine_.recorder().has_timeline()) machine_.recorder().line("== " + print(op), {});
  tell()->on_operation(only_replaces(op.kind));
  if (op.kind == OpKind::online) {
    come_online(thread);
  } else if (!offline_[thread]) {
    execute_task(thread, op);
  }
}

void SimKernel::execute_task(unsigned thread, const Op& op) {
  switch (op.kind) {
    case OpKind::switch_to:
      run_task(thread, op.mm);
      break;
    case OpKind::idle:
      go_idle(thread);
      break;
    case OpKind::resume:
      if (loaded_here() != kNoTask) run_task(thread, static_cast<unsigned>(loaded_here()));
      break;
    case OpKind::leave:
      leave(thread);
      break;
    case OpKind::read:
    case OpKind::write:
      access(thread, op);
      break;
    case OpKind::offline:
      go_offline(thread);
      break;
    case OpKind::temporary:
      use_temporary(thread, op);
      break;
    case OpKind::batch_flush:
      flush_batch(thread);
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
      walk(thread, op);
      break;
    case OpKind::fail_allocation:
      memory_.fail_allocation(thread, op.count - 1U);
      break;
    default:
      execute_memory(op);
      break;
  }
}

}  // namespace shootdown::fuzz
