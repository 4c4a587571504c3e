// The first and last instructions of interrupt and exception handlers.
#include "kernel-glue/kernel/layout.h"

.section .text
.code64

// An exception: the full register file goes on the stack as an ExceptionFrame (interrupts.h).
.macro exception_entry vector, has_error_code
.global exception_\vector
exception_\vector:
  .if !\has_error_code
  pushq $0
  .endif
  pushq $\vector
  jmp exception_common
.endm

.irp vector, 0, 1, 2, 3, 4, 5, 6, 7, 9, 15, 16, 18, 19, 20, 22, 23, 24, 25, 26, 27, 28, 31
  exception_entry \vector, 0
.endr
// The watchdog enters like an exception, because it reports where it found the CPU.
exception_entry SHOOTDOWN_WATCHDOG_VECTOR, 0
.irp vector, 8, 10, 11, 12, 13, 14, 17, 21, 29, 30
  exception_entry \vector, 1
.endr

exception_common:
  pushq %rax
  pushq %rcx
  pushq %rdx
  pushq %rbx
  pushq %rbp
  pushq %rsi
  pushq %rdi
  pushq %r8
  pushq %r9
  pushq %r10
  pushq %r11
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  cld
  incl %gs:SHOOTDOWN_INTERRUPT_DEPTH
  movq %rsp, %rdi
  call handle_exception
  decl %gs:SHOOTDOWN_INTERRUPT_DEPTH
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %r11
  popq %r10
  popq %r9
  popq %r8
  popq %rdi
  popq %rsi
  popq %rbp
  popq %rbx
  popq %rdx
  popq %rcx
  popq %rax
  addq $16, %rsp
  iretq

// An interrupt whose handler needs no frame: only the registers that a C++ function may change. The
// processor aligned the stack and pushed five words, these are nine: aligned again for the call.
.macro interrupt_entry name, handler
.global \name
\name:
  pushq %rax
  pushq %rcx
  pushq %rdx
  pushq %rsi
  pushq %rdi
  pushq %r8
  pushq %r9
  pushq %r10
  pushq %r11
  cld
  incl %gs:SHOOTDOWN_INTERRUPT_DEPTH
  call \handler
  decl %gs:SHOOTDOWN_INTERRUPT_DEPTH
  popq %r11
  popq %r10
  popq %r9
  popq %r8
  popq %rdi
  popq %rsi
  popq %rdx
  popq %rcx
  popq %rax
  iretq
.endm

interrupt_entry call_function_entry, handle_call_function
interrupt_entry wake_entry, handle_wake

.global spurious_entry
spurious_entry:
  iretq

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
