// The example kernel in C++: its HAL, and what its files know of each other.
#pragma once

#include "core/shootdown.h"
#include "hal/x86_64/hal_for.h"

namespace example {

using shootdown::CpuId;

inline constexpr CpuId kMaxCpus = 8;
inline constexpr std::uint64_t kPage = 4096;
// All physical memory below 1 GiB is mapped here by boot.S.
inline constexpr std::uint64_t kDirectMap = 0xffff'8000'0000'0000;
inline constexpr std::uint8_t kCallFunctionVector = 0xf0;

// ---- main.cc

void print(const char* text);
void print(std::uint64_t number);
[[noreturn]] void stop(bool success);
[[noreturn]] void die(const char* what);
[[noreturn]] void run_other_cpu();

// ---- cpu.cc

/// What GS points to. Written by its own CPU only.
struct PerCpu {
  CpuId number{0};
  std::uint32_t interrupt_depth{0};   // handlers that it is in
  std::uint32_t preemption_depth{0};  // nothing preempts here; a scheduler would ask
};

extern CpuId cpu_count;

void start_this_cpu(CpuId number);
void start_other_cpus(CpuId count);

template <unsigned kOffset>
inline std::uint32_t read_gs() {
  std::uint32_t value;
  asm volatile("movl %%gs:%c1, %0" : "=r"(value) : "i"(kOffset));
  return value;
}
template <unsigned kOffset>
inline void add_to_gs(std::uint32_t amount) {
  asm volatile("addl %0, %%gs:%c1" ::"ir"(amount), "i"(kOffset) : "cc", "memory");
}

/// What only this kernel knows. All of it is inlined into the core.
struct Kernel {
  static constexpr CpuId kMaxCpus = example::kMaxCpus;
  static CpuId this_cpu() { return read_gs<offsetof(PerCpu, number)>(); }
  static void disable_preemption() { add_to_gs<offsetof(PerCpu, preemption_depth)>(1); }
  static void enable_preemption() { add_to_gs<offsetof(PerCpu, preemption_depth)>(~0U); }
  static bool in_interrupt() { return read_gs<offsetof(PerCpu, interrupt_depth)>() != 0; }
  static void send_call_function_ipi(const shootdown::CpuMask<kMaxCpus>& targets) {
    // x2APIC: a write of the command register for each. The core has ordered its stores before.
    for (CpuId cpu = 0; cpu < cpu_count; ++cpu) {
      if (!targets.test(cpu)) continue;
      asm volatile("wrmsr" ::"c"(0x830), "a"(kCallFunctionVector), "d"(cpu) : "memory");
    }
  }
  static void report_unanswered(const shootdown::Unanswered& report) {
    print("# a CPU does not answer: ");
    print(report.target);
    print("\n");
    if (report.last) die("a CPU is dead");
  }
  [[noreturn]] static void fail(const shootdown::Failure& failure) { die(failure.what); }
};

using Hal = shootdown::x86::HalFor<Kernel>;
static_assert(shootdown::Hal<Hal>);

extern shootdown::System<Hal> machine;

// ---- memory.cc

inline void* at(std::uint64_t physical) { return reinterpret_cast<void*>(kDirectMap + physical); }

void initialize_memory();
std::uint64_t allocate_frame();  // zeroed

/// An address space. Pages leave it by a batch: the entries go at once, and one flush comes for
/// all.
class Space {
 public:
  void initialize();
  void map(std::uint64_t address, std::uint64_t frame);
  /// Takes the page at each address of this space; they are free when this returns.
  void unmap(std::uint64_t first, unsigned pages);
  /// The same for the page table around the address, with all that it maps.
  void unmap_table(std::uint64_t address);
  void retire();

  shootdown::Mm<Hal> mm{};

 private:
  std::uint64_t* find(std::uint64_t address, unsigned level, bool make);

  std::uint64_t root_{0};
  Hal::Atomic<bool> locked_{false};
};

extern bool flush_is_left_out;

}  // namespace example
