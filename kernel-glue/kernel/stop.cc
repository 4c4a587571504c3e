#include "kernel-glue/kernel/stop.h"

#include <array>
#include <atomic>

#include "core/trace.h"
#include "hal/x86_64/atomic.h"
#include "hal/x86_64/local_apic.h"
#include "hal/x86_64/platform.h"
#include "kernel-glue/kernel/cpus.h"
#include "kernel-glue/kernel/tlb.h"

namespace shootdown::kernel {
namespace {

/// Bochs' shutdown port. 'D' breaks into its debugger, whose command file then quits with success;
/// the word "Shutdown" ends it with failure.
constexpr std::uint16_t kBochsPort = 0x8900;

/// The CPU that reports, plus 1.
constinit x86::Atomic<std::uint64_t> fatal_cpu{0};
/// Where each other CPU was stopped.
constinit std::array<x86::Atomic<std::uint64_t>, x86::kMaxCpus> stopped_at{};
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

namespace {

/// CPUs that print, or hold what the report needs, go no further. One that does not answer, such as
/// one that waits in an NMI already, is left alone after a while.
void stop_others() {
  constexpr std::uint64_t kPauses = 100'000;
  for (CpuId cpu = 0; cpu < cpu_count(); ++cpu) {
    if (cpu == x86::this_cpu()) continue;
    x86::send_nmi(cpu);
    for (std::uint64_t pauses = 0; pauses < kPauses; ++pauses) {
      if (stopped_at[cpu].load(std::memory_order_acquire) != 0) break;
      x86::pause();
    }
  }
}

}  // namespace

void internal::begin_fatal() {
  const std::uint64_t self = std::uint64_t{x86::this_cpu()} + 1;
  std::uint64_t first = 0;
  if (fatal_cpu.compare_exchange(first, self, std::memory_order_acq_rel)) return stop_others();
  if (first == self) {
    put("\nFATAL: another error while a fatal one is reported, on CPU ");
    put(self - 1);
    put("\n");
    stop_machine(false);
  }
  for (;;) asm volatile("hlt");
}

void internal::print_stopped() {
  for (CpuId cpu = 0; cpu < cpu_count(); ++cpu) {
    const auto& own = tlb.cpus[cpu].own;
    const std::uint64_t rip = stopped_at[cpu].load(std::memory_order_relaxed);
    const Mm* loaded = own.loaded_mm.load(std::memory_order_relaxed);
    print("# CPU ", cpu, ": ");
    if (rip != 0) {
      print("at rip ", Hex{rip});
    } else {
      print(cpu == x86::this_cpu() ? "reports" : "does not stop");
    }
    print(", mm ", Hex{reinterpret_cast<std::uint64_t>(loaded)}, " in ASID ", own.loaded_asid,
          tlb.cpus[cpu].shared.is_lazy.load(std::memory_order_relaxed) ? ", lazy" : "");
    if (loaded != nullptr) print(", mask of the mm ", Hex{loaded->cpus.read().word(0)});
    print("\n");
  }
}

bool fatal_has_begun() { return fatal_cpu.load(std::memory_order_acquire) != 0; }

void stay_stopped(std::uint64_t rip) {
  stopped_at[x86::this_cpu()].store(rip, std::memory_order_release);
  for (;;) asm volatile("cli; hlt");
}

}  // namespace shootdown::kernel

namespace shootdown::x86 {

void platform_fail(const Failure& failure) {
  kernel::fatal("rule R", static_cast<std::uint64_t>(failure.rule), ": ", failure.what, " (",
                failure.where.file_name(), ":", std::uint64_t{failure.where.line()}, ")");
}

}  // namespace shootdown::x86
