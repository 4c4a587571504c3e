// What the HAL cannot know and the kernel supplies.
#pragma once

#include "core/trace.h"

namespace shootdown::x86 {

/// Tells the operator about a broken promise and stops the machine. Defined by the kernel. May run
/// on any CPU in any context, also inside an interrupt handler.
[[noreturn]] void platform_fail(const Failure& failure);

}  // namespace shootdown::x86
