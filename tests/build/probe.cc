#include "tests/build/probe.h"

#include <cstdint>

#include "core/cpu_mask.h"
#include "core/shootdown.h"

namespace shootdown::probe {

extern "C" int probe_body(const std::uint32_t* cpus, int count) {
  CpuMask<64> mask;
  int length = 0;
  for (int i = 0; i < count; ++i) {
    mask.set(cpus[i]);
    length += 1;
  }
  return static_cast<int>(mask.count()) + length;
}

}  // namespace shootdown::probe
