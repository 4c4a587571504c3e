// The HAL of a kernel that has said what only a kernel knows.
//
// Of what the core asks of a machine most is a fact of x86-64 and in this file. The rest is the
// kernel's, a type of its own with static members:
//
//   struct MyKernel {
//     static constexpr CpuId kMaxCpus = 64;
//     static CpuId this_cpu();               // stable while preemption or interrupts are off
//     static void disable_preemption();      // nests
//     static void enable_preemption();
//     static bool in_interrupt();            // true in handlers of interrupts and NMIs
//     static void send_call_function_ipi(const CpuMask<kMaxCpus>& targets);
//     static void report_unanswered(const Unanswered& report);
//     [[noreturn]] static void fail(const Failure& failure);
//   };
//   using MyHal = x86::HalFor<MyKernel>;
//
// A kernel may add `trace(const TraceEvent&)`. One that has static keys, a per-CPU pointer or a
// cheaper way to do something derives from HalFor and adds or hides that member; `WithBroadcast` is
// such a type. Each member that is missing or has another type is told by name.
#pragma once

// clang-format off
#include "core/macros_begin.inc"
// clang-format on

#include <concepts>
#include <cstdint>

#include "core/hal.h"
#include "hal/x86_64/atomic.h"
#include "hal/x86_64/instructions.h"
#include "hal/x86_64/invlpgb.h"

namespace shootdown::x86 {

namespace internal {

/// Whether the kernel says how many CPUs there are. Asked first: other members name the number.
template <class Kernel>
concept SaysMaxCpus = requires {
  { Kernel::kMaxCpus } -> std::convertible_to<CpuId>;
};

template <class Kernel>
concept SaysThisCpu = requires {
  { Kernel::this_cpu() } -> std::same_as<CpuId>;
};

template <class Kernel>
concept HasPreemption = requires {
  Kernel::disable_preemption();
  Kernel::enable_preemption();
};

template <class Kernel>
concept SaysInInterrupt = requires {
  { Kernel::in_interrupt() } -> std::same_as<bool>;
};

template <class Kernel>
concept SendsInterrupts =
    requires(const CpuMask<Kernel::kMaxCpus>& targets) { Kernel::send_call_function_ipi(targets); };

template <class Kernel>
concept TakesReports =
    requires(const Unanswered& unanswered) { Kernel::report_unanswered(unanswered); };

template <class Kernel>
concept TakesFailures = requires(const Failure& failure) { Kernel::fail(failure); };

template <class Kernel>
concept Traces = requires(const TraceEvent& event) { Kernel::trace(event); };

}  // namespace internal

template <class Kernel>
struct HalFor {
  static_assert(internal::SaysMaxCpus<Kernel>,
                "this kernel needs `static constexpr CpuId kMaxCpus`: CPU numbers are below it");
  static_assert(internal::SaysThisCpu<Kernel>,
                "this kernel needs `static CpuId this_cpu()`: the number of the CPU that calls it");
  static_assert(internal::HasPreemption<Kernel>,
                "this kernel needs `static void disable_preemption()` and `enable_preemption()`: "
                "in between the thread stays on its CPU. They nest");
  static_assert(internal::SaysInInterrupt<Kernel>,
                "this kernel needs `static bool in_interrupt()`: whether this is a handler of an "
                "interrupt or an NMI");
  static_assert(internal::SendsInterrupts<Kernel>,
                "this kernel needs `static void send_call_function_ipi(const CpuMask<kMaxCpus>&)`: "
                "sends the interrupt whose handler calls handle_call_function_interrupt");
  static_assert(internal::TakesReports<Kernel>,
                "this kernel needs `static void report_unanswered(const Unanswered&)`: tells that "
                "a CPU does not answer");
  static_assert(internal::TakesFailures<Kernel>,
                "this kernel needs `[[noreturn]] static void fail(const Failure&)`: tells of a "
                "broken promise and stops the machine");

  template <class T>
  using Atomic = x86::Atomic<T>;

  /// MFENCE and not a locked instruction: page-table accesses may pass the latter (SDM vol. 3,
  /// 9.1.2.2), and the contract names page walks.
  static void full_fence() { asm volatile("mfence" ::: "memory"); }

  static constexpr CpuId kMaxCpus = Kernel::kMaxCpus;
  static CpuId this_cpu() { return Kernel::this_cpu(); }
  static void disable_preemption() { Kernel::disable_preemption(); }
  static void enable_preemption() { Kernel::enable_preemption(); }

  static bool interrupts_enabled() { return x86::interrupts_enabled(); }
  static void disable_interrupts() { x86::disable_interrupts(); }
  static void enable_interrupts() { x86::enable_interrupts(); }
  static bool in_interrupt() { return Kernel::in_interrupt(); }

  static void write_cr3(std::uint64_t value) { x86::write_cr3(value); }
  static std::uint64_t read_cr3() { return x86::read_cr3(); }
  static void invlpg(VirtAddr address) { x86::invlpg(address); }
  static void invpcid(InvpcidType type, std::uint64_t pcid, VirtAddr address) {
    x86::invpcid(type, pcid, address);
  }
  static void write_cr4(std::uint64_t value) { x86::write_cr4(value); }
  static std::uint64_t read_cr4() { return x86::read_cr4(); }

  /// R11: orders every earlier store before a later ICR write. In x2APIC mode that write is a WRMSR
  /// that does not serialise (SDM vol. 3, 11.12.3), so the interrupt could overtake the stores that
  /// it announces. MFENCE waits until the stores are visible; LFENCE keeps the WRMSR, which is not
  /// a memory access, from starting before MFENCE is done. Without them the target finds its word
  /// of pending senders empty, and no sender of that word interrupts it again. The xAPIC's uncached
  /// store needs neither; the pair is kept there because two instructions are cheaper than a look
  /// at the mode.
  static void order_stores_before_ipi() { asm volatile("mfence\n\tlfence" ::: "memory"); }
  static void send_call_function_ipi(const CpuMask<kMaxCpus>& targets) {
    Kernel::send_call_function_ipi(targets);
  }

  static void pause() { x86::pause(); }
  static std::uint64_t ticks() { return x86::read_tsc(); }
  /// Empty unless the kernel traces: an event is built from values at hand, so the compiler then
  /// removes the call altogether.
  static void trace(const TraceEvent& event) {
    if constexpr (internal::Traces<Kernel>) {
      Kernel::trace(event);
    } else {
      static_cast<void>(event);
    }
  }
  static void report_unanswered(const Unanswered& report) { Kernel::report_unanswered(report); }
  [[noreturn]] static void fail(const Failure& failure) {
    Kernel::fail(failure);
    for (;;) asm volatile("cli; hlt");  // a kernel that only prints
  }
};

/// The same for processors that may have INVLPGB, which the configuration tells. The kernel
/// includes core/broadcast.h.
template <class H>
struct WithBroadcast : H {
  static void invlpgb(const Invlpgb& what) { x86::invlpgb(encode_invlpgb(what)); }
  static void tlbsync() { x86::tlbsync(); }
};

}  // namespace shootdown::x86

#include "core/macros_end.inc"
