// Processors: descriptors, interrupts, the local APIC, and how the others start.
#include <array>
#include <atomic>

#include "examples/kernel_cpp/kernel.h"
#include "hal/x86_64/instructions.h"
#include "kernel-glue/kernel/layout.h"

extern "C" {
extern char boot_pml4[];
extern char trampoline_begin[];
extern char trampoline_end[];
/// Top of the stack of the CPU that is starting; trampoline.S.
void* starting_cpu_stack = nullptr;
}

namespace example {

namespace sd = shootdown;
namespace x86 = shootdown::x86;

constinit CpuId cpu_count = 1;

namespace {

constexpr std::uint32_t kApicBase = 0x1b;
constexpr std::uint32_t kX2apicId = 0x802;
constexpr std::uint32_t kX2apicEoi = 0x80b;
constexpr std::uint32_t kX2apicSpurious = 0x80f;
constexpr std::uint32_t kX2apicCommand = 0x830;
constexpr std::uint32_t kGsBase = 0xc000'0101;

constinit std::array<PerCpu, kMaxCpus> cpus{};
constinit char stacks[kMaxCpus][SHOOTDOWN_STACK_BYTES] __attribute__((aligned(16))){};
constinit CpuId starting_cpu = 0;
constinit Hal::Atomic<CpuId> online{0};

// ---- Interrupts. The compiler saves registers; this kernel has no user mode.

struct Frame {
  std::uint64_t rip, cs, rflags, rsp, ss;
};

__attribute__((interrupt)) void on_call_function(Frame* /*frame*/) {
  add_to_gs<offsetof(PerCpu, interrupt_depth)>(1);
  // First: a call that comes during the handler is a new interrupt.
  x86::write_msr(kX2apicEoi, 0);
  sd::handle_call_function_interrupt(machine);
  add_to_gs<offsetof(PerCpu, interrupt_depth)>(~0U);
}

/// A page is away for a moment: the access is tried again, and interrupts arrive before it.
__attribute__((interrupt)) void on_page_fault(Frame* frame, std::uint64_t error) {
  std::uint64_t address;
  asm volatile("movq %%cr2, %0" : "=r"(address));
  const bool interrupts_were_on = (frame->rflags & 0x200) != 0;
  if ((error & 1) != 0 || address >= kDirectMap || !interrupts_were_on) die("page fault");
}

__attribute__((interrupt)) void on_spurious(Frame* /*frame*/) {}
__attribute__((interrupt)) void on_exception(Frame* /*frame*/) { die("exception"); }

struct Gate {
  std::uint16_t low, selector, type, middle;
  std::uint32_t high, zero;
};

constinit std::array<Gate, 256> idt{};
constinit std::array<std::uint64_t, 3> gdt{0, 0x00af'9b00'0000'ffff, 0x00cf'9300'0000'ffff};

template <class Handler>
void set_gate(unsigned vector, Handler* handler) {
  const auto address = reinterpret_cast<std::uint64_t>(handler);
  idt[vector] = {.low = static_cast<std::uint16_t>(address),
                 .selector = 8,
                 .type = 0x8e00,  // interrupts are off in the handler
                 .middle = static_cast<std::uint16_t>(address >> 16),
                 .high = static_cast<std::uint32_t>(address >> 32),
                 .zero = 0};
}

struct __attribute__((packed)) Pointer {
  std::uint16_t limit;
  const void* base;
};

void load_descriptors() {
  const Pointer gdt_pointer{sizeof gdt - 1, &gdt};
  const Pointer idt_pointer{sizeof idt - 1, &idt};
  asm volatile(
      "lgdt %0; lidt %1; pushq $8; leaq 1f(%%rip), %%rax; pushq %%rax; lretq; 1:"
      "movl $16, %%eax; movw %%ax, %%ds; movw %%ax, %%es; movw %%ax, %%ss" ::"m"(gdt_pointer),
      "m"(idt_pointer)
      : "rax", "memory");
}

void set_gates() {
  for (unsigned vector = 0; vector < 32; ++vector) set_gate(vector, on_exception);
  set_gate(14, on_page_fault);
  set_gate(kCallFunctionVector, on_call_function);
  set_gate(0xff, on_spurious);
  x86::out8(0x21, 0xff);  // the legacy interrupt controllers stay silent
  x86::out8(0xa1, 0xff);
}

// ---- Each CPU

void enable_apic(CpuId number) {
  if ((x86::cpuid(1).ecx >> 21 & 1) == 0) die("this example needs an x2APIC");
  x86::write_msr(kApicBase, x86::read_msr(kApicBase) | 0xc00);
  x86::write_msr(kX2apicSpurious, 0x1ff);
  if (x86::read_msr(kX2apicId) != number) die("APIC numbers are not 0, 1, 2 ...");
}

/// What the processor has; CR4 of this CPU is set accordingly.
sd::Config detect() {
  sd::Config config;
  config.processor.pcid = (x86::cpuid(1).ecx >> 17 & 1) != 0;
  config.processor.invpcid = (x86::cpuid(7).ebx >> 10 & 1) != 0;
  config.processor.global_pages = false;  // boot.S makes no global entries
  config.limits.stall_limit = 1U << 14;   // an emulator is slow
  config.targets.target_test = sd::TargetTest::by_loaded_mm;
  if (config.processor.pcid) x86::write_cr4(x86::read_cr4() | sd::kCr4Pcid);
  return config;
}

/// The legacy timer's channel 2: 1,193 ticks are a millisecond.
void delay_milliseconds(unsigned milliseconds) {
  while (milliseconds-- > 0) {
    const auto gate = static_cast<std::uint8_t>(x86::in8(0x61) & 0xfc);
    x86::out8(0x61, gate);
    x86::out8(0x43, 0xb0);
    x86::out8(0x42, 1193 & 255);
    x86::out8(0x42, 1193 >> 8);
    x86::out8(0x61, gate | 1);
    while ((x86::in8(0x61) & 0x20) == 0) Hal::pause();
  }
}

}  // namespace

void start_this_cpu(CpuId number) {
  cpus[number].number = number;
  x86::write_msr(kGsBase, reinterpret_cast<std::uint64_t>(&cpus[number]));
  if (number == 0) set_gates();
  load_descriptors();
  enable_apic(number);
  const sd::Config config = detect();
  if (number == 0) {
    sd::initialize_system(machine, config, reinterpret_cast<std::uint64_t>(boot_pml4));
  }
  sd::initialize_cpu(machine);
  Hal::enable_interrupts();
}

void start_other_cpus(CpuId count) {
  auto* to = static_cast<char*>(at(SHOOTDOWN_TRAMPOLINE));
  for (const char* from = trampoline_begin; from < trampoline_end; ++from) *to++ = *from;
  cpu_count = count;
  for (CpuId cpu = 1; cpu < count; ++cpu) {
    starting_cpu = cpu;
    starting_cpu_stack = stacks[cpu] + SHOOTDOWN_STACK_BYTES;
    Hal::order_stores_before_ipi();
    x86::write_msr(kX2apicCommand, std::uint64_t{cpu} << 32 | 0x4500);  // INIT
    delay_milliseconds(10);
    x86::write_msr(kX2apicCommand,
                   std::uint64_t{cpu} << 32 | 0x4600 | (SHOOTDOWN_TRAMPOLINE >> 12));
    while (online.load(std::memory_order_acquire) != cpu) Hal::pause();
  }
}

}  // namespace example

/// trampoline.S goes here, on the stack of the CPU that starts.
extern "C" void start_other_cpu() {
  example::start_this_cpu(example::starting_cpu);
  example::online.store(example::starting_cpu, std::memory_order_release);
  example::run_other_cpu();
}
