// What the core must not do: allocate, and end the program by itself. undefined_test must say so.
#include "core/types.h"

extern "C" [[noreturn]] void abort();
void* operator new(std::size_t bytes);

namespace shootdown::test {

CpuId* allocate(CpuId cpu) {
  if (cpu == kNoCpu) abort();
  return new CpuId{cpu};
}

}  // namespace shootdown::test
