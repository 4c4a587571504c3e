// A set of CPUs whose size is known when a program runs.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/types.h"

namespace shootdown::timed {

class CpuSet {
 public:
  [[nodiscard]] bool test(CpuId cpu) const {
    return cpu / 64 < words_.size() && ((words_[cpu / 64] >> (cpu % 64)) & 1) != 0;
  }
  void set(CpuId cpu) {
    if (cpu / 64 >= words_.size()) words_.resize((cpu / 64) + 1);
    words_[cpu / 64] |= std::uint64_t{1} << (cpu % 64);
  }
  /// No member has ever been set since the set was cleared.
  [[nodiscard]] bool empty() const { return words_.empty(); }
  void clear() { words_.clear(); }
  CpuSet& operator|=(const CpuSet& other) {
    if (other.words_.size() > words_.size()) words_.resize(other.words_.size());
    for (std::size_t i = 0; i < other.words_.size(); ++i) words_[i] |= other.words_[i];
    return *this;
  }

  /// The members in [first, end).
  [[nodiscard]] CpuId count_between(CpuId first, CpuId end) const {
    CpuId count = 0;
    for (CpuId word = first / 64; word < words_.size() && word * 64 < end; ++word) {
      std::uint64_t bits = words_[word];
      if (word == first / 64) bits &= ~std::uint64_t{0} << (first % 64);
      if (end - (word * 64) < 64) bits &= (std::uint64_t{1} << (end - (word * 64))) - 1;
      count += static_cast<CpuId>(std::popcount(bits));
    }
    return count;
  }

 private:
  std::vector<std::uint64_t> words_;
};

}  // namespace shootdown::timed
