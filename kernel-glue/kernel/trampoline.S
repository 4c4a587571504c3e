// Where the other CPUs start: real mode to 64-bit mode. cpus.cc copies these bytes to
// SHOOTDOWN_TRAMPOLINE, so every address here is computed from that base.
#include "kernel-glue/kernel/layout.h"

#define AT(label) (label - trampoline_begin + SHOOTDOWN_TRAMPOLINE)

.section .rodata
.balign 16
.global trampoline_begin, trampoline_end
trampoline_begin:
.code16
  cli
  cld
  xorw %ax, %ax
  movw %ax, %ds
  lgdtl AT(gdt_pointer)
  movl %cr0, %eax
  orl $1, %eax
  movl %eax, %cr0
  ljmpl $0x08, $AT(protected_mode)

.code32
protected_mode:
  movl $0x10, %eax
  movw %ax, %ds
  movw %ax, %es
  movw %ax, %ss
  movl %cr4, %eax
  orl $0x20, %eax  // CR4.PAE
  movl %eax, %cr4
  movl $boot_pml4, %eax
  movl %eax, %cr3
  movl $0xc0000080, %ecx  // EFER: long mode, no-execute
  rdmsr
  orl $0x900, %eax
  wrmsr
  movl $0x80010001, %eax  // CR0: paging, write protection, protected mode
  movl %eax, %cr0
  ljmp $0x18, $AT(long_mode)

.code64
long_mode:
  // One CPU starts at a time: cpus.cc waits until it is online before it wakes the next.
  movabsq $starting_cpu_stack, %rax
  movq (%rax), %rsp
  xorl %ebp, %ebp
  movabsq $start_other_cpu, %rax
  call *%rax
  ud2

.balign 8
gdt:
  .quad 0
  .quad 0x00cf9b000000ffff  // 0x08: 32-bit code
  .quad 0x00cf93000000ffff  // 0x10: data
  .quad 0x00af9b000000ffff  // 0x18: 64-bit code
gdt_pointer:
  .word . - gdt - 1
  .long AT(gdt)
trampoline_end:
