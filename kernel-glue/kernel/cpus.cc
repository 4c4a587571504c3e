#include "kernel-glue/kernel/cpus.h"

#include <array>
#include <atomic>
#include <cstddef>

#include "hal/x86_64/features.h"
#include "hal/x86_64/local_apic.h"
#include "hal/x86_64/paravirt/hypercalls.h"
#include "hal/x86_64/per_cpu.h"
#include "kernel-glue/kernel/acpi.h"
#include "kernel-glue/kernel/clock.h"
#include "kernel-glue/kernel/descriptors.h"
#include "kernel-glue/kernel/entry_area.h"
#include "kernel-glue/kernel/interrupts.h"
#include "kernel-glue/kernel/page_table.h"
#include "kernel-glue/kernel/tlb.h"

namespace shootdown::kernel {
namespace {

struct alignas(kPageBytes) Cpu {
  /// Set by the CPU when it can take jobs.
  x86::Atomic<bool> online{false};
  /// CPU 0 stores a job with release; the CPU clears it with release when it has run.
  x86::Atomic<Job*> job{nullptr};
  Job job_storage{};
  std::uint32_t apic_id{0};
  /// Not mapped.
  alignas(kPageBytes) std::byte guard[kPageBytes]{};
  std::byte stack[SHOOTDOWN_STACK_BYTES]{};
};

constinit std::array<Cpu, x86::kMaxCpus> cpus{};
constinit CpuId started = 1;
constinit x86::Atomic<std::uint64_t> progress_made{0};

/// Where real-mode code and tables can name it; trampoline.S.
extern "C" const std::byte trampoline_begin[];
extern "C" const std::byte trampoline_end[];

/// What every CPU does first: from here on `this_cpu` works and exceptions are reported.
void prepare_cpu(CpuId index) {
  EntryArea& area = entry_areas[index];
  area.per_cpu.cpu = index;
  load_descriptors(area);
  x86::install_per_cpu(area.per_cpu);
  load_interrupt_table();
}

[[noreturn]] void run_jobs(Cpu& cpu) {
  for (;;) {
    x86::disable_interrupts();
    // Interrupts are off between the look and the halt, so a wake-up in between ends the halt.
    Job* job = cpu.job.load(std::memory_order_acquire);
    if (job == nullptr) {
      x86::enable_interrupts_and_halt();
      continue;
    }
    x86::enable_interrupts();
    job->run(job->work);
    if (!x86::interrupts_enabled() || x86::preemption_depth() != 0 || x86::interrupt_depth() != 0) {
      fatal("a job on CPU ", x86::this_cpu(), " left interrupts or preemption off");
    }
    cpu.job.store(nullptr, std::memory_order_release);
  }
}

void copy_trampoline() {
  const auto bytes = static_cast<std::size_t>(trampoline_end - trampoline_begin);
  __builtin_memcpy(direct_map<void>(SHOOTDOWN_TRAMPOLINE), trampoline_begin, bytes);
}

}  // namespace

extern "C" {
/// Top of the stack of the CPU that is starting; the trampoline loads it.
constinit std::byte* starting_cpu_stack = nullptr;
}

namespace {

/// Index of the CPU that is starting.
constinit CpuId starting_cpu = 0;

/// Sends the start-up message, twice if the first is lost, and waits (SDM vol. 3, 9.4.4).
void start_cpu(CpuId index) {
  constexpr int kTries = 2;
  starting_cpu_stack = cpus[index].stack + sizeof(Cpu::stack);
  starting_cpu = index;
  for (int i = 0; i < kTries && !cpus[index].online.load(std::memory_order_acquire); ++i) {
    x86::X86Hal::order_stores_before_ipi();
    x86::send_startup(cpus[index].apic_id, SHOOTDOWN_TRAMPOLINE >> kPageShift);
    delay_microseconds(200);
  }
  wait_until([&] { return cpus[index].online.load(std::memory_order_acquire); },
             "another CPU to start");
}

}  // namespace

/// The trampoline's target, on the new CPU's own stack and the boot tables.
extern "C" [[noreturn]] void start_other_cpu() {
  const CpuId index = starting_cpu;
  x86::write_cr3(kernel_tables().root());
  prepare_cpu(index);
  x86::enable_local_apic(index);
  x86::enable_translation_features(x86::detect_features());
  initialize_tlb_on_this_cpu();
  cpus[index].online.store(true, std::memory_order_release);
  run_jobs(cpus[index]);
}

void prepare_boot_cpu() {
  prepare_interrupts();
  prepare_cpu(0);
}

void start_other_cpus() {
  const CpuList found = find_cpus();
  const std::uint32_t boot_apic_id = x86::local_apic_id();
  copy_trampoline();
  for (std::size_t i = 0; i < found.count; ++i) {
    if (found.apic_ids[i] != boot_apic_id) x86::send_init(found.apic_ids[i]);
  }
  delay_microseconds(10'000);
  for (std::size_t i = 0; i < found.count; ++i) {
    if (found.apic_ids[i] == boot_apic_id) continue;
    cpus[started].apic_id = found.apic_ids[i];
    start_cpu(started++);
  }
  if (found.left_out != 0) {
    print("# ", found.left_out, " CPUs are left out: the kernel serves ", x86::kMaxCpus, "\n");
  }
}

constinit bool wakes_before_storing = false;

void note_progress() {
  progress_made.fetch_add(1, std::memory_order_relaxed);
  // What CPU 0 does itself is progress as well, while no wait of its own looks.
  if (x86::this_cpu() == 0) restart_watchdog();
}

bool waited_too_long(std::uint64_t& begin, std::uint64_t& progress, std::uint32_t milliseconds) {
  const std::uint64_t now = x86::read_tsc();
  if (now - begin <= ticks_in(milliseconds)) return false;
  const std::uint64_t latest = progress_made.load(std::memory_order_relaxed);
  if (latest == progress) return true;
  progress = latest;
  begin = now;
  if (x86::this_cpu() == 0) restart_watchdog();
  return false;
}

std::byte* boot_cpu_stack() { return cpus[0].stack + sizeof(Cpu::stack); }

void guard_stacks() {
  for (Cpu& cpu : cpus) {
    const auto guard = reinterpret_cast<VirtAddr>(cpu.guard);
    set_entry(kernel_tables().page_entry(guard, kPresent | kWritable), 0);
    x86::invlpg(guard);
  }
}

CpuId guarded_cpu(VirtAddr address) {
  for (CpuId cpu = 0; cpu < cpus.size(); ++cpu) {
    const VirtAddr below = address - reinterpret_cast<VirtAddr>(cpus[cpu].guard);
    if (below < kPageBytes) return cpu;
  }
  return kNoCpu;
}

CpuId cpu_count() { return started; }

void restart_cpu(CpuId index) {
  x86::send_init(cpus[index].apic_id);
  cpus[index].online.store(false, std::memory_order_relaxed);
  cpus[index].job.store(nullptr, std::memory_order_relaxed);
  entry_areas[index].per_cpu = {};
  delay_microseconds(10'000);
  start_cpu(index);
}

void start_job(CpuId index, Job job) {
  Cpu& cpu = cpus[index];
  if (cpu.job.load(std::memory_order_acquire) != nullptr)
    fatal("CPU ", index, " has a job already");
  cpu.job_storage = job;
  if (wakes_before_storing) send_wake(index);
  cpu.job.store(&cpu.job_storage, std::memory_order_release);
  if (!wakes_before_storing) send_wake(index);
}

void wait_for(CpuId index, std::uint32_t milliseconds) {
  wait_until([&] { return cpus[index].job.load(std::memory_order_acquire) == nullptr; },
             "a job on another CPU", milliseconds);
}

}  // namespace shootdown::kernel
