// Bringing up the CPUs, and giving them work.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/types.h"
#include "hal/x86_64/instructions.h"
#include "hal/x86_64/per_cpu.h"
#include "kernel-glue/kernel/clock.h"
#include "kernel-glue/kernel/stop.h"

namespace shootdown::kernel {

/// Prepares what the boot CPU has of its own: per-CPU block, descriptors, interrupt table. First
/// thing after the console, because exception handlers need it.
void prepare_boot_cpu();

/// Where the boot CPU's stack ends.
[[nodiscard]] std::byte* boot_cpu_stack();

/// Takes the pages away on which a stack that overflows would go on. Context: boot CPU, on the
/// kernel's tables, before others start.
void guard_stacks();

/// The CPU below whose stack the address is; kNoCpu if it is no such page.
[[nodiscard]] CpuId guarded_cpu(VirtAddr address);

/// Starts the other CPUs of the firmware's list, one after the other. CPU 0 is the boot CPU.
/// Context: boot CPU, once; static keys are final.
void start_other_cpus();

[[nodiscard]] CpuId cpu_count();

/// Resets another CPU that has gone offline, and starts it again as it was started at first. The
/// job that it was in is over. Context: CPU 0.
void restart_cpu(CpuId cpu);

/// How long a condition may take before a wait is declared hopeless.
inline constexpr std::uint32_t kWaitMilliseconds = 40'000;

/// Something that is waited for goes on: a host with fewer cores than CPUs may take long over it.
/// Context: any.
void note_progress();

/// Has the wait that began at `begin` lasted for longer than that? Progress begins it anew, and the
/// watchdog with it.
[[nodiscard]] bool waited_too_long(std::uint64_t& begin, std::uint64_t& progress,
                                   std::uint32_t milliseconds);

/// Waits with `pause`. Ends the run, naming `what`, if the condition never comes true.
template <class Condition>
void wait_until(Condition&& condition, const char* what,
                std::uint32_t milliseconds = kWaitMilliseconds) {
  // Reading the clock at each poll would cost more than the polls.
  constexpr std::uint32_t kPollsBetween = 1024;
  std::uint64_t begin = x86::read_tsc();
  std::uint64_t progress = 0;
  for (std::uint32_t polls = 1; !condition(); ++polls) {
    if (polls % kPollsBetween == 0 && waited_too_long(begin, progress, milliseconds)) {
      fatal("CPU ", x86::this_cpu(), " waited too long for ", what);
    }
    x86::pause();
  }
}

/// Work for a CPU: a function and its argument.
struct Job {
  void (*run)(void* work);
  void* work;
};

/// Set with "break=early-wake": the interrupt goes before its reason is there, and may be lost.
extern constinit bool wakes_before_storing;

/// Gives `job` to another CPU, which must be idle. Context: CPU 0.
void start_job(CpuId cpu, Job job);

/// Waits until the CPU is idle again. What it wrote is visible afterwards.
void wait_for(CpuId cpu, std::uint32_t milliseconds = kWaitMilliseconds);

/// Starts `work(cpu)` on another CPU; `work` must outlive the matching `wait_for`.
template <class Work>
void start_on(CpuId cpu, Work& work) {
  start_job(cpu, {.run = [](void* object) { (*static_cast<Work*>(object))(x86::this_cpu()); },
                  .work = &work});
}

/// Runs `work(cpu)` on all CPUs at the same time, this one included, and waits for all.
template <class Work>
void run_on_all(Work& work) {
  for (CpuId cpu = 1; cpu < cpu_count(); ++cpu) start_on(cpu, work);
  work(x86::this_cpu());
  for (CpuId cpu = 1; cpu < cpu_count(); ++cpu) wait_for(cpu);
}

}  // namespace shootdown::kernel
