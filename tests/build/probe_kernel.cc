// The smallest freestanding program over the probe. Nothing boots it: the variants test looks at
// how it was built.

#include <array>
#include <cstddef>
#include <cstdint>

#include "tests/build/probe.h"

// The compiler may call it for any object that starts out as zero.
extern "C" void* memset(void* target, int value, std::size_t size) {
  auto* byte = static_cast<unsigned char*>(target);
  while (size-- > 0) *byte++ = static_cast<unsigned char>(value);
  return target;
}

extern "C" [[noreturn]] void _start() {
  constexpr std::array<std::uint32_t, 3> kCpus{0, 5, 5};
  volatile int sink = shootdown::probe::probe_body(kCpus.data(), 3);
  for (;;) sink = sink + 1;
}
