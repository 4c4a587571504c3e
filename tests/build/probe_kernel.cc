// The smallest freestanding program over the probe. Nothing boots it: the variants test looks at
// how it was built.

#include <array>
#include <cstdint>

#include "tests/build/probe.h"

extern "C" [[noreturn]] void _start() {
  constexpr std::array<std::uint32_t, 3> kCpus{0, 5, 5};
  volatile int sink = shootdown::probe::probe_body(kCpus.data(), 3);
  for (;;) sink = sink + 1;
}
