// The smallest hosted program over the probe.

#include <array>
#include <cstdint>
#include <span>

#include "tests/build/probe.h"

// The variants test reads the machine code of this function.
extern "C" [[gnu::noinline]] int probe_body(const std::uint32_t* bits, int count) {
  int sum = 0;
  for (int i = 0; i < count; ++i) sum += static_cast<int>(bits[i] + 1);
  return sum;
}

int main() {
  constexpr std::array<std::uint32_t, 2> kBits{0, 5};
  shootdown::probe::Generation generation;
  const bool right = shootdown::probe::mask_of<std::uint32_t>(kBits) == 0x21 &&
                     generation.advance() == 2 && generation.advance() == 3 &&
                     probe_body(kBits.data(), 2) == 7;
  return right ? 0 : 1;
}
