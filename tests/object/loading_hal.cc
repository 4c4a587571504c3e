// A kernel image that nothing boots: the flush core over the HAL as it is, and over one that loads
// the condition that the HAL patches. static_key_test tells them apart by their machine code.
#include <cstddef>

#include "core/broadcast.h"
#include "core/shootdown.h"
#include "hal/x86_64/x86_hal.h"

namespace shootdown::test {

struct LoadingHal : x86::X86Hal {
  template <Question kQuestion>
  static bool key() {
    if constexpr (kQuestion == Question::concurrent) return x86::concurrent_key.enabled();
    return X86Hal::key<kQuestion>();
  }
};

template <class H>
[[gnu::used]] void flush(System<H>& system, Mm<H>& mm) {
  static_cast<void>(flush_tlb_mm(system, mm));
  static_cast<void>(flush_tlb_all(system));
}
template void flush(System<x86::X86Hal>&, Mm<x86::X86Hal>&);
template void flush(System<LoadingHal>&, Mm<LoadingHal>&);

}  // namespace shootdown::test

namespace shootdown::x86 {

void platform_fail(const Failure&) {
  for (;;) pause();
}
void platform_report_unanswered(const Unanswered&) {}
PhysAddr platform_physical_address(const void*) { return 0; }

}  // namespace shootdown::x86

extern "C" {

void* memcpy(void* to, const void* from, std::size_t bytes) {
  asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes)::"memory");
  return to;
}
void* memset(void* to, int value, std::size_t bytes) {
  asm volatile("rep stosb" : "+D"(to), "+c"(bytes) : "a"(value) : "memory");
  return to;
}
[[noreturn]] void _start() {
  for (;;) shootdown::x86::pause();
}

}  // extern "C"
