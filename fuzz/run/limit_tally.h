// How many of many runs have reached a limit of the model.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "hal/host/limits.h"

namespace shootdown::fuzz {

class LimitTally {
 public:
  void add(const host::Limits& limits) {
    if (!limits.any()) return;
    for (unsigned i = 0; i < host::kLimits; ++i) {
      count_[i] += limits.test(static_cast<host::Limit>(i)) ? 1 : 0;
    }
  }
  /// A line for each limit that was reached, or nothing.
  [[nodiscard]] std::string text() const {
    std::string text;
    for (unsigned i = 0; i < host::kLimits; ++i) {
      if (count_[i] == 0) continue;
      text.append("reached in ").append(std::to_string(count_[i])).append(" executions: ");
      text.append(host::kLimitTexts[i]).append("\n");
    }
    return text;
  }

 private:
  std::array<std::uint64_t, host::kLimits> count_{};
};

}  // namespace shootdown::fuzz
