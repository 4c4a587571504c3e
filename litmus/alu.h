// Arithmetic of x86 and its flags.
#pragma once

#include <cstdint>

#include "litmus/test.h"

namespace shootdown::host::litmus {

struct Flags {
  bool carry{false};
  bool zero{false};
  bool sign{false};
  bool overflow{false};
};

/// The low bytes of a value, the others 0.
constexpr std::uint64_t zero_extended(std::uint64_t value, std::uint8_t width) {
  return width >= 8 ? value : value & ((std::uint64_t{1} << (8U * width)) - 1);
}

constexpr std::uint64_t sign_extended(std::uint64_t value, std::uint8_t width) {
  if (width >= 8) return value;
  const unsigned unused = 64U - (8U * width);
  return static_cast<std::uint64_t>(static_cast<std::int64_t>(value << unused) >> unused);
}

/// What `op` makes of its destination and its source, of `width` bytes. CMP and TEST return the
/// destination as it is.
std::uint64_t compute(Op op, std::uint8_t width, std::uint64_t destination, std::uint64_t source,
                      Flags& flags);

/// Conditions, by their numbers in the opcode (SDM vol. 1, appendix B).
inline constexpr std::uint8_t kEqual = 4;
inline constexpr std::uint8_t kNotEqual = 5;

/// Whether the condition with that number holds.
bool satisfied(std::uint8_t condition, const Flags& flags);

}  // namespace shootdown::host::litmus
