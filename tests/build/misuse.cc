// What the build failure tests compile.

#include "core/cpu_mask.h"

#ifdef MUST_NOT_INCLUDE
#include "tests/build/probe.h"
#endif

void misuse();

void misuse() {
  shootdown::CpuMask<64> mask;
  mask.set(1);
#ifdef MUST_NOT_COMPILE
  mask.words_ = {};
#endif
}
