// A port in C++ over HalFor, which library_test.py also compiles with one member missing.
#include "core/shootdown.h"
#include "hal/x86_64/hal_for.h"

namespace {

struct Kernel {
#ifndef WITHOUT_kMaxCpus
  static constexpr shootdown::CpuId kMaxCpus = 16;
#endif
#ifndef WITHOUT_this_cpu
  static shootdown::CpuId this_cpu() { return 0; }
#endif
#ifndef WITHOUT_disable_preemption
  static void disable_preemption() {}
#endif
  static void enable_preemption() {}
#ifndef WITHOUT_in_interrupt
  static bool in_interrupt() { return false; }
#endif
#ifndef WITHOUT_send_call_function_ipi
  static void send_call_function_ipi(const shootdown::CpuMask<16>& /*targets*/) {}
#endif
#ifndef WITHOUT_report_unanswered
  static void report_unanswered(const shootdown::Unanswered& /*report*/) {}
#endif
#ifndef WITHOUT_fail
  [[noreturn]] static void fail(const shootdown::Failure& /*failure*/) {
    for (;;) asm volatile("hlt");
  }
#endif
};

using MyHal = shootdown::x86::HalFor<Kernel>;
static_assert(shootdown::Hal<MyHal>);

constinit shootdown::System<MyHal> machine;
constinit shootdown::Mm<MyHal> space;

}  // namespace

extern "C" void port_flush() { static_cast<void>(shootdown::flush_tlb_mm(machine, space)); }
