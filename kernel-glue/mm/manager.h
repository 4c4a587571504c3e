// The memory manager's state: one manager for the machine, and one mm for each address space.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "core/shootdown.h"
#include "kernel-glue/mm/platform.h"

namespace shootdown::vm {

/// Fixed after boot.
struct ManagerConfig {
  /// Believe the core if it says that a flush that frees tables does not return before each CPU
  /// that runs the mm has taken an interrupt. Then no lockless walker, which has interrupts off,
  /// is in the tables any more, and they are released at once. False: tables always wait for
  /// walkers.
  bool flush_interrupts_targets{true};
  /// Where no bit of the walker's can get lost, entries change by plain stores, as kernels do it:
  /// an entry that maps nothing becomes present, and a table is unhooked. The store may then stay
  /// in this CPU's store buffer, and what has to see it waits for what drains it: another
  /// operation for the table's lock, a CPU for the flush. False: every change is a locked one.
  bool plain_stores{false};
  /// Flushes begin with interrupts off, as in kernels whose locks are held so. For a core that
  /// permits it (`TargetConfig::closed_waits`).
  bool closed_flushes{false};
};

/// An address range, [start, end), in whole pages.
struct Range {
  VirtAddr start;
  VirtAddr end;
};

/// One address space.
template <MemoryPlatform P>
struct AddressSpace {
  using H = typename P::Hal;

  /// What the flush core knows of it. The roots are in there.
  Mm<H> core;

  /// Operations that have taken something from entries and not flushed yet. Any CPU, by locked
  /// operations. M13: it goes up before the first entry changes, and so an operation that finds an
  /// entry changed, under its lock, finds the count up until the flush is complete.
  alignas(kCacheLine) typename H::template Atomic<std::uint32_t> pending{0};
};

/// How often a CPU has entered and left lockless walks: odd inside one. Written by its CPU only.
template <Hal H>
struct alignas(kCacheLine) WalkerState {
  typename H::template Atomic<std::uint64_t> sequence{0};
};

template <Hal H>
struct DeferredTable {
  DeferredTable* next{nullptr};
  PhysAddr table{kNoFrame};
  /// The walkers' sequences after the table was unhooked. One that was odd must move on.
  std::array<std::uint64_t, H::kMaxCpus> seen{};
};

template <MemoryPlatform P>
struct Manager {
  using H = typename P::Hal;

  constexpr Manager(System<H>& the_system, P& the_platform, const ManagerConfig& the_config)
      : system(the_system), platform(the_platform), config(the_config) {}

  System<H>& system;
  P& platform;
  ManagerConfig config;
  std::array<WalkerState<H>, H::kMaxCpus> walkers{};

  /// Tables that wait for walkers. The lock guards the list and its records.
  typename H::template Atomic<std::uint32_t> deferred_lock{0};
  typename H::template Atomic<DeferredTable<H>*> deferred{nullptr};
};

}  // namespace shootdown::vm
