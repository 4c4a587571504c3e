// What the compiler's instrumentation of memory accesses calls. It is the one of ThreadSanitizer
// (-fsanitize=thread), without its run-time library: each function here tells the directory of one
// load, store or copy. What is compiled so is named in BUILD.bazel.
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "tests/ledger/counting_hal.h"
#include "tests/ledger/directory.h"
#include "tests/ledger/machine.h"

namespace {

void tell(const void* address, std::size_t bytes, bool write) {
  using namespace shootdown::ledger;
  if (is_running()) {
    directory().access(CountingHal::this_cpu(), address, bytes, write);
  }
}
void reads(const void* address, std::size_t bytes) { tell(address, bytes, false); }
void writes(const void* address, std::size_t bytes) { tell(address, bytes, true); }

}  // namespace

// NOLINTBEGIN(bugprone-reserved-identifier, bugprone-macro-parentheses): the compiler's names

extern "C" {

void __tsan_init() {}

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

// Of the counters, which are atomic and no words of the HAL.
std::uint64_t __tsan_atomic64_load(const volatile std::uint64_t* word, int /*order*/) {
  const auto* plain = const_cast<const std::uint64_t*>(word);
  reads(plain, sizeof(*plain));
  return *plain;
}
void __tsan_atomic64_store(volatile std::uint64_t* word, std::uint64_t value, int /*order*/) {
  auto* plain = const_cast<std::uint64_t*>(word);
  writes(plain, sizeof(*plain));
  *plain = value;
}

}  // extern "C"

// NOLINTEND(bugprone-reserved-identifier, bugprone-macro-parentheses)
