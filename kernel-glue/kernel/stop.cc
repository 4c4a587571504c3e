#include "kernel-glue/kernel/stop.h"

#include <atomic>

#include "core/trace.h"
#include "hal/x86_64/atomic.h"
#include "hal/x86_64/platform.h"

namespace shootdown::kernel {
namespace {

/// Bochs' shutdown port. 'D' breaks into its debugger, whose command file then quits with success;
/// the word "Shutdown" ends it with failure.
constexpr std::uint16_t kBochsPort = 0x8900;

constinit x86::Atomic<bool> fatal_begun{false};
constinit x86::Atomic<const char*> current_activity{"boot"};

}  // namespace

void stop_machine(bool success) {
  x86::disable_interrupts();
  drain_console();
  const char* message = success ? "D" : "Shutdown";
  for (; *message != '\0'; ++message) {
    x86::out8(kBochsPort, static_cast<std::uint8_t>(*message));
  }
  for (;;) asm volatile("hlt");
}

void set_activity(const char* what) { current_activity.store(what, std::memory_order_relaxed); }

const char* internal::activity() { return current_activity.load(std::memory_order_relaxed); }

void internal::begin_fatal() {
  if (!fatal_begun.exchange(true, std::memory_order_acq_rel)) return;
  for (;;) asm volatile("hlt");
}

}  // namespace shootdown::kernel

namespace shootdown::x86 {

void platform_fail(const Failure& failure) {
  kernel::fatal("rule R", static_cast<std::uint64_t>(failure.rule), ": ", failure.what, " (",
                failure.where.file_name(), ":", std::uint64_t{failure.where.line()}, ")");
}

}  // namespace shootdown::x86
