// Time that does not depend on how fast a machine or an emulator is.
//
// The processors' counters have rates that no table tells: the time-stamp counter and the local
// APIC's timer are measured once against the legacy timer. In Bochs an instruction takes a
// microsecond of that time; in QEMU it is the host's time.
#pragma once

#include <cstdint>

namespace shootdown::kernel {

/// Measures the rates. Context: boot CPU, once, its local APIC on, interrupts off.
void calibrate_clock();

/// Busy waiting by the legacy timer, at most 50 milliseconds. Needs no calibration. Context: boot
/// CPU.
void delay_microseconds(std::uint32_t microseconds);

/// Ticks of the time-stamp counter.
[[nodiscard]] std::uint64_t ticks_in(std::uint32_t milliseconds);

/// Ticks of the local APIC's timer.
[[nodiscard]] std::uint32_t timer_ticks_in(std::uint32_t milliseconds);

/// As many pauses, one after the other, as are sure to take no less.
[[nodiscard]] std::uint64_t pauses_in(std::uint32_t milliseconds);

}  // namespace shootdown::kernel
