// Segments, task state and the interrupt table.
#pragma once

#include <cstdint>

#include "kernel-glue/kernel/entry_area.h"

namespace shootdown::kernel {

/// Stacks that the processor switches to by itself, numbered as in the interrupt table. 0 = stay.
enum class InterruptStack : std::uint8_t { current = 0, double_fault = 1, nmi = 2 };

/// Loads the segments and the task state in `area`, this CPU's. Clobbers the GS base.
void load_descriptors(EntryArea& area);

/// The mode from which an INT instruction may enter.
enum class GateUser : std::uint8_t { kernel = 0, user_mode = 3 };

/// Fills an entry of the table that all CPUs share. Context: boot CPU, before the others start.
void set_interrupt_entry(std::uint8_t vector, const void* entry,
                         InterruptStack stack = InterruptStack::current,
                         GateUser user = GateUser::kernel);

/// Makes this CPU use the table.
void load_interrupt_table();

}  // namespace shootdown::kernel
