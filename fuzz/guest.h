// The simulated kernel: address spaces with real page tables in modelled frames, tasks, and the
// operations of a scenario, all on top of the flush core.
#pragma once

#include <array>
#include <cstdint>

#include "core/shootdown.h"
#include "fuzz/oracles.h"
#include "fuzz/scenario.h"
#include "hal/host/hal.h"

namespace shootdown::fuzz {

using host::HostHal;
using host::Machine;

using Lock = HostHal::Atomic<std::uint32_t>;

/// One address space of the simulated kernel.
struct GuestMm {
  Mm<HostHal> mm;
  /// Guards the page tables, as a page-table lock does. Never held while flushing.
  Lock lock{0};
  /// Tasks and operations that need this space; kDying while it is torn down.
  HostHal::Atomic<std::int32_t> users{0};
  std::uint32_t root{0};       // frame of the top table
  std::uint32_t user_root{0};  // ... for user mode, under page-table isolation
  std::uint32_t upper{0};      // the next level, which both roots share
  std::uint32_t directory{0};  // the page directory, which covers all pages
};

/// Frames taken out of page tables, to be released after the flush.
struct Unmapped {
  std::array<std::uint32_t, kPages + 8> frames{};
  unsigned count{0};
  unsigned changed{0};
  void add(std::uint32_t frame) { frames[count++] = frame; }
};

/// What a CPU has taken away from spaces and will flush as one batch.
struct GuestBatch {
  ReclaimBatch<HostHal> batch;
  std::array<std::uint32_t, 32> frames{};
  unsigned count{0};
};

class Guest {
 public:
  Guest(Machine& machine, Oracles& oracles);

  /// Builds the initial state: each space with pages 0-3 and 8-11 mapped, all CPUs running space 0.
  /// Call between `Machine::prepare` and `Machine::run`.
  void prepare(const Scenario& scenario);

  // Code for the machine's CPUs; the argument is the Guest.
  static void boot(void* self, CpuId cpu);
  static void program(void* self, CpuId cpu);
  static void interrupt(void* self, CpuId cpu);

  [[nodiscard]] System<HostHal>& system() { return system_; }
  [[nodiscard]] GuestMm& space(unsigned index) { return spaces_[index]; }
  /// The space for temporary mappings; its number is the one after the scenario's spaces.
  [[nodiscard]] unsigned temporary_space() const { return scenario_->header.mms; }
  [[nodiscard]] const Lock& kernel_lock() const { return kernel_lock_; }
  [[nodiscard]] bool in_user_mode(CpuId cpu) const { return in_user_[cpu]; }

  static constexpr unsigned kSpaces = kMaxMms + 1;
  /// Few, so that they are used again: one, or two for many spaces.
  static constexpr std::uint32_t global_slots(unsigned spaces) { return spaces > 4 ? 2 : 1; }

 private:
  static constexpr std::int32_t kDying = -1;
  static constexpr int kNoTask = -1;

  void execute(CpuId cpu, const Op& op);
  void execute_task(CpuId cpu, const Op& op);
  void execute_memory(const Op& op);

  // Tasks (guest.cc).
  bool get_user(unsigned space);
  void put_user(int space);
  void run_task(CpuId cpu, unsigned space);
  void go_idle(CpuId cpu);
  void leave(CpuId cpu);
  void access(CpuId cpu, const Op& op);
  void go_offline(CpuId cpu);
  void come_online(CpuId cpu);
  void use_temporary(CpuId cpu, const Op& op);

  // Page tables (guest_memory.cc).
  void map(const Op& op);
  void unmap(const Op& op);
  void protect(const Op& op);
  void unprotect(const Op& op);
  void replace(const Op& op);
  void free_table(const Op& op);
  void exit(const Op& op);
  void reclaim(CpuId cpu, const Op& op);
  void flush_batch(CpuId cpu);
  void kernel_map(const Op& op);
  void kernel_unmap(const Op& op);

  void lock(Lock& lock);
  void unlock(Lock& lock);
  /// The leaf entry of `page`, or null if there is no table.
  std::uint64_t* find_entry(GuestMm& space, unsigned page);
  std::uint64_t* find_or_make_entry(GuestMm& space, unsigned page);
  std::uint64_t* kernel_entry(unsigned page);
  void clear_pages(GuestMm& space, unsigned first, unsigned count, Unmapped& out);
  void clear_table(GuestMm& space, unsigned table, Unmapped& out);
  void settle_batches(GuestMm& space);
  void release(const Unmapped& unmapped, const TranslationsQuiet& proof);
  void release_tables(const Unmapped& unmapped, const WalkersQuiet& proof);
  std::uint32_t take_frame(host::FrameKind kind, std::uint16_t owner);
  void build_tables(unsigned index);
  void build_kernel();
  [[nodiscard]] std::uint64_t kernel_bits() const;
  void premap(unsigned index);
  [[nodiscard]] unsigned index_of(const GuestMm& space) const;
  [[nodiscard]] PhysAddr user_root_of(const GuestMm& space) const;

  Machine& machine_;
  Oracles& oracles_;
  const Scenario* scenario_{nullptr};
  std::uint32_t kernel_root_{0};
  std::uint32_t kernel_upper_{0};
  std::uint32_t kernel_table_{0};
  Lock kernel_lock_{0};
  System<HostHal> system_;
  std::array<GuestMm, kSpaces> spaces_;
  std::array<GuestBatch, kMaxCpus> batches_;
  std::array<int, kMaxCpus> task_{};    // space of the running task, or kNoTask
  std::array<int, kMaxCpus> loaded_{};  // space kept loaded, also while idle, or kNoTask
  std::array<bool, kMaxCpus> in_user_{};
  std::array<bool, kMaxCpus> offline_{};
};

}  // namespace shootdown::fuzz
