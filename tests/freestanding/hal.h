// The HALs of the smallest port: facts of x86-64 from hal/x86_64, everything else from the kernel.
#pragma once

// Before any header of the standard library, which a kernel's macros would break.
#include "core/shootdown_all.h"
#include "hal/x86_64/atomic.h"
#include "hal/x86_64/instructions.h"
#include "hal/x86_64/invlpgb.h"

// What the kernel gives: the only names that a linked port leaves open (kernel.c).
extern "C" {
unsigned port_this_cpu();
void port_disable_preemption();
void port_enable_preemption();
int port_in_interrupt();
void port_send_interrupt(const std::uint64_t* words, unsigned count);
void port_report_unanswered(unsigned sender, unsigned target);
[[noreturn]] void port_fail(const char* what, const char* file, unsigned line);
std::uint64_t port_hypercall(unsigned operation, const void* argument);
}

namespace port {

namespace sd = shootdown;

/// The bare machine. Names of functions are in parentheses, because a kernel may have macros of
/// these names.
struct PlainHal {
  template <class T>
  using Atomic = sd::x86::Atomic<T>;
  static void(full_fence)() { asm volatile("mfence" ::: "memory"); }

  /// More than one word of a mask.
  static constexpr sd::CpuId kMaxCpus = 96;
  static sd::CpuId(this_cpu)() { return port_this_cpu(); }
  static void(disable_preemption)() { port_disable_preemption(); }
  static void(enable_preemption)() { port_enable_preemption(); }

  static bool(interrupts_enabled)() { return sd::x86::interrupts_enabled(); }
  static void(disable_interrupts)() { sd::x86::disable_interrupts(); }
  static void(enable_interrupts)() { sd::x86::enable_interrupts(); }
  static bool(in_interrupt)() { return port_in_interrupt() != 0; }

  static void(write_cr3)(std::uint64_t value) { sd::x86::write_cr3(value); }
  static std::uint64_t(read_cr3)() { return sd::x86::read_cr3(); }
  static void(invlpg)(sd::VirtAddr address) { sd::x86::invlpg(address); }
  static void(invpcid)(sd::InvpcidType type, std::uint64_t pcid, sd::VirtAddr address) {
    sd::x86::invpcid(type, pcid, address);
  }
  static void(write_cr4)(std::uint64_t value) { sd::x86::write_cr4(value); }
  static std::uint64_t(read_cr4)() { return sd::x86::read_cr4(); }

  static void(order_stores_before_ipi)() { asm volatile("mfence\n\tlfence" ::: "memory"); }
  static void(send_call_function_ipi)(const sd::CpuMask<kMaxCpus>& targets) {
    std::uint64_t words[sd::CpuMask<kMaxCpus>::kWords];
    for (unsigned i = 0; i < sd::CpuMask<kMaxCpus>::kWords; ++i) words[i] = targets.word(i);
    port_send_interrupt(words, sd::CpuMask<kMaxCpus>::kWords);
  }

  static void(pause)() { (sd::x86::pause)(); }
  static std::uint64_t(ticks)() { return sd::x86::read_tsc(); }
  static void(trace)(const sd::TraceEvent& /*event*/) {}
  static void(report_unanswered)(const sd::Unanswered& report) {
    port_report_unanswered(report.sender, report.target);
  }
  [[noreturn]] static void(fail)(const sd::Failure& failure) {
    port_fail(failure.what, failure.where.file_name(), failure.where.line());
  }
};

/// The same with every backend and with hardware broadcast.
struct FullHal : PlainHal {
  static void(invlpgb)(const sd::Invlpgb& what) { sd::x86::invlpgb(sd::x86::encode_invlpgb(what)); }
  static void(tlbsync)() { sd::x86::tlbsync(); }

  static constexpr bool kTakesBackends = true;

  static Atomic<std::uint8_t>&(vcpu_state)(sd::CpuId cpu) { return vcpus[cpu]; }

  static std::uint32_t(hyperv_processor)(sd::CpuId cpu) { return cpu; }
  static sd::HypervPage&(hyperv_input)() { return input; }
  static bool(hyperv_takes_sparse_sets)() { return true; }
  static std::uint64_t(hyperv_call)(std::uint64_t control) { return port_hypercall(0, &control); }

  static int(xen_operation)(const sd::XenOperation& operation) {
    return static_cast<int>(port_hypercall(1, &operation));
  }

  static sd::CpuMask<kMaxCpus>(bau_send)(const sd::BauMessage& message,
                                         const sd::CpuMask<kMaxCpus>& targets) {
    static_cast<void>(port_hypercall(2, &message));
    return targets;
  }
  static bool(bau_outstanding)() { return port_hypercall(3, nullptr) != 0; }
  static bool(bau_receive)(sd::BauMessage& message) { return port_hypercall(4, &message) != 0; }
  static void(bau_acknowledge)(const sd::BauMessage& message) {
    static_cast<void>(port_hypercall(5, &message));
  }
  static void(bau_open)() { static_cast<void>(port_hypercall(6, nullptr)); }
  static void(bau_close)() { static_cast<void>(port_hypercall(7, nullptr)); }

  // Defined in port.cc: a variable that several objects could define is a unique symbol under g++.
  static std::array<Atomic<std::uint8_t>, kMaxCpus> vcpus;
  static sd::HypervPage input;
};

static_assert(sd::Hal<PlainHal>);
static_assert(!sd::HalBroadcast<PlainHal> && !sd::HalParavirt<PlainHal>);
static_assert(sd::Hal<FullHal> && sd::HalBroadcast<FullHal>);
static_assert(sd::HalKvm<FullHal> && sd::HalHyperv<FullHal> && sd::HalXen<FullHal> &&
              sd::HalUvBau<FullHal>);

}  // namespace port
