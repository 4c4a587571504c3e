// Segments, task state and the interrupt table.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernel-glue/kernel/memory.h"

namespace shootdown::kernel {

/// Stacks that the processor switches to by itself, numbered as in the interrupt table. 0 = stay.
enum class InterruptStack : std::uint8_t { current = 0, double_fault = 1, nmi = 2 };

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

/// What the processor reads of one CPU's descriptors; owned by that CPU.
struct CpuDescriptors {
  std::uint64_t segments[7]{};
  alignas(16) TaskState task_state{};
  alignas(16) std::byte double_fault_stack[kPageBytes]{};
  alignas(16) std::byte nmi_stack[kPageBytes]{};
};

/// Loads segments and task state of this CPU. Clobbers the GS base.
void load_descriptors(CpuDescriptors& cpu);

/// Fills an entry of the table that all CPUs share. Context: boot CPU, before the others start.
void set_interrupt_entry(std::uint8_t vector, const void* entry, InterruptStack stack);

/// Makes this CPU use the table.
void load_interrupt_table();

}  // namespace shootdown::kernel
