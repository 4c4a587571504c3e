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
#include "hal/x86_64/hal_for.h"
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

namespace internal {

/// What `HalFor` asks of a kernel, from this folder: per-CPU data behind GS, and the local APIC.
struct GsKernel {
  static constexpr CpuId kMaxCpus = x86::kMaxCpus;
  static CpuId this_cpu() { return x86::this_cpu(); }
  static void disable_preemption() { x86::disable_preemption(); }
  static void enable_preemption() { x86::enable_preemption(); }
  static bool in_interrupt() { return x86::in_interrupt(); }
  static void send_call_function_ipi(const CpuMask<kMaxCpus>& targets) {
    send_ipi(targets, kCallFunctionVector);
  }
  static void report_unanswered(const Unanswered& report) { platform_report_unanswered(report); }
  [[noreturn]] static void fail(const Failure& failure) { platform_fail(failure); }
};

}  // namespace internal

struct X86Hal : WithBroadcast<HalFor<internal::GsKernel>> {
  static void* cpu_pointer() { return x86::cpu_pointer(); }
  static void set_cpu_pointer(void* pointer) { x86::set_cpu_pointer(pointer); }

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
};

static_assert(HalKvm<X86Hal> && HalHyperv<X86Hal> && HalXen<X86Hal>);
static_assert(Hal<X86Hal> && HalBroadcast<X86Hal>);

}  // namespace shootdown::x86

#include "core/macros_end.inc"
