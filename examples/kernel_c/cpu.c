/* Processors: descriptors, interrupts, the local APIC, and how the others start. */
#include "examples/kernel_c/kernel.h"
#include "kernel-glue/kernel/layout.h"

#define CR4_PCIDE (1ULL << 17)
#define APIC_BASE 0x1b
#define X2APIC_ID 0x802
#define X2APIC_EOI 0x80b
#define X2APIC_SPURIOUS 0x80f
#define X2APIC_COMMAND 0x830
#define GS_BASE 0xc0000101u

uint32_t cpu_count = 1;

static struct cpu cpus[SD_MAX_CPUS];
static uint8_t stacks[SD_MAX_CPUS][SHOOTDOWN_STACK_BYTES] __attribute__((aligned(16)));

/* For trampoline.S, and the CPU that is starting. */
void* starting_cpu_stack;
static uint32_t starting_cpu;
static volatile uint32_t online;

static void write_msr(uint32_t msr, uint64_t value) {
  __asm__ volatile("wrmsr" ::"c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32))
                   : "memory");
}
static uint64_t read_msr(uint32_t msr) {
  uint32_t low, high;
  __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
  return (uint64_t)high << 32 | low;
}
static void cpuid(uint32_t leaf, uint32_t r[4]) {
  __asm__ volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(leaf), "c"(0));
}

uint32_t this_cpu(void) {
  uint32_t number;
  __asm__ volatile("movl %%gs:%c1, %0" : "=r"(number) : "i"(offsetof(struct cpu, number)));
  return number;
}

/* ---- Interrupts. The compiler saves registers; this kernel has no user mode. */

struct frame {
  uint64_t rip, cs, rflags, rsp, ss;
};

#define ENTER() \
  __asm__ volatile("incl %%gs:%c0" ::"i"(offsetof(struct cpu, interrupt_depth)) : "memory")
#define LEAVE() \
  __asm__ volatile("decl %%gs:%c0" ::"i"(offsetof(struct cpu, interrupt_depth)) : "memory")

__attribute__((interrupt)) static void on_call_function(struct frame* frame) {
  (void)frame;
  ENTER();
  write_msr(X2APIC_EOI, 0); /* first: a call that comes during the handler is a new interrupt */
  sd_handle_interrupt(&machine);
  LEAVE();
}

/* A page is away for a moment: the access is tried again, and interrupts arrive before it. */
__attribute__((interrupt)) static void on_page_fault(struct frame* frame, uint64_t error) {
  uint64_t address;
  __asm__ volatile("movq %%cr2, %0" : "=r"(address));
  if ((error & 1) || address >= DIRECT_MAP || !(frame->rflags & 0x200)) die("page fault");
}

__attribute__((interrupt)) static void on_spurious(struct frame* frame) { (void)frame; }
static void exception(const struct frame* frame, const char* what) {
  print("# rip=");
  print_number(frame->rip);
  print("\n");
  die(what);
}
__attribute__((interrupt)) static void on_exception(struct frame* frame) {
  exception(frame, "exception");
}
__attribute__((interrupt)) static void on_protection(struct frame* frame, uint64_t error) {
  (void)error;
  exception(frame, "exception with an error code");
}

static uint64_t gdt[3] = {0, 0x00af9b000000ffff, 0x00cf93000000ffff};
static struct {
  uint16_t low, selector, type, middle;
  uint32_t high, zero;
} idt[256];

static void set_gate(unsigned vector, const void* handler) {
  uint64_t address = (uint64_t)handler;
  idt[vector].low = (uint16_t)address;
  idt[vector].selector = 8;
  idt[vector].type = 0x8e00; /* an interrupt gate: interrupts are off in the handler */
  idt[vector].middle = (uint16_t)(address >> 16);
  idt[vector].high = (uint32_t)(address >> 32);
}

static void load_descriptors(void) {
  struct __attribute__((packed)) {
    uint16_t limit;
    uint64_t base;
  } gdt_pointer = {sizeof gdt - 1, (uint64_t)gdt}, idt_pointer = {sizeof idt - 1, (uint64_t)idt};
  __asm__ volatile(
      "lgdt %0; lidt %1; pushq $8; leaq 1f(%%rip), %%rax; pushq %%rax; lretq; 1:"
      "movl $16, %%eax; movw %%ax, %%ds; movw %%ax, %%es; movw %%ax, %%ss" ::"m"(gdt_pointer),
      "m"(idt_pointer)
      : "rax", "memory");
}

/* ---- Each CPU */

static void enable_apic(uint32_t number) {
  uint32_t r[4];
  cpuid(1, r);
  if (!(r[2] >> 21 & 1)) die("this example needs an x2APIC");
  write_msr(APIC_BASE, read_msr(APIC_BASE) | 0xc00);
  write_msr(X2APIC_SPURIOUS, 0x1ff);
  if (read_msr(X2APIC_ID) != number) die("APIC numbers are not 0, 1, 2 ...");
}

/* What the processor has, as the library wants to know it. Sets CR4 accordingly. */
static sd_config detect(void) {
  sd_config config = SD_CONFIG;
  uint32_t r[4];
  uint64_t cr4;
  cpuid(1, r);
  config.pcid = r[2] >> 17 & 1;
  cpuid(7, r);
  config.invpcid = r[1] >> 10 & 1;
  config.stall_limit = 1 << 14; /* an emulator is slow, and this kernel never blocks for long */
  config.global_pages = 0;      /* boot.S makes no global entries */
  __asm__ volatile("movq %%cr4, %0" : "=r"(cr4));
  if (config.pcid) cr4 |= CR4_PCIDE;
  __asm__ volatile("movq %0, %%cr4" ::"r"(cr4) : "memory");
  return config;
}

uint64_t kernel_root(void) {
  extern char boot_pml4[];
  return (uint64_t)boot_pml4;
}

void start_this_cpu(uint32_t number) {
  cpus[number].number = number;
  write_msr(GS_BASE, (uint64_t)&cpus[number]);
  if (number == 0) {
    out8(0x21, 0xff); /* the legacy interrupt controllers stay silent */
    out8(0xa1, 0xff);
    for (unsigned vector = 0; vector < 32; ++vector) set_gate(vector, (void*)on_exception);
    for (unsigned vector = 8; vector < 14; ++vector) {
      if (vector != 9) set_gate(vector, (void*)on_protection);
    }
    set_gate(14, (void*)on_page_fault);
    set_gate(CALL_FUNCTION_VECTOR, (void*)on_call_function);
    set_gate(0xff, (void*)on_spurious);
  }
  load_descriptors();
  enable_apic(number);
  sd_config config = detect();
  if (number == 0) sd_init(&machine, &config, kernel_root());
  sd_cpu_online(&machine);
  __asm__ volatile("sti");
}

/* trampoline.S goes here, on the stack of the CPU that starts. */
void start_other_cpu(void) {
  start_this_cpu(starting_cpu);
  online = starting_cpu;
  run_other_cpu();
}

/* The legacy timer's channel 2: 1,193 ticks are a millisecond. */
static void delay_milliseconds(uint32_t milliseconds) {
  while (milliseconds-- > 0) {
    const uint8_t gate = in8(0x61) & 0xfc;
    out8(0x61, gate);
    out8(0x43, 0xb0);
    out8(0x42, 1193 & 255);
    out8(0x42, 1193 >> 8);
    out8(0x61, gate | 1);
    while (!(in8(0x61) & 0x20)) pause();
  }
}

void start_other_cpus(uint32_t count) {
  extern char trampoline_begin[], trampoline_end[];
  char* to = at(SHOOTDOWN_TRAMPOLINE);
  for (char* from = trampoline_begin; from < trampoline_end;) *to++ = *from++;
  cpu_count = count;
  for (uint32_t cpu = 1; cpu < count; ++cpu) {
    starting_cpu = cpu;
    starting_cpu_stack = stacks[cpu] + SHOOTDOWN_STACK_BYTES;
    __asm__ volatile("mfence; lfence" ::: "memory");
    write_msr(X2APIC_COMMAND, (uint64_t)cpu << 32 | 0x4500); /* INIT */
    delay_milliseconds(10);
    write_msr(X2APIC_COMMAND, (uint64_t)cpu << 32 | 0x4600 | SHOOTDOWN_TRAMPOLINE >> 12);
    while (online != cpu) pause();
  }
}

void switch_to(sd_mm* mm) {
  const uint64_t flags = irq_save();
  sd_switch_mm(&machine, mm);
  irq_restore(flags);
}
