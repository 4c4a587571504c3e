// A fuzz target with nothing to find.

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tests/build/probe.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::vector<std::uint32_t> cpus(size);
  for (std::size_t i = 0; i < size; ++i) cpus[i] = data[i] % 64;
  const int count = static_cast<int>(size);
  const int sum = shootdown::probe::probe_body(cpus.data(), count);
  if (sum < count || sum > 2 * count) __builtin_trap();
  return 0;
}
