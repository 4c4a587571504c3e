// Ranges of addresses. Every range enters the core through `enter_range`, which makes it whole
// strides; behind it no code compares addresses with an end, so the end of the address space is no
// special case.
#pragma once

#include <cstdint>

#include "core/trace.h"
#include "core/types.h"

namespace shootdown {

/// What a flush covers: the bytes of [start, end), and with them every page that holds one. An end
/// of 0 is 2^64, behind the last byte of all; kFlushAll stands for everything, and {0, 0} is empty.
/// The stride is the smallest page size that was or is mapped in the range.
struct FlushRange {
  VirtAddr start{0};
  VirtAddr end{kFlushAll};
  std::uint8_t stride_shift{kPageShift};

  [[nodiscard]] constexpr bool all() const { return end == kFlushAll; }
  /// Of a range that `enter_range` has returned, and that is not all. Modulo 2^64, so that the end
  /// may be 0.
  [[nodiscard]] constexpr std::uint64_t strides() const { return (end - start) >> stride_shift; }
};

/// Calls `visit(address)` for each stride of a range that `enter_range` has returned, which holds
/// at least one. Counts, because an address that is compared with an end of 2^64 never reaches it.
/// The first is on its own: most ranges have no other.
template <class Visit>
[[gnu::always_inline]] constexpr void for_each_stride(const FlushRange& range, Visit&& visit) {
  const VirtAddr stride = VirtAddr{1} << range.stride_shift;
  VirtAddr address = range.start;
  std::uint64_t left = range.strides();
  visit(address);
  while (--left != 0) {
    address += stride;
    visit(address);
  }
}

/// The first address behind the lower half of the canonical ones.
inline constexpr VirtAddr kLowerHalfEnd = VirtAddr{1} << 47;

/// Whether all of [start, end), which is not empty, lies in one half of the addresses that a
/// processor with four levels of tables translates. One with five takes more, for which this says
/// no as well.
[[nodiscard]] constexpr bool is_canonical(VirtAddr start, VirtAddr end) {
  // The upper 17 bits of an address are equal, here -1 or 0.
  const auto half = static_cast<std::int64_t>(start) >> 47;
  return half == static_cast<std::int64_t>(end - 1) >> 47 &&
         static_cast<std::uint64_t>(half + 1) <= 1;
}

/// The range that holds [start, end) in whole strides. The sum may pass 2^64: what is left of it
/// then is less than a stride, and becomes 0.
[[nodiscard]] constexpr FlushRange round_outwards(VirtAddr start, VirtAddr end,
                                                  std::uint8_t stride_shift) {
  const VirtAddr inside = (VirtAddr{1} << stride_shift) - 1;
  return {.start = start & ~inside, .end = (end + inside) & ~inside, .stride_shift = stride_shift};
}

/// What is flushed if `asked` is asked for: the same, rounded outwards to whole strides. Everything
/// if that is more than `most` strides; and if part of it is not canonical, where INVPCID and
/// INVLPGB would fault. A range without a byte in it is a mistake of its caller, which would take
/// the token of a flush of nothing for a proof.
template <class H>
[[nodiscard]] constexpr FlushRange enter_range(const FlushRange& asked, std::uint64_t most) {
  if (asked.all()) return {};
  require<H>(asked.start != asked.end, Rule::r13, "a range to flush is empty");
  require<H>(asked.start <= asked.end - 1, Rule::r13, "a range to flush ends before it begins");
  require<H>(asked.stride_shift >= kPageShift && asked.stride_shift <= kHugePageShift, Rule::r13,
             "a stride is from 4 KiB to 1 GiB");
  const FlushRange whole = round_outwards(asked.start, asked.end, asked.stride_shift);
  // The whole world has 0 strides, modulo 2^64: one less is more than any limit.
  if (whole.strides() - 1 >= most || !is_canonical(whole.start, whole.end)) return {};
  return whole;
}

/// Whether `enter_range` would do nothing to `asked`, as far as that is told by a few comparisons:
/// at most `most` whole small pages below the last one of the lower half. One test tells that both
/// addresses are low and of pages.
[[nodiscard, gnu::always_inline]] constexpr bool is_ordinary(const FlushRange& asked,
                                                             std::uint64_t most) {
  constexpr VirtAddr kInsidePage = (VirtAddr{1} << kPageShift) - 1;
  constexpr VirtAddr kLowPages = (kLowerHalfEnd - 1) & ~kInsidePage;
  return asked.stride_shift == kPageShift && ((asked.start | asked.end) & ~kLowPages) == 0 &&
         asked.start < asked.end && asked.strides() <= most;
}

}  // namespace shootdown
