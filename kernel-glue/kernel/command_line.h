// The words that the boot loader passes on.
#pragma once

#include "core/system.h"
#include "core/types.h"
#include "kernel-glue/kernel/ktap.h"
#include "kernel-glue/kernel/self_tests/races.h"

namespace shootdown::kernel {

/// What a boot leaves out on purpose: the self-tests that need it must fail.
enum class Break : std::uint8_t {
  nothing,
  ipi,           // "break=no-ipi": flushes of user pages do not reach other CPUs
  kernel_flush,  // "break=no-kernel-flush": neither do flushes of kernel pages
  key,           // "break=wrong-key": a static key of the core is not what boot has planned
  wake,          // "break=early-wake": CPUs are woken before their job is stored
  stack,         // "break=stack-overflow", and the next: ways to die, which the report must name
  gs,            // "break=wrong-gs"
  report,        // "break=fatal-report": an error in the report of an error
};

struct Options {
  bool bench{false};         // "bench": the benchmark instead of the self-tests
  bool serial_flush{false};  // "serial-flush": local flush first, then the others
  Break broken{Break::nothing};
  RaceOptions races{};            // "races=MILLISECONDS", "seed=N": races instead of the self-tests
  std::uint32_t stress{0};        // "stress=STEPS", "seed=N": the memory manager's load alone
  TestChoice tests{};             // "test=TITLE", "list"
  const char* scenario{nullptr};  // "scenario=OPERATIONS"
  /// "pti=on", "defer=on", "early=on", "masks=kept", "lazy=up-front", "targets=loaded",
  /// "ceiling=N": fields of the core's configuration. What the processor has is filled in later.
  Config config{};
};

/// Reads the command line out of the Multiboot information. An unknown word is a fatal error, so
/// that a mistyped option does not pass for a run with it.
[[nodiscard]] Options read_command_line(PhysAddr multiboot_information);

}  // namespace shootdown::kernel
