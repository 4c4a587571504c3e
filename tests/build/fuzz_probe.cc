// A fuzz target with nothing to find.

#include <cstddef>
#include <cstdint>

#include "tests/build/probe.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  shootdown::probe::Generation generation;
  for (std::size_t i = 0; i < size; ++i) {
    if (data[i] == 'g' && generation.advance() == 1) __builtin_trap();
  }
  return 0;
}
