// The smallest freestanding program over the probe. Nothing boots it: the variants test looks at
// how it was built.

#include <array>
#include <cstdint>

#include "tests/build/probe.h"

namespace {
constexpr std::array<std::uint32_t, 2> kBits{0, 5};
shootdown::probe::Generation generation;
}  // namespace

// The variants test reads the machine code of this function.
extern "C" [[gnu::noinline]] int probe_body(const std::uint32_t* bits, int count) {
  int sum = 0;
  for (int i = 0; i < count; ++i) sum += static_cast<int>(bits[i] + 1);
  return sum;
}

extern "C" [[noreturn]] void _start() {
  volatile std::uint64_t sink = generation.advance();
  sink = sink + shootdown::probe::mask_of<std::uint32_t>(kBits);
  sink = sink + static_cast<std::uint64_t>(probe_body(kBits.data(), 2));
  for (;;) sink = sink + 1;
}
