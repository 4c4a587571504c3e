// Text on the first serial port.
#pragma once

#include <concepts>
#include <cstdint>

namespace shootdown::kernel {

/// Prepares COM1. Context: boot CPU, first thing.
void initialize_console();

/// Returns when the last character has left the port: the emulator drops what is still in it.
void drain_console();

/// A number to print in hexadecimal.
struct Hex {
  std::uint64_t value;
};

void put(const char* text);
void put(char character);
void put(Hex number);
void put(std::uint64_t number);
void put(std::unsigned_integral auto number) { put(static_cast<std::uint64_t>(number)); }

/// Prints its arguments one after the other. Not atomic: CPU 0 prints, others only to report a
/// fatal error.
template <class... Parts>
void print(const Parts&... parts) {
  (put(parts), ...);
}

}  // namespace shootdown::kernel
