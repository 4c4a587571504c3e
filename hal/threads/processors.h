// CPUs that are threads of the operating system: they really run at the same time, and the memory
// between them is real memory. What a test finds here it need not find again in the next run.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>

#include "core/cpu_mask.h"
#include "core/types.h"
#include "hal/threads/tlb.h"

namespace shootdown::threads {

inline constexpr CpuId kThreadCpus = 8;

/// How often a CPU executed what changes its TLB.
struct TlbCounts {
  std::uint64_t whole{0};  // a PCID, or more than one
  std::uint64_t pages{0};
};

/// One CPU. Its own thread uses all of it; others use the mailbox and nothing else.
struct alignas(kCacheLine) Cpu {
  CpuId id{0};
  bool interrupts_enabled{false};
  bool in_interrupt{false};
  std::uint32_t preemption_off{0};
  std::uint64_t cr3{0};
  std::uint64_t cr4{0};
  std::uint64_t interrupts_taken{0};
  std::uint64_t pauses{0};
  /// State of the generator that decides where this CPU gives way.
  std::uint64_t random{0};
  TlbCounts counts{};
  Tlb tlb{};
  /// The call-function interrupt's mailbox. Interrupts that arrive while one is pending merge.
  alignas(kCacheLine) std::atomic<bool> call_pending{false};
};

class Processors {
 public:
  struct Setup {
    CpuId cpus{2};
    bool pcid{true};
    /// A CPU gives its processor away before one in so many shared accesses, chosen by a generator
    /// of its own; 0: never. So that more CPUs than the machine has meet everywhere.
    std::uint32_t yield_one_in{0};
    /// Ticks that each invalidation takes, for benchmarks: here it is only bookkeeping otherwise.
    std::uint64_t invalidation_ticks{0};
    /// CPU i stays on the i-th processor that the process may use, as far as there are that many.
    /// For benchmarks: the operating system may put threads that wait for each other on one.
    bool pinned{false};
    /// What each CPU does. It starts with interrupts off. When it returns, interrupts are on and
    /// are answered until all CPUs have returned.
    std::function<void(CpuId)> program;
    /// The call-function interrupt's handler.
    std::function<void()> interrupt;
  };

  /// Runs one thread for each CPU and returns when all have ended. One at a time in a process.
  void run(const Setup& setup);

  /// After a run, for checks.
  [[nodiscard]] const Cpu& cpu(CpuId id) const { return cpus_[id]; }

  // For the HAL, on a thread that is a CPU.

  void send(const CpuMask<kThreadCpus>& targets);
  void take_interrupts(Cpu& self);
  void give_way_sometimes(Cpu& self) const;
  /// What waits: the other threads may need this one's processor.
  static void pause(Cpu& self);
  /// The time that an invalidation takes.
  void spend() const;
  [[nodiscard]] bool yields() const { return setup_.yield_one_in != 0; }

 private:
  void run_cpu(CpuId id);

  Setup setup_{};
  std::array<Cpu, kThreadCpus> cpus_{};
  std::atomic<CpuId> unfinished_{0};
};

/// How many processors the calling thread may run on; not all of the machine's need be given to it.
[[nodiscard]] unsigned usable_processors();

/// The CPU that this thread is; null on any other thread, such as one that prepares a run.
inline constinit thread_local Cpu* this_thread = nullptr;

/// Those that run now. Written before the threads start and after they have ended.
inline constinit Processors* processors = nullptr;

}  // namespace shootdown::threads
