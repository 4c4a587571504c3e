#include "kernel-glue/kernel/descriptors.h"

#include <array>

#include "kernel-glue/kernel/layout.h"

namespace shootdown::kernel {
namespace {

constexpr std::uint64_t kCode64 = 0x00af'9b00'0000'ffff;
constexpr std::uint64_t kData = 0x00cf'9300'0000'ffff;
constexpr std::uint64_t kUserPrivilege = std::uint64_t{3} << 45;
constexpr std::uint64_t kTaskStatePresent = std::uint64_t{0x89} << 40;
constexpr std::uint16_t kInterruptGate = 0x8e00;

/// Operand of LGDT and LIDT.
struct [[gnu::packed]] TablePointer {
  std::uint16_t limit;
  std::uint64_t base;
};

/// A gate of the interrupt table (SDM vol. 3, 6.14.1).
struct Gate {
  std::uint16_t offset_low;
  std::uint16_t selector;
  std::uint16_t type_and_stack;
  std::uint16_t offset_middle;
  std::uint32_t offset_high;
  std::uint32_t reserved;
};

SHOOTDOWN_ENTRY_DATA constinit std::array<Gate, 256> interrupt_table{};

std::uint64_t task_state_descriptor(std::uint64_t base) {
  return (sizeof(TaskState) - 1) | ((base & 0xff'ffff) << 16) | kTaskStatePresent |
         ((base >> 24 & 0xff) << 56);
}

template <std::size_t kBytes>
std::uint64_t top_of(std::byte (&stack)[kBytes]) {
  return reinterpret_cast<std::uint64_t>(stack) + kBytes;
}

}  // namespace

void load_descriptors(EntryArea& area) {
  const auto task_state = reinterpret_cast<std::uint64_t>(&area.task_state);
  area.segments[SHOOTDOWN_KERNEL_CODE / 8] = kCode64;
  area.segments[SHOOTDOWN_KERNEL_DATA / 8] = kData;
  area.segments[SHOOTDOWN_USER_CODE / 8] = kCode64 | kUserPrivilege;
  area.segments[SHOOTDOWN_USER_DATA / 8] = kData | kUserPrivilege;
  area.segments[SHOOTDOWN_TASK_STATE / 8] = task_state_descriptor(task_state);
  area.segments[SHOOTDOWN_TASK_STATE / 8 + 1] = task_state >> 32;
  area.entry_stack_top = top_of(area.entry_stack);
  area.task_state.privilege_stacks[0] = area.entry_stack_top;
  area.task_state.interrupt_stacks[static_cast<int>(InterruptStack::double_fault) - 1] =
      top_of(area.double_fault_stack);
  area.task_state.interrupt_stacks[static_cast<int>(InterruptStack::nmi) - 1] =
      top_of(area.nmi_stack);

  const TablePointer pointer{sizeof(area.segments) - 1,
                             reinterpret_cast<std::uint64_t>(area.segments)};
  // FS and GS stay empty: a selector of the kernel's data would be taken away on the way to user
  // mode, and what happens to the base then differs between processors.
  asm volatile(
      "lgdt %0\n\t"
      "pushq %1\n\t"
      "leaq 1f(%%rip), %%rax\n\t"
      "pushq %%rax\n\t"
      "lretq\n"
      "1:\n\t"
      "movl %2, %%eax\n\t"
      "movw %%ax, %%ds\n\t"
      "movw %%ax, %%es\n\t"
      "movw %%ax, %%ss\n\t"
      "xorl %%eax, %%eax\n\t"
      "movw %%ax, %%fs\n\t"
      "movw %%ax, %%gs\n\t"
      "movl %3, %%eax\n\t"
      "ltr %%ax" ::"m"(pointer),
      "i"(SHOOTDOWN_KERNEL_CODE), "i"(SHOOTDOWN_KERNEL_DATA), "i"(SHOOTDOWN_TASK_STATE)
      : "rax", "memory");
}

void set_interrupt_entry(std::uint8_t vector, const void* entry, InterruptStack stack,
                         GateUser user) {
  const auto offset = reinterpret_cast<std::uint64_t>(entry);
  interrupt_table[vector] = {
      .offset_low = static_cast<std::uint16_t>(offset),
      .selector = SHOOTDOWN_KERNEL_CODE,
      .type_and_stack = static_cast<std::uint16_t>(kInterruptGate | static_cast<unsigned>(stack) |
                                                   static_cast<unsigned>(user) << 13),
      .offset_middle = static_cast<std::uint16_t>(offset >> 16),
      .offset_high = static_cast<std::uint32_t>(offset >> 32),
      .reserved = 0};
}

void load_interrupt_table() {
  const TablePointer pointer{sizeof(interrupt_table) - 1,
                             reinterpret_cast<std::uint64_t>(interrupt_table.data())};
  asm volatile("lidt %0" ::"m"(pointer) : "memory");
}

}  // namespace shootdown::kernel
