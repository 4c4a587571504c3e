// Checksums of plain structs. A struct is taken apart by a structured binding, which names each of
// its fields or does not compile, so that a new field cannot be missed. Not byte by byte, because
// padding has no defined content.
#pragma once

#include <cstdint>
#include <type_traits>

namespace shootdown::fuzz {

template <class T>
std::uint64_t bits_of(const T& value) {
  if constexpr (std::is_pointer_v<T>) {
    return reinterpret_cast<std::uintptr_t>(value);
  } else {
    return static_cast<std::uint64_t>(value);
  }
}

template <class... T>
std::uint64_t checksum(const T&... values) {
  std::uint64_t sum = 0;
  ((sum = (sum ^ bits_of(values)) * 0x9e37'79b9'7f4a'7c15), ...);
  return sum;
}

}  // namespace shootdown::fuzz
