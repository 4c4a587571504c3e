// What the build failure tests compile.

#include "tests/build/probe.h"

#ifdef MUST_NOT_INCLUDE
#include "tests/build/forbidden.h"
#endif

void misuse() {
  shootdown::probe::Generation generation;
  generation.advance();
#ifdef MUST_NOT_COMPILE
  generation.value_ = 0;
#endif
}
