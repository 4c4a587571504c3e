// Ending the run: the verdict to the emulator, and what stops everything.
#pragma once

#include <cstdint>

namespace shootdown::kernel {

/// Ends the emulator with success, or with failure. The console is drained first.
[[noreturn]] void stop_machine(bool success);

/// What runs now, which a fatal error names. Context: CPU 0.
void set_activity(const char* what);

/// A CPU has called `fatal`. Asked by NMI handlers.
[[nodiscard]] bool fatal_has_begun();
/// What an NMI handler does then; `rip` is where it came.
[[noreturn]] void stay_stopped(std::uint64_t rip);

/// Stops the other CPUs by NMIs, prints "FATAL: " and `parts` and where the others were, then ends
/// with failure. Only the first CPU that gets here prints; another one waits. A second error on the
/// first one, which happens in the middle of the report, is told in few words. May run anywhere.
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
void print_stopped();
}  // namespace internal

template <class... Parts>
[[noreturn]] void fatal(const Parts&... parts) {
  x86::disable_interrupts();
  internal::begin_fatal();
  print("\nFATAL: ", parts..., " [", internal::activity(), "]\n");
  internal::print_stopped();
  stop_machine(false);
}

}  // namespace shootdown::kernel
