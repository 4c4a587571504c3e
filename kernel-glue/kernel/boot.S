// From GRUB to kernel_main: 32-bit protected mode to 64-bit mode in the upper half.
#include "kernel-glue/kernel/layout.h"

// Multiboot 1 header: page-aligned modules and a memory map in the information structure.
#define MULTIBOOT_MAGIC 0x1badb002
#define MULTIBOOT_FLAGS 0x00000003

#define CR0_PAGING_PROTECT_PE 0x80010001
#define CR4_PAE 0x20
#define MSR_EFER 0xc0000080
#define EFER_LONG_MODE_NX 0x900
#define PTE_PRESENT_WRITABLE 0x03
#define PTE_LARGE 0x80

.section .multiboot, "a"
.balign 4
  .long MULTIBOOT_MAGIC, MULTIBOOT_FLAGS, -(MULTIBOOT_MAGIC + MULTIBOOT_FLAGS)

.section .boot.bss, "aw", @nobits
.balign 4096
.global boot_pml4
boot_pml4: .skip 4096
boot_pdpt: .skip 4096
boot_pd:   .skip 4096

.section .boot.data, "aw"
.balign 8
boot_gdt:
  .quad 0
  .quad 0x00af9b000000ffff  // 0x08: 64-bit code
  .quad 0x00cf93000000ffff  // 0x10: data
boot_gdt_pointer:
  .word . - boot_gdt - 1
  .long boot_gdt
boot_information: .long 0

.section .boot.text, "ax"
.code32
.global boot_start
boot_start:
  cli
  cld
  movl %ebx, boot_information

  // The first GiB in 2 MiB pages, at 0, at the direct map and at the kernel's base: three entries
  // of the top table share one chain. The other CPUs start on these tables as well.
  movl $boot_pd, %edi
  movl $(PTE_PRESENT_WRITABLE | PTE_LARGE), %eax
  movl $512, %ecx
1:
  movl %eax, (%edi)
  movl $0, 4(%edi)
  addl $0x200000, %eax
  addl $8, %edi
  loop 1b
  movl $(boot_pd + PTE_PRESENT_WRITABLE), boot_pdpt
  movl $(boot_pd + PTE_PRESENT_WRITABLE), boot_pdpt + 510 * 8
  movl $(boot_pdpt + PTE_PRESENT_WRITABLE), boot_pml4
  movl $(boot_pdpt + PTE_PRESENT_WRITABLE), boot_pml4 + 256 * 8
  movl $(boot_pdpt + PTE_PRESENT_WRITABLE), boot_pml4 + 511 * 8

  movl %cr4, %eax
  orl $CR4_PAE, %eax
  movl %eax, %cr4
  movl $boot_pml4, %eax
  movl %eax, %cr3
  movl $MSR_EFER, %ecx
  rdmsr
  orl $EFER_LONG_MODE_NX, %eax
  wrmsr
  movl $CR0_PAGING_PROTECT_PE, %eax
  movl %eax, %cr0
  lgdt boot_gdt_pointer
  ljmp $0x08, $boot_long

.code64
boot_long:
  movl $0x10, %eax
  movw %ax, %ds
  movw %ax, %es
  movw %ax, %ss
  movl boot_information, %edi
  movabsq $boot_stack_top, %rsp
  xorl %ebp, %ebp
  movabsq $kernel_main, %rax
  call *%rax
  ud2

.section .bss
.balign 16
  .skip SHOOTDOWN_STACK_BYTES
boot_stack_top:
