// What the HAL cannot know and the kernel supplies.
#pragma once

#include "core/trace.h"
#include "core/types.h"

namespace shootdown::x86 {

/// Tells the operator about a broken promise and stops the machine. Defined by the kernel. May run
/// on any CPU in any context, also inside an interrupt handler.
[[noreturn]] void platform_fail(const Failure& failure);

/// Tells the operator about a CPU that does not answer. Defined by the kernel. Runs on the waiting
/// CPU with interrupts on and preemption off; must not flush or call other CPUs.
void platform_report_unanswered(const Unanswered& report);

/// The physical address of an object of the kernel image. Defined by the kernel.
[[nodiscard]] PhysAddr platform_physical_address(const void* object);

}  // namespace shootdown::x86
