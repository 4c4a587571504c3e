// From which size on a range is flushed whole: a small model of what a CPU pays.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

namespace shootdown {

/// What a flush costs the CPU that carries it out, in any unit, nanoseconds here. Each target pays
/// the same at the same time as the initiator, so the number of targets does not matter.
struct FlushCosts {
  /// One invalidation. The default is the classic figure, about 100 ns.
  std::uint32_t one_page{100};
  /// The load of CR3 that drops a whole context.
  std::uint32_t whole_context{100};
  /// One walk, for an entry that the whole flush dropped although it was good.
  std::uint32_t refill{50};
  /// How many such entries are needed again: those of a first-level data TLB.
  std::uint32_t working_set{64};
};

/// The most strides that are not dearer one by one than by a flush of the whole context and the
/// walks behind it. Page-table isolation doubles what is done to the TLB, once for each half, but
/// not the walks: an entry is needed again in one half.
[[nodiscard]] constexpr std::uint32_t ceiling_for(const FlushCosts& costs, bool pti) {
  const std::uint64_t halves = pti ? 2 : 1;
  const std::uint64_t whole =
      (halves * costs.whole_context) + (std::uint64_t{costs.refill} * costs.working_set);
  constexpr std::uint64_t kMost = std::numeric_limits<std::uint32_t>::max();
  if (costs.one_page == 0) return kMost;
  return static_cast<std::uint32_t>(std::min(whole / (halves * costs.one_page), kMost));
}

}  // namespace shootdown
