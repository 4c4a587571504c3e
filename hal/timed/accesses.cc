// What the compiler's instrumentation calls. What is compiled so is named in BUILD files:
// INSTRUMENTED of instrumented.bzl.
#include "hal/timed/accesses.h"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

namespace {

using shootdown::timed::AccessListener;

AccessListener* current = nullptr;

void reads(const void* address, std::size_t bytes) {
  if (current != nullptr) current->access(address, bytes, /*write=*/false);
}
void writes(const void* address, std::size_t bytes) {
  if (current != nullptr) current->access(address, bytes, /*write=*/true);
}

}  // namespace

AccessListener* shootdown::timed::listen(AccessListener* listener) {
  return std::exchange(current, listener);
}

// NOLINTBEGIN(bugprone-reserved-identifier, bugprone-macro-parentheses): the compiler's names

extern "C" {

void __tsan_init() {}

// A fence for the compiler: no access, and no instruction.
void __tsan_atomic_signal_fence(int /*order*/) {}

// Tables of virtual functions are no part of what is instrumented.
void __tsan_vptr_update(void** /*table*/, void* /*value*/) {}
void __tsan_vptr_read(void** /*table*/) {}

void __sanitizer_cov_trace_pc() {
  if (current != nullptr) current->block();
}

#define ACCESS_OF(BYTES)                                                      \
  void __tsan_read##BYTES(void* address) { reads(address, BYTES); }           \
  void __tsan_write##BYTES(void* address) { writes(address, BYTES); }         \
  void __tsan_unaligned_read##BYTES(void* address) { reads(address, BYTES); } \
  void __tsan_unaligned_write##BYTES(void* address) { writes(address, BYTES); }

ACCESS_OF(1)
ACCESS_OF(2)
ACCESS_OF(4)
ACCESS_OF(8)
ACCESS_OF(16)

void* __tsan_memcpy(void* to, const void* from, std::size_t bytes) {
  reads(from, bytes);
  writes(to, bytes);
  return std::memcpy(to, from, bytes);
}
void* __tsan_memmove(void* to, const void* from, std::size_t bytes) {
  reads(from, bytes);
  writes(to, bytes);
  return std::memmove(to, from, bytes);
}
void* __tsan_memset(void* to, int value, std::size_t bytes) {
  writes(to, bytes);
  return std::memset(to, value, bytes);
}

// What is std::atomic: counters, and the words of hal.h. Only their loads and stores are compiled
// in.
#define ATOMIC_OF(BITS)                                                                           \
  std::uint##BITS##_t __tsan_atomic##BITS##_load(const volatile std::uint##BITS##_t* word,        \
                                                 int /*order*/) {                                 \
    const auto* plain = const_cast<const std::uint##BITS##_t*>(word);                             \
    reads(plain, sizeof(*plain));                                                                 \
    return *plain;                                                                                \
  }                                                                                               \
  void __tsan_atomic##BITS##_store(volatile std::uint##BITS##_t* word, std::uint##BITS##_t value, \
                                   int /*order*/) {                                               \
    auto* plain = const_cast<std::uint##BITS##_t*>(word);                                         \
    writes(plain, sizeof(*plain));                                                                \
    *plain = value;                                                                               \
  }

ATOMIC_OF(8)
ATOMIC_OF(16)
ATOMIC_OF(32)
ATOMIC_OF(64)

}  // extern "C"

// NOLINTEND(bugprone-reserved-identifier, bugprone-macro-parentheses)
