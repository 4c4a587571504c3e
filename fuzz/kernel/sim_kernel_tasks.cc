// The simulated kernel's tasks and threads: which mm a CPU runs, the way of a thread to another
// CPU, what programs access, and CPUs that come and go.
#include <utility>

#include "fuzz/events/layout.h"
#include "fuzz/kernel/sim_kernel.h"

namespace shootdown::fuzz {

bool SimKernel::counts_users() const {
  // Exhaustive search is spared orders of counting that no oracle looks at.
  return !machine_.controlled().is_on() || ends_mms_;
}

bool SimKernel::get_user(unsigned mm) {
  if (!counts_users()) return true;
  auto& users = mms_[mm].users;
  std::int32_t count = users.load(std::memory_order_relaxed);
  do {
    if (count == kDying) return false;
  } while (!users.compare_exchange(count, count + 1, std::memory_order_acq_rel));
  return true;
}

void SimKernel::put_user(int mm) {
  if (mm != kNoTask && counts_users()) {
    mms_[static_cast<unsigned>(mm)].users.fetch_add(-1, std::memory_order_acq_rel);
  }
}

int SimKernel::become(unsigned thread, int mm, int loaded) {
  const CpuId cpu = HostHal::this_cpu();
  set_uses_user(cpu, mm != kNoTask);
  current_[cpu] = mm;
  loaded_[cpu] = loaded;
  return std::exchange(task_[thread], mm);
}

int SimKernel::loaded_here() const { return loaded_[HostHal::this_cpu()]; }

void SimKernel::run_task(unsigned thread, unsigned mm) {
  if (!get_user(mm)) return;
  int before = kNoTask;
  {
    InterruptsOff<HostHal> guard;
    if (scenario_->header.task_stores) {
      next_task_[HostHal::this_cpu()].store(mm, std::memory_order_relaxed);
    }
    switch_mm(system_, mms_[mm].core);
    before = become(thread, static_cast<int>(mm), static_cast<int>(mm));
  }
  put_user(before);
}

void SimKernel::go_idle(unsigned thread) {
  if (task_[thread] == kNoTask) {
    // From one kernel thread to the next: interrupts stay on.
    const PreemptionOff<HostHal> guard;
    enter_lazy_tlb(system_);
    return;
  }
  int before = kNoTask;
  {
    const InterruptsOff<HostHal> guard;
    set_uses_user(HostHal::this_cpu(), false);
    enter_lazy_tlb(system_);
    before = become(thread, kNoTask, loaded_here());
  }
  // Only now: an mm without users may be torn down, which relies on this CPU being in its mask.
  put_user(before);
}

void SimKernel::leave(unsigned thread) {
  int before = kNoTask;
  {
    InterruptsOff<HostHal> guard;
    set_uses_user(HostHal::this_cpu(), false);
    leave_mm(system_);
    before = become(thread, kNoTask, kNoTask);
  }
  put_user(before);
}

// ---- Threads that change CPUs
// -----------------------------------------------------------------

void SimKernel::reschedule(void* self, CpuId cpu) {
  SimKernel& sim = *static_cast<SimKernel*>(self);
  const unsigned thread = sim.machine_.running().thread->number;
  const bool from_user = sim.in_user_[cpu];
  if (from_user) sim.come_from_user_mode(cpu);
  sim.take_off(cpu);
  HostHal::enable_interrupts();
  {
    const host::ModelScope scope;
    sim.machine_.scheduler().exchange_threads();
  }
  HostHal::disable_interrupts();
  sim.continue_thread(thread);
  if (from_user) sim.go_to_user_mode(HostHal::this_cpu());
}

void SimKernel::take_off(CpuId cpu) {
  // The idle thread has no mm, and keeps the one that is loaded. The thread that leaves keeps its
  // own alive.
  set_uses_user(cpu, false);
  if (current_[cpu] != kNoTask) enter_lazy_tlb(system_);
  current_[cpu] = kNoTask;
}

void SimKernel::continue_thread(unsigned thread) {
  const int mm = task_[thread];
  if (mm == kNoTask) return;
  switch_mm(system_, mms_[static_cast<unsigned>(mm)].core);
  static_cast<void>(become(thread, mm, mm));
}

void SimKernel::access_page(unsigned mm, unsigned page, bool write) {
  using host::AccessResult;
  const host::PageAccess what{
      .write = write, .fetch = !write && scenario_->header.take_fetch, .mode = host::Mode::user};
  unsigned faults = 0;
  while (machine_.translation().access(probe_address(page), what) == AccessResult::fault) {
    // The handler: if the entry permits the access by now, the fault was spurious or is outdated.
    if (!scenario_->header.latitude) return;
    const vm::Pte entry = leaf(mm, page);
    if (!vm::is_present(entry) || !host::Rights{}.and_of(entry).permit(what)) return;
    // Under isolation another CPU may have the entry of the kernel's root in place and that of the
    // user root still to come. Without a pause it never would.
    if (++faults > 1) HostHal::pause();
  }
}

void SimKernel::access(unsigned thread, const Op& op) {
  if (task_[thread] == kNoTask) return;
  const bool write = op.kind == OpKind::write;
  if (!scenario_->header.pti) {
    access_page(static_cast<unsigned>(task_[thread]), op.page, write);
    return;
  }
  HostHal::disable_interrupts();
  go_to_user_mode(HostHal::this_cpu());
  HostHal::enable_interrupts();
  access_page(static_cast<unsigned>(task_[thread]), op.page, write);
  HostHal::disable_interrupts();
  come_from_user_mode(HostHal::this_cpu());
  HostHal::enable_interrupts();
}

void SimKernel::go_offline(unsigned thread) {
  flush_batch(thread);
  HostHal::disable_interrupts();
  // From here on the CPU uses only mappings that no operation takes away.
  tell()->on_offline(HostHal::this_cpu());
  take_cpu_offline(system_);
  put_user(become(thread, kNoTask, kNoTask));
  offline_[thread] = true;
}

void SimKernel::come_online(unsigned thread) {
  if (!offline_[thread]) return;
  const CpuId cpu = HostHal::this_cpu();
  tell()->on_bring_up(cpu);
  initialize_cpu(system_);
  tell()->on_online(cpu);
  machine_.stop_if_failed();
  offline_[thread] = false;
  HostHal::enable_interrupts();
}

void SimKernel::use_temporary(unsigned thread, const Op& op) {
  SimMm& mm = mms_[temporary_mm()];
  // One at a time: each finds the mm empty.
  const vm::LockGuard<HostHal> lock(temporary_lock_);
  const vm::Range range = range_of(op.page, 1);
  const bool mapped = op.page < kSmallPages ? vm::map(*manager_, mm, range, kUserRights)
                                            : vm::map_large(*manager_, mm, range, kUserRights);
  if (!mapped) return;
  const CpuId cpu = HostHal::this_cpu();
  tell()->on_temporary_begin(cpu);
  {
    const TemporaryMm<HostHal> scope(system_, mm.core);
    const bool before = uses_user_[cpu];
    set_uses_user(cpu, true);
    static_cast<void>(machine_.translation().access(probe_address(op.page), /*write=*/true));
    set_uses_user(cpu, before);
  }
  tell()->on_temporary_end(cpu);
  machine_.stop_if_failed();
  // This CPU went back to where it was; while idle that is the kernel's mm.
  if (task_[thread] == kNoTask) loaded_[cpu] = kNoTask;
  vm::unmap(*manager_, mm, range);
}

}  // namespace shootdown::fuzz
