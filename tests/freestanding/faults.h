// Faults, read before port.cc for the test's negative controls: FAULT_* says which. Not used
// otherwise.
#pragma once

#include "tests/freestanding/hal.h"

namespace port {

#ifdef FAULT_UNDEFINED
extern "C" [[noreturn]] void abort();
void fault() { abort(); }
#endif

#ifdef FAULT_LIBGCC
__extension__ using Wide = unsigned __int128;
Wide fault(Wide a, Wide b) { return a / b; }
#endif

#ifdef FAULT_INITIALISER
const unsigned fault = port_this_cpu();
const unsigned* fault_is_used() { return &fault; }
#endif

#ifdef FAULT_THREAD_LOCAL
constinit thread_local unsigned fault = 1;
#endif

#ifdef FAULT_GUARD
unsigned fault() {
  static const unsigned cpu = port_this_cpu();
  return cpu;
}
#endif

#ifdef FAULT_CONTENTS
[[gnu::section(".data")]] extern sd::System<PlainHal> plain_system;
#endif

#ifdef FAULT_WARNING
unsigned fault(long wide) { return wide; }
#endif

#ifdef FAULT_UNIQUE
template <class T>
unsigned kFault = sizeof(T);
unsigned fault() { return kFault<int> ++; }
#endif

}  // namespace port
