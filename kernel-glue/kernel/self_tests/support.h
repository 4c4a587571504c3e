// What several self-tests need: recognisable frames, flushes that can be crippled, CPUs that spin
// in an address space.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "core/shootdown.h"
#include "kernel-glue/kernel/cpus.h"
#include "kernel-glue/kernel/tlb.h"
#include "kernel-glue/kernel/user_mode.h"
#include "kernel-glue/kernel/user_programs.h"
#include "kernel-glue/kernel/vm.h"

namespace shootdown::kernel {

/// Where the tests map their pages. The emulator's TLB is direct-mapped by page number; this is far
/// from the page numbers of kernel data (modulo the TLB's size), so nothing else evicts the entries
/// whose staleness the tests demonstrate.
inline constexpr VirtAddr kTestBase = 0x40'0070'0000;

[[nodiscard]] inline VirtAddr test_page(std::uint64_t index) {
  return kTestBase + index * kPageBytes;
}

/// A frame whose first word tells which one it is.
class MarkedFrame {
 public:
  MarkedFrame();
  ~MarkedFrame() { free_frame(address_); }
  MarkedFrame(const MarkedFrame&) = delete;
  MarkedFrame& operator=(const MarkedFrame&) = delete;

  [[nodiscard]] PhysAddr address() const { return address_; }
  [[nodiscard]] std::uint64_t marker() const { return marker_; }

 private:
  PhysAddr address_;
  std::uint64_t marker_;
};

/// The first word of the page at `address` of the loaded address space.
[[nodiscard]] inline std::uint64_t read_marker(VirtAddr address) {
  return *reinterpret_cast<const volatile std::uint64_t*>(address);
}

/// How much of a flush is carried out.
enum class Shootdown : std::uint8_t {
  complete,    // as the core does it
  local_only,  // this CPU only, around the core: as if no other CPU was told
};

/// What "complete" means in this boot, for user pages and for kernel pages. `local_only` with
/// "break=no-ipi" and "break=no-kernel-flush": then the tests must fail.
extern Shootdown ordinary_shootdown;
extern Shootdown kernel_shootdown;

/// What follows a change of the entries of `pages` pages from `start` on.
void flush_pages(AddressSpace& mm, VirtAddr start, std::uint64_t pages,
                 Shootdown how = ordinary_shootdown);

/// Does this emulator drop only the pages of a partial flush? It takes INVPCID of one address,
/// which page-table isolation needs, for INVPCID of everything.
[[nodiscard]] inline bool invalidates_single_pages() {
  const Config& config = tlb.config();
  return !(config.isolation.enabled && config.processor.pcid && config.processor.invpcid &&
           !config.isolation.defer_user_pages);
}

/// Does this machine keep an entry until something flushes it? QEMU may drop any at any time, and
/// names itself in CPUID.
[[nodiscard]] inline bool keeps_entries() {
  constexpr std::uint32_t kHypervisorLeaf = 0x4000'0000;
  constexpr std::uint32_t kTcg = 0x5447'4354;  // "TCGT"
  const bool is_virtual = (x86::cpuid(1).ecx >> 31 & 1) != 0;
  return !is_virtual || x86::cpuid(kHypervisorLeaf).ebx != kTcg;
}

/// Lets one other CPU run `work(cpu)` and waits. It halts afterwards, with interrupts on and the
/// address space still loaded: what an idle CPU looks like to a flusher.
template <class Work>
void run_on(CpuId cpu, Work work) {
  start_on(cpu, work);
  wait_for(cpu);
}

/// All CPUs except CPU 0.
[[nodiscard]] Mask other_cpus();

/// Lets an address space run user_programs.h: maps their code, and for each CPU of `cpus` a page of
/// its own, the stack included.
class UserPrograms {
 public:
  UserPrograms(AddressSpace& mm, const Mask& cpus);
  ~UserPrograms();
  UserPrograms(const UserPrograms&) = delete;
  UserPrograms& operator=(const UserPrograms&) = delete;

  /// Runs a program on this CPU, one of `cpus`, in the mm, which is loaded. It gets the address
  /// of its CPU's page and `argument`.
  [[nodiscard]] UserExit run(UserProgram program, std::uint64_t argument,
                             const UserServices& services = {}) const;

  /// The kernel's view of a CPU's page.
  [[nodiscard]] UserPage& page(CpuId cpu) const { return *direct_map<UserPage>(frames_[cpu]); }

 private:
  std::array<PhysAddr, x86::kMaxCpus> frames_{};
};

/// CPUs that have an address space loaded and spin in it in user mode. They never write CR3 between
/// construction and destruction, so only a shootdown makes them drop an entry.
class SpinningReaders {
 public:
  SpinningReaders(AddressSpace& mm, const Mask& cpus);
  ~SpinningReaders();
  SpinningReaders(const SpinningReaders&) = delete;
  SpinningReaders& operator=(const SpinningReaders&) = delete;

  /// Every reader reads the marker at `address` once; returns when all have.
  void read(VirtAddr address);

  /// Did every reader find `marker` in the latest `read`?
  [[nodiscard]] bool all_found(std::uint64_t marker) const;

  /// The work of one reader.
  void operator()(CpuId cpu);

 private:
  /// Tells every reader the next round, and waits for all.
  void ask(VirtAddr address);

  AddressSpace& mm_;
  Mask cpus_;
  UserPrograms programs_;
  std::uint64_t round_{0};
};

/// All CPUs meet here. For work of `run_on_all`; every CPU waits with interrupts on.
class Barrier {
 public:
  void wait();

 private:
  x86::Atomic<std::uint32_t> arrived_{0};
  x86::Atomic<std::uint32_t> phase_{0};
};

/// A small generator, for delays and orders that differ from CPU to CPU and not from run to run.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed * 0x9e37'79b9'7f4a'7c15 + 1) {}
  std::uint64_t below(std::uint64_t bound);

 private:
  std::uint64_t state_;
};

/// The core's counters of a CPU that is not flushing now.
[[nodiscard]] inline Counters counters_of(CpuId cpu) { return tlb.cpus[cpu].own.counters; }

}  // namespace shootdown::kernel
