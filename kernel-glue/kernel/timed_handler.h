// How long the handler of the call-function interrupt takes, without the entry and the way out.
#pragma once

#include <cstdint>

namespace shootdown::kernel {

/// The emulator gives each of several CPUs five instructions in turn, so ticks come in fives, and
/// an interrupt begins where a CPU's turn does. With one instruction more before each sample than
/// before the last, samples begin at each of the five places, equally often, and their sum shows
/// every instruction.
inline void shift_phase(std::uint64_t sample) {
  constexpr std::uint64_t kInTurn = 5;
  for (std::uint64_t left = sample % kInTurn; left != 0; --left) asm volatile("nop");
}

/// While an object lives, the interrupt's gate leads to a handler that reads the clock before and
/// behind the usual one, which is not changed for it. CPU 1 adds up what it read.
/// Context: CPU 0; no such interrupt is on its way, at the beginning and at the end.
class TimedHandler {
 public:
  TimedHandler();
  ~TimedHandler();
  TimedHandler(const TimedHandler&) = delete;
  TimedHandler& operator=(const TimedHandler&) = delete;

  /// Returns when CPU 1 has taken `count` interrupts since the beginning.
  static void wait_for(std::uint32_t count);
  /// The ticks of all of these. Context: behind `wait_for`.
  [[nodiscard]] static std::uint64_t sum();
};

}  // namespace shootdown::kernel
