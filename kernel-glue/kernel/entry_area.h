// What a CPU needs at the moment it enters the kernel, before it has left the user root.
//
// Under page-table isolation a user root maps of the kernel only the sections .entry.text and
// .entry.data: the entry code, these areas, and the interrupt table. All that the processor itself
// reads at an entry is there, and nothing else: no other state of the kernel or the core
// (tests/object:entry_test).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "core/user_pcid.h"
#include "hal/x86_64/local_apic.h"
#include "hal/x86_64/per_cpu.h"
#include "hal/x86_64/x86_hal.h"
#include "kernel-glue/kernel/layout.h"
#include "kernel-glue/kernel/memory.h"

// Where a variable goes that is used while a user root is loaded.
#define SHOOTDOWN_ENTRY_DATA [[gnu::section(".entry.data")]]

namespace shootdown::kernel {

/// Task state segment (SDM vol. 3, 8.7). Only the stacks are used.
struct [[gnu::packed]] TaskState {
  std::uint32_t reserved0{0};
  std::uint64_t privilege_stacks[3]{};
  std::uint64_t reserved1{0};
  std::uint64_t interrupt_stacks[7]{};
  std::uint64_t reserved2{0};
  std::uint16_t reserved3{0};
  std::uint16_t io_map_offset{sizeof(TaskState)};
};
static_assert(sizeof(TaskState) == 104);

/// One CPU's. GS points to it in the kernel; written by its CPU only, with interrupts off.
struct alignas(kPageBytes) EntryArea {
  x86::PerCpu per_cpu{};
  /// What the core's ways to user mode, back, and into an NMI handler work from.
  EntryBlock<x86::X86Hal> block{};
  /// Where the kernel's stack ends while user mode runs.
  std::uint64_t kernel_stack{0};
  /// The end of `entry_stack`.
  std::uint64_t entry_stack_top{0};
  /// Page-table isolation is on.
  std::uint32_t isolates{0};
  std::uint64_t segments[7]{};
  alignas(16) TaskState task_state{};
  /// Where an interrupt from user mode begins, and the way back ends.
  alignas(16) std::byte entry_stack[1024]{};
  alignas(kPageBytes) std::byte double_fault_stack[kPageBytes]{};
  alignas(16) std::byte nmi_stack[kPageBytes]{};
};

// The assembler's view.
static_assert(offsetof(EntryArea, per_cpu) == 0);
static_assert(SHOOTDOWN_INTERRUPT_DEPTH == x86::kInterruptDepthOffset);
static_assert(SHOOTDOWN_ENTRY_KERNEL_STACK == offsetof(EntryArea, kernel_stack));
static_assert(SHOOTDOWN_ENTRY_STACK_TOP == offsetof(EntryArea, entry_stack_top));
static_assert(SHOOTDOWN_ENTRY_ISOLATES == offsetof(EntryArea, isolates));
static_assert(SHOOTDOWN_ENTRY_NMI_TOP == offsetof(EntryArea, nmi_stack) + kPageBytes);

extern constinit std::array<EntryArea, x86::kMaxCpus> entry_areas;

/// This CPU's. Context: after `install_per_cpu`.
[[nodiscard]] inline EntryArea& entry_area() { return entry_areas[x86::this_cpu()]; }

}  // namespace shootdown::kernel
