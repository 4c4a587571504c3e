// What Hyper-V's flush hypercalls take: pure functions over the input page (Hyper-V Top Level
// Functional Specification 6.0b, 7.8.2 processor sets, 9.4 and 9.9 flushes, 3 calling).
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "core/capacities.h"
#include "core/types.h"

namespace shootdown {

/// Hypercall codes. The extended forms take sparse processor sets, the others one word of bits.
inline constexpr std::uint64_t kHypervFlushAddressSpace = 0x02;
inline constexpr std::uint64_t kHypervFlushList = 0x03;
inline constexpr std::uint64_t kHypervFlushAddressSpaceExtended = 0x13;
inline constexpr std::uint64_t kHypervFlushListExtended = 0x14;

/// Fields of the control word, by their lowest bit, and of the result.
inline constexpr unsigned kHypervHeaderShift = 17;  // variable header, in words
inline constexpr unsigned kHypervCountShift = 32;   // repetitions
inline constexpr unsigned kHypervStartShift = 48;   // first repetition
inline constexpr std::uint64_t kHypervRepetitions = 0xfff;
inline constexpr std::uint64_t kHypervStatus = 0xffff;

/// Flags of the flush hypercalls.
inline constexpr std::uint64_t kHypervAllAddressSpaces = 2;
inline constexpr std::uint64_t kHypervNonGlobalOnly = 4;

/// The input page, which never crosses a page boundary.
inline constexpr std::size_t kHypervPageWords = 512;
using HypervPage = std::array<std::uint64_t, kHypervPageWords>;

/// "No virtual processor number known": never a valid one, and never taken for processor 0.
inline constexpr std::uint32_t kNoProcessor = ~std::uint32_t{0};

/// A sparse set of virtual processors: 64 banks of 64.
class ProcessorSet {
 public:
  static constexpr unsigned kBanks = 64;

  /// False if the set cannot name the processor, which then must be flushed in another way.
  [[nodiscard]] constexpr bool add(std::uint32_t processor) {
    if (processor >= kBanks * 64) return false;
    banks_[processor / 64] |= std::uint64_t{1} << (processor % 64);
    valid_ |= std::uint64_t{1} << (processor / 64);
    return true;
  }
  [[nodiscard]] constexpr bool empty() const { return valid_ == 0; }
  /// All members are below 64: the plain form can name them.
  [[nodiscard]] constexpr bool is_plain() const { return valid_ <= 1; }
  [[nodiscard]] constexpr std::uint64_t valid_banks() const { return valid_; }
  [[nodiscard]] constexpr std::uint64_t bank(unsigned index) const { return banks_[index]; }

 private:
  std::uint64_t valid_{0};
  std::array<std::uint64_t, kBanks> banks_{};
};

/// What a flush hypercall is asked for. `start == end` asks for the whole address space.
struct HypervFlush {
  std::uint64_t address_space;  // physical address of the top table, without PCID
  std::uint64_t flags;
  VirtAddr start;
  VirtAddr end;
};

namespace internal {

/// Writes the range as entries of a page and up to 4095 more behind it. Returns their number, or 0
/// if there is no room. Counts pages and compares no addresses, so the end of the address space is
/// no special case.
constexpr std::size_t write_page_list(HypervPage& page, std::size_t first, VirtAddr start,
                                      VirtAddr end, const Capacities& most) {
  const std::size_t room = std::min(page.size(), first + most.hyperv_entries);
  std::uint64_t pages = (end - start) >> kPageShift;
  std::size_t at = first;
  for (VirtAddr address = start; pages != 0; ++at) {
    if (at == room) return 0;
    const std::uint64_t here = std::min<std::uint64_t>(pages, most.hyperv_pages);
    page[at] = address | (here - 1);
    address += here << kPageShift;
    pages -= here;
  }
  return at - first;
}

}  // namespace internal

/// Fills the input page and returns the control word. A range that has no room on the page, or in
/// a list of `most` entries, becomes the whole address space. Precondition: the set is not empty,
/// and the range starts and ends on 4 KiB.
constexpr std::uint64_t write_hyperv_flush(HypervPage& page, const HypervFlush& flush,
                                           const ProcessorSet& processors,
                                           const Capacities& most = kCapacities) {
  const bool plain = processors.is_plain();
  page[0] = flush.address_space;
  page[1] = flush.flags;
  std::size_t at = 2;
  std::uint64_t header_words = 0;
  if (plain) {
    page[at++] = processors.bank(0);
  } else {
    page[at++] = 0;  // format: sparse, banks of 64
    page[at++] = processors.valid_banks();
    for (std::uint64_t rest = processors.valid_banks(); rest != 0; rest &= rest - 1) {
      page[at++] = processors.bank(static_cast<unsigned>(std::countr_zero(rest)));
      ++header_words;
    }
  }
  const std::uint64_t header = header_words << kHypervHeaderShift;
  const std::size_t entries = internal::write_page_list(page, at, flush.start, flush.end, most);
  if (entries == 0) {
    page[1] |= kHypervNonGlobalOnly;
    return header | (plain ? kHypervFlushAddressSpace : kHypervFlushAddressSpaceExtended);
  }
  return header | (std::uint64_t{entries} << kHypervCountShift) |
         (plain ? kHypervFlushList : kHypervFlushListExtended);
}

}  // namespace shootdown
