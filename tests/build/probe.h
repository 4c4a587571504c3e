// A piece of freestanding code in the manner of the core. It exists to be built in every variant.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <concepts>
#include <cstdint>
#include <span>

namespace shootdown::probe {

template <std::unsigned_integral T>
T mask_of(std::span<const T> bits) {
  T mask = 0;
  for (const T bit : bits) mask |= T{1} << bit;
  return mask;
}

// The generation after the given one.
class Generation {
 public:
  std::uint64_t advance() { return value_.fetch_add(1, std::memory_order_seq_cst) + 1; }

 private:
  std::atomic<std::uint64_t> value_{1};
};

}  // namespace shootdown::probe
