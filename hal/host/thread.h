// Threads of the kernel that runs on the modelled machine, and how two CPUs exchange theirs.
//
// A thread is a program with a stack. It starts on the CPU of its number, and the kernel may take
// it off wherever preemption and interrupts are on, and continue it on another CPU. What a handler
// or code with preemption off does belongs to the CPU: no thread leaves in the middle of it.
//
// An exchange has three steps. It is asked for, by a deviation, at both CPUs. Each of the two takes
// its thread off when it can, and waits, idle. When both wait, each goes on with the other's
// thread. So a thread is on no CPU for a while, and is never on two.
#pragma once

#include <cstdint>

#include "core/types.h"
#include "hal/host/fiber.h"

namespace shootdown::host {

struct Thread {
  CpuId number{0};
  bool finished{false};  // its program is over
  Fiber fiber;
};

/// An exchange of threads, as one of the two CPUs has it.
struct Exchange {
  enum class State : std::uint8_t { none, asked, waits };
  State state{State::none};
  CpuId with{0};
  std::uint32_t done{0};  // how often threads have changed places here

  [[nodiscard]] bool is_asked() const { return state == State::asked; }
  /// The CPU is idle: its thread is off, and the other one has not come yet.
  [[nodiscard]] bool waits() const { return state == State::waits; }
};

}  // namespace shootdown::host
