// What a compiler calls in code that it compiles with -fsanitize=thread, without the run-time
// library of ThreadSanitizer. Each access becomes one of `Memory`.
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "ports/runtime/memory.h"

namespace {

using shootdown::model::current_memory;

// The compiler's numbers of memory orders are those of the language.
std::memory_order order_of(int order) { return static_cast<std::memory_order>(order); }

}  // namespace

// NOLINTBEGIN(bugprone-reserved-identifier, bugprone-macro-parentheses): the compiler's names

extern "C" {

void __tsan_init() {}
void __tsan_func_entry(void* /*caller*/) {}
void __tsan_func_exit() {}
// Tables of virtual functions do not change.
void __tsan_vptr_update(void** /*table*/, void* /*value*/) {}
void __tsan_vptr_read(void** /*table*/) {}

#define PLAIN(NAME, BYTES, WRITE)                                              \
  void __tsan_##NAME##BYTES(void* address) {                                   \
    current_memory->plain(address, BYTES, WRITE, __builtin_return_address(0)); \
  }
#define ACCESS_OF(BYTES)              \
  PLAIN(read, BYTES, false)           \
  PLAIN(write, BYTES, true)           \
  PLAIN(unaligned_read, BYTES, false) \
  PLAIN(unaligned_write, BYTES, true) \
  PLAIN(volatile_read, BYTES, false)  \
  PLAIN(volatile_write, BYTES, true)  \
  PLAIN(read_write, BYTES, true)      \
  PLAIN(unaligned_read_write, BYTES, true)

ACCESS_OF(1)
ACCESS_OF(2)
ACCESS_OF(4)
ACCESS_OF(8)
ACCESS_OF(16)

void* __tsan_memcpy(void* to, const void* from, std::size_t bytes) {
  current_memory->begin_block(to, from, bytes, __builtin_return_address(0));
  std::memcpy(to, from, bytes);
  current_memory->end_block(to, bytes);
  return to;
}
void* __tsan_memmove(void* to, const void* from, std::size_t bytes) {
  current_memory->begin_block(to, from, bytes, __builtin_return_address(0));
  std::memmove(to, from, bytes);
  current_memory->end_block(to, bytes);
  return to;
}
void* __tsan_memset(void* to, int value, std::size_t bytes) {
  current_memory->begin_block(to, nullptr, bytes, __builtin_return_address(0));
  std::memset(to, value, bytes);
  current_memory->end_block(to, bytes);
  return to;
}

#define MODIFY(BITS, NAME, NEW)                                                        \
  std::uint##BITS##_t __tsan_atomic##BITS##_##NAME(volatile std::uint##BITS##_t* word, \
                                                   std::uint##BITS##_t value, int) {   \
    using T = std::uint##BITS##_t;                                                     \
    return current_memory->modify(                                                     \
        const_cast<T*>(word), [&](T old) { return static_cast<T>(NEW); },              \
        __builtin_return_address(0));                                                  \
  }
#define COMPARE(BITS, NAME)                                                                \
  int __tsan_atomic##BITS##_compare_exchange_##NAME(volatile std::uint##BITS##_t* word,    \
                                                    std::uint##BITS##_t* expected,         \
                                                    std::uint##BITS##_t value, int, int) { \
    using T = std::uint##BITS##_t;                                                         \
    const T found = current_memory->modify(                                                \
        const_cast<T*>(word), [&](T old) { return old == *expected ? value : old; },       \
        __builtin_return_address(0));                                                      \
    const bool same = found == *expected;                                                  \
    *expected = found;                                                                     \
    return same ? 1 : 0;                                                                   \
  }
#define ATOMIC_OF(BITS)                                                                            \
  std::uint##BITS##_t __tsan_atomic##BITS##_load(const volatile std::uint##BITS##_t* word, int) {  \
    return current_memory->load(const_cast<const std::uint##BITS##_t*>(word),                      \
                                __builtin_return_address(0));                                      \
  }                                                                                                \
  void __tsan_atomic##BITS##_store(volatile std::uint##BITS##_t* word, std::uint##BITS##_t value,  \
                                   int order) {                                                    \
    current_memory->store(const_cast<std::uint##BITS##_t*>(word), value, order_of(order),          \
                          __builtin_return_address(0));                                            \
  }                                                                                                \
  MODIFY(BITS, exchange, (static_cast<void>(old), value))                                          \
  MODIFY(BITS, fetch_add, old + value)                                                             \
  MODIFY(BITS, fetch_sub, old - value)                                                             \
  MODIFY(BITS, fetch_and, old& value)                                                              \
  MODIFY(BITS, fetch_or, old | value)                                                              \
  MODIFY(BITS, fetch_xor, old ^ value)                                                             \
  MODIFY(BITS, fetch_nand, ~(old & value))                                                         \
  COMPARE(BITS, strong)                                                                            \
  COMPARE(BITS, weak)                                                                              \
  std::uint##BITS##_t __tsan_atomic##BITS##_compare_exchange_val(                                  \
      volatile std::uint##BITS##_t* word, std::uint##BITS##_t expected, std::uint##BITS##_t value, \
      int, int) {                                                                                  \
    using T = std::uint##BITS##_t;                                                                 \
    return current_memory->modify(                                                                 \
        const_cast<T*>(word), [&](T old) { return old == expected ? value : old; },                \
        __builtin_return_address(0));                                                              \
  }

ATOMIC_OF(8)
ATOMIC_OF(16)
ATOMIC_OF(32)
ATOMIC_OF(64)

void __tsan_atomic_thread_fence(int order) { current_memory->fence(order_of(order)); }
void __tsan_atomic_signal_fence(int /*order*/) {}

}  // extern "C"

// NOLINTEND(bugprone-reserved-identifier, bugprone-macro-parentheses)
