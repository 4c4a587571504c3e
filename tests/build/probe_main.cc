// The smallest hosted program over the probe.

#include <array>
#include <cstdint>

#include "tests/build/probe.h"

int main() {
  constexpr std::array<std::uint32_t, 3> kCpus{0, 5, 5};
  return shootdown::probe::probe_body(kCpus.data(), 3) == 5 ? 0 : 1;
}
