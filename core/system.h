// All state of the flush core for one multiprocessor.
#pragma once

#include <array>
#include <atomic>

#include "core/cpu_state.h"
#include "core/cross_call.h"
#include "core/mm.h"
#include "core/trace.h"
#include "core/types.h"

namespace shootdown {

/// Fixed after boot. All combinations give the same correctness; they differ in cost only.
struct Config {
  /// CR4.PCIDE is on: slots keep their entries across switches.
  bool pcid{true};
  /// More strides than this become a flush of the whole context. 0 forces that for every request.
  std::uint32_t ceiling_strides{33};
};

/// CR3 bit 63: keep the entries of the PCID being loaded (SDM vol. 3, 4.10.4.1).
inline constexpr std::uint64_t kCr3KeepEntries = std::uint64_t{1} << 63;

template <Hal H>
struct System {
  Config config{};
  /// The kernel's own address space, the refuge of CPUs that leave a dying one.
  Mm<H> kernel_mm{};
  std::array<CpuState<H>, H::kMaxCpus> cpus{};
  CrossCall<H> calls{};
  /// Next identity to give out. 1 is the kernel's own space.
  typename H::template Atomic<ContextId> next_context{2};

  /// This CPU's state. Context: interrupts off, or preemption off where only this CPU's thread can
  /// change what is read.
  [[nodiscard]] CpuState<H>& self() { return cpus[H::this_cpu()]; }

  /// A fresh identity. 64 bits never wrap in a machine's lifetime.
  [[nodiscard]] ContextId allocate_context() {
    return next_context.fetch_add(1, std::memory_order_relaxed);
  }
};

/// Prepares the shared part, once, on the first CPU, before any other call.
template <Hal H>
void initialize_system(System<H>& system, const Config& config, PhysAddr kernel_root) {
  system.config = config;
  system.kernel_mm.initialize(1, kernel_root, /*kernel=*/true);
}

/// The value that CR3 has while `mm` is loaded in `slot`, without the keep bit.
template <Hal H>
[[nodiscard]] std::uint64_t cr3_value(const System<H>& system, const Mm<H>& mm, Slot slot) {
  return mm.root | (system.config.pcid ? std::uint64_t{slot} + 1 : 0);
}

}  // namespace shootdown
