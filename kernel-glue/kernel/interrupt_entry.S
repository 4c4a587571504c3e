// The first and last instructions of handlers, and the way to user mode and back.
//
// All of it is in .entry.text, which every user root maps. Until CR3 holds the kernel's root, and
// after it no longer does, nothing else is reached: no other code, no stack but those in EntryArea.
#include "kernel-glue/kernel/layout.h"

#define MSR_GS_BASE 0xc0000101
#define PRIVILEGE_MASK 3
#define FLAGS_FOR_USER_MODE 0x202
// Words that `push_clobbered` pushes.
#define CLOBBERED 9

.section .entry.text, "ax"
.code64

.macro push_clobbered
  pushq %rax
  pushq %rcx
  pushq %rdx
  pushq %rsi
  pushq %rdi
  pushq %r8
  pushq %r9
  pushq %r10
  pushq %r11
.endm

.macro pop_clobbered
  popq %r11
  popq %r10
  popq %r9
  popq %r8
  popq %rdi
  popq %rsi
  popq %rdx
  popq %rcx
  popq %rax
.endm

// The other registers; with the ones above in the order of ExceptionFrame.
.macro push_preserved
  pushq %rbx
  pushq %rbp
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
.endm

.macro pop_preserved
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbp
  popq %rbx
.endm

// Takes the `words` words at the stack's end along to another stack, whose end is at `top`.
.macro move_stack top, words
  movq %rsp, %rax
  movq \top, %rsp
  .set word, \words
  .rept \words
  .set word, word - 1
  pushq (word * 8)(%rax)
  .endr
.endm

// Interrupted in user mode, on the entry stack with `words` words there, 5 or 7: on to the kernel's
// GS base, the kernel's root and the stack that the kernel left when it went to user mode, words and
// all, and the registers that a C++ function may change behind them.
.macro enter_from_user words
  swapgs
  push_clobbered
  cld
  cmpl $0, %gs:SHOOTDOWN_ENTRY_ISOLATES
  je 8f
  call enter_from_user_mode
8:
  move_stack %gs:SHOOTDOWN_ENTRY_KERNEL_STACK, (\words + CLOBBERED)
.endm

// An exception: the full register file goes on the stack as an ExceptionFrame (interrupts.h).
.macro exception_entry vector, has_error_code
.global exception_\vector
exception_\vector:
  .if !\has_error_code
  pushq $0
  .endif
  pushq $\vector
  testb $PRIVILEGE_MASK, 24(%rsp)
  jz exception_in_kernel
  jmp exception_in_user_mode
.endm

.irp vector, 0, 1, 3, 4, 5, 6, 7, 9, 15, 16, 18, 19, 20, 22, 23, 24, 25, 26, 27, 28, 31
  exception_entry \vector, 0
.endr
// The watchdog enters like an exception, because it reports where it found the CPU. So does a system
// call, because it reads and writes the caller's registers.
exception_entry SHOOTDOWN_WATCHDOG_VECTOR, 0
exception_entry SHOOTDOWN_SYSTEM_CALL_VECTOR, 0
.irp vector, 10, 11, 12, 13, 14, 17, 21, 29, 30
  exception_entry \vector, 1
.endr

exception_in_kernel:
  push_clobbered
  push_preserved
  cld
  incl %gs:SHOOTDOWN_INTERRUPT_DEPTH
  movq %rsp, %rdi
  call handle_exception
  decl %gs:SHOOTDOWN_INTERRUPT_DEPTH
  pop_preserved
  pop_clobbered
  addq $16, %rsp
  iretq

// Not counted as an interrupt: what user mode asks for or runs into is the thread's own work.
exception_in_user_mode:
  enter_from_user 7
  push_preserved
  movq %rsp, %rdi
  call handle_user_exception
  pop_preserved
  pop_clobbered
  addq $16, %rsp
  jmp exit_to_user

// A double fault never returns. It may have happened anywhere, so neither GS nor CR3 is trusted: the
// stack, which is this CPU's alone, tells where the area is. What RBX, RDI and the registers that a call
// may change held is lost to the report.
#define DOUBLE_FAULT_TOP (SHOOTDOWN_ENTRY_NMI_TOP - 0x1000)
.global exception_8
exception_8:
  pushq $8
  leaq (56 - DOUBLE_FAULT_TOP)(%rsp), %rbx
  movq %rbx, %rdi
  cld
  subq $8, %rsp
  call enter_from_anywhere
  addq $8, %rsp
  movl $MSR_GS_BASE, %ecx
  movq %rbx, %rax
  movq %rbx, %rdx
  shrq $32, %rdx
  wrmsr
  jmp exception_in_kernel

// An NMI may come before an entry has loaded the kernel's GS base and root, and after the way out
// has given them up. So it finds its area by its stack, too, and leaves both registers as they were.
//   rbx  the area          r12  what CR3 held
//   r13  1 = GS was swapped
.global exception_2
exception_2:
  push_clobbered
  push_preserved
  cld
  leaq (160 - SHOOTDOWN_ENTRY_NMI_TOP)(%rsp), %rbx
  movq %rbx, %rdi
  call enter_from_anywhere
  movq %rax, %r12
  xorl %r13d, %r13d
  movl $MSR_GS_BASE, %ecx
  rdmsr
  // All 64 bits: user mode's base may end like the area's address.
  shlq $32, %rdx
  orq %rdx, %rax
  cmpq %rbx, %rax
  je 2f
  movl $1, %r13d
  swapgs
2:
  incl %gs:SHOOTDOWN_INTERRUPT_DEPTH
  movq %rsp, %rdi
  call handle_nmi
  decl %gs:SHOOTDOWN_INTERRUPT_DEPTH
  movq %rbx, %rdi
  movq %r12, %rsi
  call leave_for_anywhere
  testl %r13d, %r13d
  jz 3f
  swapgs
3:
  pop_preserved
  pop_clobbered
  iretq

// An interrupt whose handler needs no frame: only the registers that a C++ function may change. The
// processor aligned the stack and pushed five words, these are nine: aligned again for the call.
.macro interrupt_entry name, handler
.global \name
\name:
  testb $PRIVILEGE_MASK, 8(%rsp)
  jnz 1f
  push_clobbered
  cld
  incl %gs:SHOOTDOWN_INTERRUPT_DEPTH
  call \handler
  decl %gs:SHOOTDOWN_INTERRUPT_DEPTH
  pop_clobbered
  iretq
1:
  enter_from_user 5
  incl %gs:SHOOTDOWN_INTERRUPT_DEPTH
  call \handler
  decl %gs:SHOOTDOWN_INTERRUPT_DEPTH
  pop_clobbered
  jmp exit_to_user
.endm

interrupt_entry call_function_entry, handle_call_function
interrupt_entry timed_call_function_entry, handle_timed_call_function
interrupt_entry wake_entry, handle_wake

.global spurious_entry
spurious_entry:
  iretq

// The end of every stay in the kernel but that of an NMI. Interrupts are off; on the kernel's stack
// are five words for IRET, and the registers hold what user mode is to find in them.
exit_to_user:
  cmpl $0, %gs:SHOOTDOWN_ENTRY_ISOLATES
  jne 1f
  swapgs
  iretq
1:
  push_clobbered
  call prepare_user_mode
  // The kernel's stack goes out of sight with its root: all that is still needed moves.
  move_stack %gs:SHOOTDOWN_ENTRY_STACK_TOP, (5 + CLOBBERED)
  call leave_for_user_mode
  pop_clobbered
  swapgs
  iretq

// void go_to_user_mode(const UserStart*): the way in. It returns when `end_user_mode` is called.
.global go_to_user_mode
go_to_user_mode:
  push_preserved
  subq $8, %rsp
  cli
  movq %rsp, %gs:SHOOTDOWN_ENTRY_KERNEL_STACK
  pushq $SHOOTDOWN_USER_DATA
  pushq 8(%rdi)
  pushq $FLAGS_FOR_USER_MODE
  pushq $SHOOTDOWN_USER_CODE
  pushq (%rdi)
  movq 24(%rdi), %rsi
  movq 16(%rdi), %rdi
  // Nothing of the kernel's is left in a register.
  xorl %eax, %eax
  xorl %ecx, %ecx
  xorl %edx, %edx
  xorl %ebx, %ebx
  xorl %ebp, %ebp
  xorl %r8d, %r8d
  xorl %r9d, %r9d
  xorl %r10d, %r10d
  xorl %r11d, %r11d
  xorl %r12d, %r12d
  xorl %r13d, %r13d
  xorl %r14d, %r14d
  xorl %r15d, %r15d
  jmp exit_to_user

// [[noreturn]] void end_user_mode(): forgets the handler that calls it and lets `go_to_user_mode`
// return, with interrupts on.
.global end_user_mode
end_user_mode:
  cli
  movq %gs:SHOOTDOWN_ENTRY_KERNEL_STACK, %rsp
  addq $8, %rsp
  pop_preserved
  sti
  ret

.section .rodata
.balign 8
.global exception_entries
exception_entries:
.irp vector, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
  .quad exception_\vector
.endr
.irp vector, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
  .quad exception_\vector
.endr
