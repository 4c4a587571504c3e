// The simulated kernel: tasks, CPUs, and the operations of a scenario, on top of the flush core and
// of the reference memory manager.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "core/shootdown_all.h"
#include "fuzz/events/events.h"
#include "fuzz/events/layout.h"
#include "fuzz/kernel/platform.h"
#include "fuzz/scenario/scenario.h"
#include "hal/host/hal.h"
#include "kernel-glue/mm/mm.h"

namespace shootdown::fuzz {

/// What the machine is to be prepared with.
[[nodiscard]] host::Backend backend_of(const Header& header);

/// One address space of the simulated kernel.
struct SimMm : vm::AddressSpace<SimMemory> {
  /// Tasks and operations that need this mm; kDying while it is torn down.
  HostHal::Atomic<std::int32_t> users{0};
};

inline constexpr vm::Pte kUserRights = vm::kPteWritable | vm::kPteUser;

/// The addresses of `count` pages from `first` on.
constexpr vm::Range range_of(unsigned first, unsigned count) {
  const VirtAddr start = page_address(first);
  return {.start = start, .end = start + (VirtAddr{count} << page_shift(first))};
}

/// What a flush is asked for that begins and ends in the middle of two of them, or in one.
constexpr FlushRange odd_range_of(unsigned first, unsigned count) {
  const VirtAddr half = (VirtAddr{1} << page_shift(first)) / 2;
  const VirtAddr start = page_address(first) + half;
  const VirtAddr end = page_address(first + count - 1) + half;
  return {.start = start, .end = count == 1 ? start + 1 : end, .stride_shift = page_shift(first)};
}

/// An unmap of a thread whose flush is on its way. A run that fails leaves it as it is.
class Later {
 public:
  using Unmap = vm::SubmittedUnmap<SimMemory>;
  Later() {}   // NOLINT(modernize-use-equals-default): the union has a member with a constructor
  ~Later() {}  // NOLINT(modernize-use-equals-default)
  Later(const Later&) = delete;
  Later& operator=(const Later&) = delete;

  template <class... Arguments>
  void begin(const Op& op, Arguments&&... arguments) {
    op_ = op;
    std::construct_at(&unmap_, std::forward<Arguments>(arguments)...);
    is_on_its_way_ = true;
  }
  [[nodiscard]] bool is_on_its_way() const { return is_on_its_way_; }
  [[nodiscard]] Unmap& unmap() { return unmap_; }
  [[nodiscard]] const Op& op() const { return op_; }
  void forget() { is_on_its_way_ = false; }

 private:
  union {
    Unmap unmap_;  // NOLINT(readability-identifier-naming): a private member
  };
  Op op_{};
  bool is_on_its_way_{false};
};

class SimKernel final : public KernelView {
 public:
  SimKernel(Machine& machine, KernelEvents& events);

  /// Builds the initial state: each mm with pages 0-3 and 8-11 mapped, all CPUs running mm 0.
  /// Call between `Machine::prepare` and `Machine::run`.
  void prepare(const Scenario& scenario);
  /// For exhaustive search: before its operation `op` each CPU waits for the others, once.
  void set_start_barrier(unsigned op) { start_barrier_ = op; }

  // Code for the machine's CPUs; the argument is the Guest. Programs are threads, which start on
  // the CPUs of their numbers.
  static void boot(void* self, CpuId cpu);
  static void program(void* self, unsigned thread);
  static void interrupt(void* self, CpuId cpu);
  static void bau_interrupt(void* self, CpuId cpu);
  static void nmi(void* self, CpuId cpu);
  /// Takes the thread that runs on the CPU off it, and continues it where the machine says.
  static void reschedule(void* self, CpuId cpu);

  /// Tells the oracles what the operation says that it leaves of a range.
  void tell_what_is_left(const Op& op);

  [[nodiscard]] System<HostHal>& system() { return system_; }
  [[nodiscard]] SimMm& mm(unsigned index) { return mms_[index]; }
  /// The mm for temporary mappings; its number is the one after the scenario's mms.
  [[nodiscard]] unsigned temporary_mm() const { return scenario_->header.mms; }
  [[nodiscard]] const SimMemory::Word& kernel_lock() const { return kernel_lock_; }
  [[nodiscard]] const SimMemory::Word& temporary_lock() const { return temporary_lock_; }
  [[nodiscard]] const SimMemory::Word& next_task(CpuId cpu) const { return next_task_[cpu]; }
  [[nodiscard]] SimMemory& memory() { return memory_; }
  [[nodiscard]] vm::Manager<SimMemory>& manager() { return *manager_; }
  [[nodiscard]] unsigned index_of(const Mm<HostHal>& mm) const;
  /// On the last steps to user mode: what the user PCID is owed stands in the entry block.
  [[nodiscard]] bool goes_to_user_mode(CpuId cpu) const { return goes_to_user_[cpu]; }
  [[nodiscard]] const EntryBlock<HostHal>& entry_block(CpuId cpu) const { return entries_[cpu]; }
  [[nodiscard]] bool takes_nmis() const { return scenario_->header.nmi; }
  [[nodiscard]] bool has_device() const { return scenario_->header.device; }

  // KernelView.
  [[nodiscard]] unsigned mm_of(const void* mm) const override;
  [[nodiscard]] CpuId cpu_of(const void* word) const override;
  [[nodiscard]] PhysAddr root(unsigned mm) const override { return mms_[mm].core.root; }
  [[nodiscard]] std::uint64_t leaf(unsigned mm, unsigned page) const override;
  [[nodiscard]] bool may_use_user_memory(CpuId cpu) const override { return uses_user_[cpu]; }
  [[nodiscard]] bool has_right(std::uint64_t entry) const override {
    // Not by what the memory manager takes: that is under test.
    switch (protected_right()) {
      case vm::Right::store:
        return (entry & (vm::kPteWritable | vm::kPteCow)) != 0;
      case vm::Right::fetch:
        return (entry & vm::kPteNoExecute) == 0;
      case vm::Right::access:
        break;
    }
    return (entry & vm::kPteUser) != 0;
  }
  [[nodiscard]] bool in_user_mode(CpuId cpu) const override { return in_user_[cpu]; }
  [[nodiscard]] bool answers_early() const override {
    return config_.targets.early_acknowledgement;
  }
  [[nodiscard]] bool kernel_is_global() const override { return config_.kernel_is_global(); }
  [[nodiscard]] bool broadcasts() const override { return config_.broadcast.enabled; }
  [[nodiscard]] std::uint32_t references(std::uint32_t frame) const override {
    return memory_.references_to(frame);
  }
  [[nodiscard]] bool waits_for_walkers(std::uint32_t frame) const override;

  /// With faults: so many pauses pass before a lost interrupt is sent again.
  static constexpr std::uint64_t kStallLimit = 4;
  static constexpr unsigned kMms = kMaxMms + 1;
  /// Few, so that they are used again: one for two mms or four, else two, so that three mms have
  /// some to change between.
  static constexpr std::uint32_t global_asids(unsigned mms) { return mms > 4 || mms == 3 ? 2 : 1; }

 private:
  static constexpr std::int32_t kDying = -1;
  static constexpr int kNoTask = -1;

  /// The oracles hear of it.
  host::ModelCall<KernelEvents> tell() { return {&events_}; }

  /// What `protect` takes away, and `unprotect` gives back.
  [[nodiscard]] vm::Right protected_right() const;
  void select_backend_of(const Header& header);
  // The way to user mode and back, interrupts off (sim_kernel.cc).
  void go_to_user_mode(CpuId cpu);
  void come_from_user_mode(CpuId cpu);
  /// Runs the work of an interrupt, from any state of the mm that it has hit.
  template <class Work>
  void in_kernel(CpuId cpu, Work&& work);
  void read_in_nmi(CpuId cpu);
  void execute(unsigned thread, const Op& op);
  void execute_task(unsigned thread, const Op& op);
  void execute_memory(const Op& op);

  // Tasks (sim_kernel_tasks.cc).
  [[nodiscard]] bool counts_users() const;
  bool get_user(unsigned mm);
  void put_user(int mm);
  /// The thread is one of the mm from here on, or of none, and its CPU has `loaded`. Interrupts are
  /// off. Returns the mm before.
  int become(unsigned thread, int mm, int loaded);
  [[nodiscard]] int loaded_here() const;
  /// The scheduler's half of an exchange of threads: this CPU idles until another thread comes.
  void take_off(CpuId cpu);
  void continue_thread(unsigned thread);
  void run_task(unsigned thread, unsigned mm);
  void go_idle(unsigned thread);
  void leave(unsigned thread);
  void access(unsigned thread, const Op& op);
  /// The access of a user's instruction, which is made again after a fault without a cause.
  void access_page(unsigned mm, unsigned page, bool write);
  void go_offline(unsigned thread);
  void come_online(unsigned thread);
  void use_temporary(unsigned thread, const Op& op);

  // Memory (sim_kernel_memory.cc).
  void execute_promise(const Op& op);
  [[nodiscard]] static vm::Range range_of_table(unsigned page);
  /// With `Header::submits`: begins an unmap, which `go_on_with_unmap` ends if its flush is done,
  /// or waits for it.
  void begin_unmap(const Op& op);
  void go_on_with_unmap(unsigned thread, bool waits);
  void map(const Op& op);
  void walk(unsigned thread, const Op& op);
  void exit(const Op& op);
  void fork(const Op& op);
  /// Ends an mm that no task needs and starts it anew, empty. False if a task needs it, or
  /// without memory.
  bool renew(unsigned mm);
  /// Makes an mm that does not exist. False without memory.
  bool create(unsigned mm);
  void flush_batch(unsigned thread);
  void kernel_map(const Op& op);
  void kernel_unmap(const Op& op);
  /// A kernel page that was unmapped may not be mapped again until it is flushed.
  void reserve_kernel(unsigned page, bool on);
  /// Changes the entries of a kernel page in all the tables that have one. Returns the old one.
  std::uint64_t exchange_kernel_entry(unsigned page, std::uint64_t value);
  void store_kernel_entry(unsigned page, std::uint64_t* entry, std::uint64_t value);
  void set_in_user(CpuId cpu, bool on);
  void set_uses_user(CpuId cpu, bool on);
  void set_goes_to_user(CpuId cpu, bool on);
  void build_kernel();
  /// A root entry's subtree down to one page table for the kernel's pages.
  struct KernelTables {
    std::uint32_t upper;
    std::uint32_t table;
  };
  KernelTables take_kernel_tables();
  void premap(unsigned index);
  [[nodiscard]] std::uint64_t kernel_bits() const;

  Machine& machine_;
  KernelEvents& events_;
  const Scenario* scenario_{nullptr};
  unsigned start_barrier_{0};
  bool ends_mms_{false};
  std::uint32_t kernel_root_{0};
  KernelTables kernel_tables_{};
  KernelTables entry_tables_{};  // what user roots map of the kernel, under page-table isolation
  SimMemory::Word kernel_lock_{0};
  std::array<bool, kKernelPages> kernel_reserved_{};
  SimMemory::Word temporary_lock_{0};
  /// Which task each CPU runs next, for membarriers. Written with `task_stores` only.
  std::array<SimMemory::Word, kMaxCpus> next_task_;
  Config config_{};
  System<HostHal> system_;
  FlushOps<HostHal> ops_{};
  SimMemory memory_;
  std::optional<vm::Manager<SimMemory>> manager_;
  std::array<SimMm, kMms> mms_;
  // Of each thread.
  std::array<vm::Reclaimer<SimMemory>, kMaxCpus> batches_;
  std::array<Later, kMaxCpus> later_;
  std::array<int, kMaxCpus> task_{};      // its mm, or kNoTask for one of the kernel's
  std::array<bool, kMaxCpus> offline_{};  // it has taken its CPU offline
  // Of each CPU.
  std::array<int, kMaxCpus> current_{};  // mm of the running task, or kNoTask
  std::array<int, kMaxCpus> loaded_{};   // mm kept loaded, also while idle, or kNoTask
  std::array<EntryBlock<HostHal>, kMaxCpus> entries_;
  std::array<bool, kMaxCpus> in_user_{};
  std::array<bool, kMaxCpus> uses_user_{};  // a task with user memory runs
  std::array<bool, kMaxCpus> goes_to_user_{};
};

}  // namespace shootdown::fuzz
