// What the private member test compiles.

#include "core/cpu_mask.h"

void misuse();

void misuse() {
  shootdown::CpuMask<64> mask;
  mask.set(1);
#ifdef MUST_NOT_COMPILE
  mask.set_ = {};
#endif
}
