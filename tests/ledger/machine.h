// The modelled machine under the ledger's HAL.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "core/types.h"
#include "hal/timed/directory.h"
#include "tests/ledger/counting_hal.h"

namespace shootdown::ledger {

/// How interrupts were sent: commands to the interrupt controller, by kind.
struct Interrupts {
  std::uint64_t unicast;
  std::uint64_t cluster;
  std::uint64_t shorthand;
  std::uint64_t taken;
};

/// What happened while counting was on.
struct Counted {
  std::array<Executed, kCpus> executed;
  Interrupts interrupts;
};

using CpuCode = void (*)(void* argument, CpuId cpu);

/// What the CPUs run: all get the same argument.
struct Programs {
  CpuCode boot;
  CpuCode program;
  CpuCode interrupt;
  void* argument;
};

/// Both take an interrupt at the CPU's next visible operation.
enum class Schedule : std::uint8_t {
  to_completion,  // a CPU runs until it waits, then the next
  in_turns,       // one visible operation of each CPU after the other
};

/// One run of `cpus` CPUs. Empty, or what has failed.
std::string run_machine(CpuId cpus, const Programs& programs, Schedule schedule);

/// Which CPU holds which line.
[[nodiscard]] timed::Directory& directory();

/// Between these two everything is counted.
void start_counting();
void stop_counting();
[[nodiscard]] const Counted& counted();

/// CPUs that wait look again.
void news();

}  // namespace shootdown::ledger
