// Addresses and numbers that C++, assembler and the linker script agree on. Preprocessor only.
#pragma once

// The kernel image is linked at its physical address plus this. It is in the top 2 GiB, where
// -mcmodel=kernel wants it.
#define SHOOTDOWN_KERNEL_BASE 0xffffffff80000000

// All physical memory below 4 GiB is mapped here, too.
#define SHOOTDOWN_DIRECT_MAP_BASE 0xffff800000000000

// Where the other CPUs start in real mode: a free page below 1 MiB.
#define SHOOTDOWN_TRAMPOLINE 0x8000

#define SHOOTDOWN_STACK_BYTES 0x4000

// Segment selectors of the kernel's GDT. User mode's carry privilege level 3.
#define SHOOTDOWN_KERNEL_CODE 0x08
#define SHOOTDOWN_KERNEL_DATA 0x10
#define SHOOTDOWN_USER_DATA 0x1b
#define SHOOTDOWN_USER_CODE 0x23
#define SHOOTDOWN_TASK_STATE 0x28

// Offsets into EntryArea, which GS points to; checked where the C++ side includes this.
#define SHOOTDOWN_INTERRUPT_DEPTH 8
#define SHOOTDOWN_ENTRY_KERNEL_STACK 96
#define SHOOTDOWN_ENTRY_STACK_TOP 104
#define SHOOTDOWN_ENTRY_ISOLATES 112
#define SHOOTDOWN_ENTRY_NMI_TOP 0x3000

// Interrupt vectors of the kernel; the SMP function call's is the HAL's.
#define SHOOTDOWN_SYSTEM_CALL_VECTOR 128
#define SHOOTDOWN_WAKE_VECTOR 241
#define SHOOTDOWN_WATCHDOG_VECTOR 242
