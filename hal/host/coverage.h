// Feedback about interleavings, for fuzzing engines that look at code coverage only.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace shootdown::host {

/// Counters of features such as "CPU j read at B what CPU i wrote at A". A run collects the
/// features it met first here; the fuzz target hands them to its engine afterwards.
class FeatureSet {
 public:
  static constexpr std::size_t kFeatures = 8192;

  void hit(std::uint32_t feature) {
    const std::uint32_t index = feature % kFeatures;
    if (counts_[index] == 0) touched_[touched_count_++] = static_cast<std::uint16_t>(index);
    if (counts_[index] != 255) ++counts_[index];
  }
  template <class Visit>
  void for_each(Visit&& visit) const {
    for (std::size_t i = 0; i < touched_count_; ++i) visit(touched_[i], counts_[touched_[i]]);
  }
  [[nodiscard]] std::size_t size() const { return touched_count_; }
  void clear() {
    for (std::size_t i = 0; i < touched_count_; ++i) counts_[touched_[i]] = 0;
    touched_count_ = 0;
  }

 private:
  std::array<std::uint8_t, kFeatures> counts_{};
  std::array<std::uint16_t, kFeatures> touched_{};
  std::size_t touched_count_{0};
};

}  // namespace shootdown::host
