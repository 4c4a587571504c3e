#include "kernel-glue/kernel/clock.h"

#include <algorithm>

#include "hal/x86_64/instructions.h"
#include "hal/x86_64/local_apic.h"
#include "kernel-glue/kernel/layout.h"
#include "kernel-glue/kernel/stop.h"

namespace shootdown::kernel {
namespace {

constexpr std::uint32_t kMeasuredMilliseconds = 10;

/// Written once at boot. The ones until then stand for rates that nothing has asked for yet.
constinit std::uint64_t tsc_per_millisecond = 1;
constinit std::uint64_t timer_per_millisecond = 1;
constinit std::uint64_t pauses_per_millisecond = 1;

/// The shortest of several runs: one that the host interrupted would give a rate that is too low.
std::uint64_t ticks_of_pauses(int pauses) {
  constexpr int kRuns = 16;
  std::uint64_t shortest = ~std::uint64_t{0};
  for (int run = 0; run < kRuns; ++run) {
    const std::uint64_t begin = x86::read_tsc();
    for (int i = 0; i < pauses; ++i) x86::pause();
    shortest = std::min(shortest, x86::read_tsc() - begin);
  }
  return std::max(shortest, std::uint64_t{1});
}

}  // namespace

void delay_microseconds(std::uint32_t microseconds) {
  // Channel 2, the one clock whose rate is known without calibration.
  constexpr std::uint32_t kTimerHz = 1'193'182;
  constexpr std::uint16_t kChannel2 = 0x42;
  constexpr std::uint16_t kMode = 0x43;
  constexpr std::uint16_t kGate = 0x61;
  constexpr std::uint8_t kGateOn = 0x01;
  constexpr std::uint8_t kSpeakerOn = 0x02;
  constexpr std::uint8_t kOutput = 0x20;
  const std::uint32_t count = microseconds * (kTimerHz / 1000) / 1000 + 1;
  const auto gate = static_cast<std::uint8_t>(x86::in8(kGate) & ~(kGateOn | kSpeakerOn));
  x86::out8(kGate, gate);
  x86::out8(kMode, 0xb0);  // channel 2, low byte then high byte, interrupt on terminal count
  x86::out8(kChannel2, static_cast<std::uint8_t>(count));
  x86::out8(kChannel2, static_cast<std::uint8_t>(count >> 8));
  x86::out8(kGate, gate | kGateOn);
  while ((x86::in8(kGate) & kOutput) == 0) x86::pause();
}

void calibrate_clock() {
  // So long that it does not expire here.
  constexpr std::uint32_t kLong = ~std::uint32_t{0};
  x86::start_apic_timer(SHOOTDOWN_WATCHDOG_VECTOR, kLong);
  const std::uint64_t begin = x86::read_tsc();
  delay_microseconds(kMeasuredMilliseconds * 1000);
  const std::uint64_t end = x86::read_tsc();
  const std::uint32_t left = x86::apic_timer_left();
  x86::start_apic_timer(SHOOTDOWN_WATCHDOG_VECTOR, 0);
  tsc_per_millisecond = (end - begin) / kMeasuredMilliseconds;
  timer_per_millisecond = (kLong - left) / kMeasuredMilliseconds;
  if (tsc_per_millisecond == 0 || timer_per_millisecond == 0) {
    fatal("no clock: in ", kMeasuredMilliseconds,
          " ms of the legacy timer the time-stamp counter ran ", end - begin,
          " ticks and the APIC's timer ", kLong - left);
  }
  constexpr int kPauses = 64;
  pauses_per_millisecond =
      std::max(kPauses * tsc_per_millisecond / ticks_of_pauses(kPauses), std::uint64_t{1});
}

std::uint64_t ticks_in(std::uint32_t milliseconds) { return milliseconds * tsc_per_millisecond; }

std::uint32_t timer_ticks_in(std::uint32_t milliseconds) {
  const std::uint64_t ticks = milliseconds * timer_per_millisecond;
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(ticks, ~std::uint32_t{0}));
}

std::uint64_t pauses_in(std::uint32_t milliseconds) {
  return milliseconds * pauses_per_millisecond;
}

}  // namespace shootdown::kernel
