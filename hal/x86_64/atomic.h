// The HAL's atomic word.
#pragma once

// clang-format off
#include "core/macros_begin.inc"
// clang-format on

#include <atomic>

namespace shootdown::x86 {

/// A thin wrapper over std::atomic: every access names its order, and nothing converts silently.
/// A read-modify-write of any order is a locked instruction, hence a full barrier, which the
/// core relies on (`HalAtomics`). Orders are constants at every call, so each access is one
/// instruction.
template <class T>
class Atomic {
 public:
  constexpr Atomic() = default;
  constexpr explicit(false) Atomic(T value) : value_(value) {}
  Atomic(const Atomic&) = delete;
  Atomic& operator=(const Atomic&) = delete;

  [[gnu::always_inline]] T load(std::memory_order order) const { return value_.load(order); }
  /// No other CPU writes the word, so there is nothing to be ordered against, and nothing to be
  /// torn: a plain access, which the compiler joins with the instruction that uses it. An atomic
  /// load, even a relaxed one, it gives an instruction of its own.
  [[gnu::always_inline]] T owner_load() const {
    static_assert(sizeof(value_) == sizeof(T));  // NOLINT(bugprone-sizeof-expression): a pointer
    return *reinterpret_cast<const T*>(&value_);
  }
  [[gnu::always_inline]] void store(T value, std::memory_order order) {
    value_.store(value, order);
  }
  [[gnu::always_inline]] T exchange(T value, std::memory_order order) {
    return value_.exchange(value, order);
  }
  [[gnu::always_inline]] T fetch_add(T value, std::memory_order order) {
    return value_.fetch_add(value, order);
  }
  [[gnu::always_inline]] T fetch_or(T value, std::memory_order order) {
    return value_.fetch_or(value, order);
  }
  [[gnu::always_inline]] T fetch_and(T value, std::memory_order order) {
    return value_.fetch_and(value, order);
  }
  /// On failure `expected` gets the current value, read with acquire if `order` acquires.
  [[gnu::always_inline]] bool compare_exchange(T& expected, T value, std::memory_order order) {
    return value_.compare_exchange_strong(expected, value, order);
  }

 private:
  static_assert(std::atomic<T>::is_always_lock_free);
  std::atomic<T> value_{};
};

}  // namespace shootdown::x86

#include "core/macros_end.inc"
