// The HAL on real x86-64 instructions.
//
// A kernel may derive from X86Hal and hide members, for instance to trace: the core is a template
// over the type and calls what it finds there.
#pragma once

// clang-format off
#include "core/macros_begin.inc"
// clang-format on

#include <cstdint>

#include "core/hal.h"
#include "hal/x86_64/atomic.h"
#include "hal/x86_64/instructions.h"
#include "hal/x86_64/invlpgb.h"
#include "hal/x86_64/local_apic.h"
#include "hal/x86_64/paravirt/hypercalls.h"
#include "hal/x86_64/per_cpu.h"
#include "hal/x86_64/platform.h"
#include "hal/x86_64/static_key.h"

namespace shootdown::x86 {

/// The core's plan, as `initialize_system` and `select_backend` make it.
extern constinit StaticKey is_common_key;
extern constinit StaticKey concurrent_key;
extern constinit StaticKey has_pcids_key;
extern constinit StaticKey one_half_key;

struct X86Hal {
  template <class T>
  using Atomic = x86::Atomic<T>;

  /// MFENCE and not a locked instruction: page-table accesses may pass the latter (SDM vol. 3,
  /// 9.1.2.2), and the contract names page walks.
  static void full_fence() { asm volatile("mfence" ::: "memory"); }

  static constexpr CpuId kMaxCpus = x86::kMaxCpus;
  static CpuId this_cpu() { return x86::this_cpu(); }
  static void* cpu_pointer() { return x86::cpu_pointer(); }
  static void set_cpu_pointer(void* pointer) { x86::set_cpu_pointer(pointer); }
  static void disable_preemption() { x86::disable_preemption(); }
  static void enable_preemption() { x86::enable_preemption(); }

  static bool interrupts_enabled() { return x86::interrupts_enabled(); }
  static void disable_interrupts() { x86::disable_interrupts(); }
  static void enable_interrupts() { x86::enable_interrupts(); }
  static bool in_interrupt() { return x86::in_interrupt(); }

  static void write_cr3(std::uint64_t cr3) { x86::write_cr3(cr3); }
  static std::uint64_t read_cr3() { return x86::read_cr3(); }
  static void invlpg(VirtAddr address) { x86::invlpg(address); }
  static void invpcid(InvpcidType type, std::uint64_t pcid, VirtAddr address) {
    x86::invpcid(type, pcid, address);
  }
  static void write_cr4(std::uint64_t value) { x86::write_cr4(value); }
  static std::uint64_t read_cr4() { return x86::read_cr4(); }

  static void invlpgb(const Invlpgb& what) { x86::invlpgb(encode_invlpgb(what)); }
  static void tlbsync() { x86::tlbsync(); }

  /// R11: orders every earlier store before a later ICR write. In x2APIC mode that write is a WRMSR
  /// that does not serialise (SDM vol. 3, 11.12.3), so the interrupt could overtake the stores that
  /// it announces. MFENCE waits until the stores are visible; LFENCE keeps the WRMSR, which is not
  /// a memory access, from starting before MFENCE is done. Without them the target finds its word
  /// of pending senders empty, and no sender of that word interrupts it again. The xAPIC's uncached
  /// store needs neither; the pair is kept there because two instructions are cheaper than another
  /// key.
  static void order_stores_before_ipi() { asm volatile("mfence\n\tlfence" ::: "memory"); }
  static void send_call_function_ipi(const CpuMask<kMaxCpus>& targets) {
    send_ipi(targets, kCallFunctionVector);
  }

  template <Question kQuestion>
  [[gnu::always_inline]] static bool key() {
    if constexpr (kQuestion == Question::is_common) return key_enabled<is_common_key>();
    if constexpr (kQuestion == Question::concurrent) return key_enabled<concurrent_key>();
    if constexpr (kQuestion == Question::has_pcids) return key_enabled<has_pcids_key>();
    if constexpr (kQuestion == Question::one_half) return key_enabled<one_half_key>();
  }
  static void set_key(Question question, bool on);

  static constexpr bool kTakesBackends = true;

  static Atomic<std::uint8_t>& vcpu_state(CpuId cpu) {
    return internal::paravirt.steal_times[cpu].preempted;
  }
  static std::uint32_t hyperv_processor(CpuId cpu) { return internal::paravirt.processors[cpu]; }
  static HypervPage& hyperv_input() { return internal::paravirt.inputs[this_cpu()]; }
  static bool hyperv_takes_sparse_sets() { return internal::paravirt.identity.hyperv_sparse_sets; }
  static std::uint64_t hyperv_call(std::uint64_t control) { return x86::hyperv_call(control); }
  static int xen_operation(const XenOperation& operation) { return x86::xen_operation(operation); }

  static void pause() { x86::pause(); }
  static std::uint64_t ticks() { return x86::read_tsc(); }
  static void report_unanswered(const Unanswered& report) { platform_report_unanswered(report); }
  /// Empty: an event is built from values at hand, so the compiler removes the call altogether.
  static void trace(const TraceEvent&) {}
  [[noreturn]] static void fail(const Failure& failure) { platform_fail(failure); }
};

static_assert(HalKvm<X86Hal> && HalHyperv<X86Hal> && HalXen<X86Hal>);
static_assert(Hal<X86Hal> && HalBroadcast<X86Hal>);

}  // namespace shootdown::x86

#include "core/macros_end.inc"
