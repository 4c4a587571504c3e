// Ending the run: the verdict to the emulator, and what stops everything.
#pragma once

namespace shootdown::kernel {

/// Ends the emulator with success, or with failure. The console is drained first.
[[noreturn]] void stop_machine(bool success);

/// What runs now, which a fatal error names. Context: CPU 0.
void set_activity(const char* what);

/// Prints "FATAL: " and `parts`, then ends with failure. Only the first CPU that gets here prints;
/// the others wait. May run anywhere.
template <class... Parts>
[[noreturn]] void fatal(const Parts&... parts);

}  // namespace shootdown::kernel

// Implementation of the template.

#include "hal/x86_64/instructions.h"
#include "kernel-glue/kernel/console.h"

namespace shootdown::kernel {

namespace internal {
/// Returns on the first CPU that calls it, and never on another.
void begin_fatal();
[[nodiscard]] const char* activity();
}  // namespace internal

template <class... Parts>
[[noreturn]] void fatal(const Parts&... parts) {
  x86::disable_interrupts();
  internal::begin_fatal();
  print("\nFATAL: ", parts..., " [", internal::activity(), "]\n");
  stop_machine(false);
}

}  // namespace shootdown::kernel
