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

/// One address space of the simulated kernel.
struct GuestMm {
  Mm<HostHal> mm;
  /// Guards the page tables, as a page-table lock does. Never held while flushing.
  HostHal::Atomic<std::uint32_t> lock{0};
  /// Tasks that run this space; kDying while it is torn down.
  HostHal::Atomic<std::int32_t> users{0};
  std::uint32_t root{0};       // frame of the top table
  std::uint32_t directory{0};  // frame of the page directory, which covers all pages
};

/// Frames taken out of page tables, to be released after the flush.
struct Unmapped {
  std::array<std::uint32_t, kPages + 8> frames{};
  unsigned count{0};
  unsigned changed{0};
  void add(std::uint32_t frame) { frames[count++] = frame; }
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

 private:
  static constexpr std::int32_t kDying = -1;
  static constexpr int kNoTask = -1;

  void execute(CpuId cpu, const Op& op);
  void execute_memory(const Op& op);

  bool get_user(unsigned space);
  void put_user(int space);
  void run_task(CpuId cpu, unsigned space);
  void go_idle(CpuId cpu);
  void leave(CpuId cpu);
  void access(CpuId cpu, const Op& op);

  void map(const Op& op);
  void unmap(const Op& op);
  void protect(const Op& op);
  void unprotect(const Op& op);
  void replace(const Op& op);
  void free_table(const Op& op);
  void exit(const Op& op);

  void lock(GuestMm& space);
  void unlock(GuestMm& space);
  /// The leaf entry of `page`, or null if there is no table.
  std::uint64_t* find_entry(GuestMm& space, unsigned page);
  std::uint64_t* find_or_make_entry(GuestMm& space, unsigned page);
  void clear_pages(GuestMm& space, unsigned first, unsigned count, Unmapped& out);
  void clear_table(GuestMm& space, unsigned table, Unmapped& out);
  void release(const Unmapped& unmapped, const TranslationsQuiet& proof);
  void release_tables(const Unmapped& unmapped, const WalkersQuiet& proof);
  void build_tables(unsigned index, CpuId cpu);
  [[nodiscard]] unsigned index_of(const GuestMm& space) const;

  Machine& machine_;
  Oracles& oracles_;
  const Scenario* scenario_{nullptr};
  std::uint32_t kernel_root_{0};
  System<HostHal> system_;
  std::array<GuestMm, kMaxMms> spaces_;
  std::array<int, kMaxCpus> task_{};    // space of the running task, or kNoTask
  std::array<int, kMaxCpus> loaded_{};  // space kept loaded, also while idle, or kNoTask
};

}  // namespace shootdown::fuzz
