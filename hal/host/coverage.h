// Feedback about interleavings, for fuzzing engines that look at code coverage only.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace shootdown::host {

/// Features such as "CPU j read at B what CPU i wrote at A". A run collects those it meets here;
/// the fuzz target hands them to its engine afterwards. How often a feature is met is not kept: it
/// made most inputs look new to an engine, which then spent its time on them (docs/findings.md).
class FeatureSet {
 public:
  static constexpr std::size_t kFeatures = 8192;

  void hit(std::uint32_t feature) {
    const std::uint32_t index = feature % kFeatures;
    if (met_[index]) return;
    met_[index] = true;
    list_[size_++] = static_cast<std::uint16_t>(index);
  }
  template <class Visit>
  void for_each(Visit&& visit) const {
    for (std::size_t i = 0; i < size_; ++i) visit(list_[i]);
  }
  [[nodiscard]] std::size_t size() const { return size_; }
  void clear() {
    for (std::size_t i = 0; i < size_; ++i) met_[list_[i]] = false;
    size_ = 0;
  }

 private:
  std::array<bool, kFeatures> met_{};
  std::array<std::uint16_t, kFeatures> list_{};
  std::size_t size_{0};
};

}  // namespace shootdown::host
