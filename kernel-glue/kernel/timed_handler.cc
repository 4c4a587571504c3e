#include "kernel-glue/kernel/timed_handler.h"

#include <atomic>
#include <cstddef>

#include "hal/x86_64/atomic.h"
#include "hal/x86_64/instructions.h"
#include "hal/x86_64/local_apic.h"
#include "hal/x86_64/per_cpu.h"
#include "kernel-glue/kernel/cpus.h"
#include "kernel-glue/kernel/descriptors.h"
#include "kernel-glue/kernel/interrupts.h"

namespace shootdown::kernel {
namespace {

constexpr CpuId kTimedCpu = 1;

constinit std::uint64_t handler_ticks = 0;
constinit x86::Atomic<std::uint32_t> handler_runs{0};

// Of interrupt_entry.S.
extern "C" const std::byte call_function_entry[];
extern "C" const std::byte timed_call_function_entry[];

}  // namespace

extern "C" void handle_timed_call_function() {
  shift_phase(handler_runs.owner_load());
  const std::uint64_t begin = x86::read_tsc();
  handle_call_function();
  const std::uint64_t ticks = x86::read_tsc() - begin;
  if (x86::this_cpu() != kTimedCpu) return;
  handler_ticks += ticks;
  // Release: the sum is there for CPU 0, which acquires in `wait_for`.
  handler_runs.store(handler_runs.owner_load() + 1, std::memory_order_release);
}

TimedHandler::TimedHandler() {
  handler_ticks = 0;
  handler_runs.store(0, std::memory_order_relaxed);
  set_interrupt_entry(x86::kCallFunctionVector, timed_call_function_entry);
}

TimedHandler::~TimedHandler() {
  set_interrupt_entry(x86::kCallFunctionVector, call_function_entry);
}

void TimedHandler::wait_for(std::uint32_t count) {
  // Acquire, against the release of CPU 1 behind its sum.
  wait_until([=] { return handler_runs.load(std::memory_order_acquire) >= count; },
             "the timed handler");
}

std::uint64_t TimedHandler::sum() { return handler_ticks; }

}  // namespace shootdown::kernel
