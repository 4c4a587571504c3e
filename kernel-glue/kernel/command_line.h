// The words that the boot loader passes on.
#pragma once

#include "core/types.h"

namespace shootdown::kernel {

struct Options {
  bool bench{false};         // "bench": the benchmark instead of the self-tests
  bool serial_flush{false};  // "serial-flush": local flush first, then the others
  bool break_no_ipi{false};  // "break=no-ipi": flushes do not reach other CPUs; tests must fail
};

/// Reads the command line out of the Multiboot information. An unknown word is a fatal error, so
/// that a mistyped option does not pass for a run with it.
[[nodiscard]] Options read_command_line(PhysAddr multiboot_information);

}  // namespace shootdown::kernel
