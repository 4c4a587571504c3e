/* What the library asks of this kernel. */
#include "examples/kernel_c/kernel.h"

unsigned sd_hook_this_cpu(void) { return this_cpu(); }

/* No kernel code of this kernel is preempted. */
void sd_hook_preempt_disable(void) {}
void sd_hook_preempt_enable(void) {}

int sd_hook_in_interrupt(void) {
  uint32_t depth;
  __asm__ volatile("movl %%gs:%c1, %0" : "=r"(depth) : "i"(offsetof(struct cpu, interrupt_depth)));
  return depth != 0;
}

/* x2APIC: one write of the command register for each target. The library has ordered its stores
 * before the call, also against this write, which waits for none. */
void sd_hook_send_interrupt(const uint64_t* words, unsigned count) {
  for (unsigned cpu = 0; cpu < cpu_count && cpu < 64 * count; ++cpu) {
    if (!(words[cpu / 64] >> cpu % 64 & 1)) continue;
    __asm__ volatile("wrmsr" ::"c"(0x830), "a"(CALL_FUNCTION_VECTOR), "d"(cpu) : "memory");
  }
}

void sd_hook_unanswered(const sd_unanswered* report) {
  print("# CPU ");
  print_number(report->target);
  print(" does not answer\n");
  if (report->last) die("a CPU is dead");
}

void sd_hook_fail(const sd_failure* failure) { die(failure->what); }
