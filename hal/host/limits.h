// Sizes of the model and of what judges it that no real machine has. A run that reaches one may
// show less than it seems to, so it says so.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace shootdown::host {

enum class Limit : std::uint8_t {
  deviations,  // of a scenario: a strategy that had no room left ran the rest as by default
  frames,      // an allocation failed that no scenario asked to fail
  words,       // a compiler reorders: the words whose past is kept
  kCount,
};
inline constexpr unsigned kLimits = static_cast<unsigned>(Limit::kCount);

/// In the order of Limit, behind "reached: ".
inline constexpr std::array<std::string_view, kLimits> kLimitTexts{
    "a schedule with no room for more deviations", "all frames of the model in use",
    "more words than the model of the compiler keeps"};
static_assert(!kLimitTexts.back().empty(), "each Limit has a text");

/// Which ones a run has reached.
class Limits {
 public:
  void clear() { reached_ = 0; }
  void reach(Limit limit) { reached_ |= 1U << static_cast<unsigned>(limit); }
  [[nodiscard]] bool any() const { return reached_ != 0; }
  [[nodiscard]] bool test(Limit limit) const {
    return ((reached_ >> static_cast<unsigned>(limit)) & 1U) != 0;
  }

 private:
  std::uint32_t reached_{0};
};

}  // namespace shootdown::host
