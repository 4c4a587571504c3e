// Tokens of the C interface: the core's proofs of a flush (core/completion.h) as plain structs.
//
// A struct of C can be copied, which a token of the core cannot. With SD_DEBUG each has a number,
// and the last numbers are kept with whether they are spent, so that a copy that is used after its
// end is told.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "core/completion.h"
#include "core/trace.h"
#include "kernel-glue/embed/shootdown.h"

namespace shootdown::embed {

/// Beside enum sd_permits: `covers` has a bit for each space that was added to a batch.
inline constexpr std::uint32_t kOfBatch = 64;

#ifdef SD_DEBUG

/// The numbers of tokens, from 1 on; 0 is that of a token that was never made. Not words of the
/// HAL: only the text of a failure depends on them.
class TokenNumbers {
 public:
  std::uint32_t make() {
    const std::uint32_t number = 1 + (last_.fetch_add(1, std::memory_order_relaxed) & kNumbers);
    slot(number).store(number, std::memory_order_relaxed);
    return number;
  }
  /// Whether it is known to be spent. One so old that another has its place is not.
  [[nodiscard]] bool is_spent(std::uint32_t number) {
    return slot(number).load(std::memory_order_relaxed) == (number | kSpent);
  }
  void spend(std::uint32_t number) {
    std::uint32_t expected = number;
    slot(number).compare_exchange_strong(expected, number | kSpent, std::memory_order_relaxed);
  }

 private:
  static constexpr std::uint32_t kNumbers = 0x3fff'ffff;
  static constexpr std::uint32_t kSpent = 0x8000'0000;

  std::atomic<std::uint32_t>& slot(std::uint32_t number) { return slots_[number % slots_.size()]; }

  std::atomic<std::uint32_t> last_{0};
  std::array<std::atomic<std::uint32_t>, 255> slots_{};
};

#else

/// Without SD_DEBUG nothing is kept.
class TokenNumbers {
 public:
  static std::uint32_t make() { return 1; }
  static bool is_spent(std::uint32_t /*number*/) { return false; }
  static void spend(std::uint32_t /*number*/) {}
};

#endif

/// The spaces that a batch's token covers, as the bits that it has for them.
inline std::uint64_t spaces_of(const BatchQuiet& token) {
  std::uint64_t bits = 0;
  for (ContextId context = 64; context < 128; ++context) {
    if (token.covers(context)) bits |= std::uint64_t{1} << (context % 64);
  }
  return bits;
}

/// Whether a token of C covers the space with this identity.
inline bool covers(const sd_token& token, ContextId context) {
  if ((token.permits & kOfBatch) != 0) return (token.covers >> (context % 64) & 1) != 0;
  return token.covers == context;
}

}  // namespace shootdown::embed
