// The input pages of Hyper-V's flush hypercalls, word by word.
#include "core/paravirt/hyperv_input.h"

#include <gtest/gtest.h>

#include <initializer_list>

namespace shootdown {
namespace {

constexpr std::uint64_t kRoot = 0x1234'5000;

ProcessorSet set_of(std::initializer_list<std::uint32_t> processors) {
  ProcessorSet set;
  for (const std::uint32_t processor : processors) EXPECT_TRUE(set.add(processor));
  return set;
}

std::uint64_t write(HypervPage& page, const ProcessorSet& set, VirtAddr start, VirtAddr end) {
  page.fill(~std::uint64_t{0});
  return write_hyperv_flush(page, {.address_space = kRoot, .flags = 0, .start = start, .end = end},
                            set);
}

std::uint64_t entries_of(std::uint64_t control) { return (control >> 32) & 0xfff; }

TEST(ProcessorSet, BanksOf64) {
  const ProcessorSet set = set_of({0, 63, 64, 130});
  EXPECT_EQ(set.valid_banks(), 0b111u);
  EXPECT_EQ(set.bank(0), (std::uint64_t{1} << 63) | 1);
  EXPECT_EQ(set.bank(1), 1u);
  EXPECT_EQ(set.bank(2), 4u);
  EXPECT_FALSE(set.is_plain());
  EXPECT_TRUE(set_of({0, 63}).is_plain());
}

TEST(ProcessorSet, TheEmptySetIsASet) {
  EXPECT_TRUE(ProcessorSet().empty());
  EXPECT_TRUE(ProcessorSet().is_plain());
  EXPECT_FALSE(set_of({0}).empty());
}

TEST(ProcessorSet, RefusesWhatItCannotName) {
  ProcessorSet set;
  EXPECT_TRUE(set.add(4095));
  EXPECT_FALSE(set.add(4096));
  EXPECT_FALSE(set.add(kNoProcessor));
}

TEST(HypervInput, AWholeMmOnProcessorsBelow64) {
  HypervPage page;
  EXPECT_EQ(write(page, set_of({1, 5}), 0, 0), 0x0002u);
  EXPECT_EQ(page[0], kRoot);
  EXPECT_EQ(page[1], kHypervNonGlobalOnly);
  EXPECT_EQ(page[2], 0b10'0010u);
  EXPECT_EQ(page[3], ~std::uint64_t{0}) << "nothing behind it";
}

TEST(HypervInput, AListOfSmallEntriesUntilItIsFull) {
  constexpr Capacities kSmall{.hyperv_entries = 3, .hyperv_pages = 2};
  const auto write_small = [&kSmall](HypervPage& page, VirtAddr end) {
    return write_hyperv_flush(page,
                              {.address_space = kRoot, .flags = 0, .start = 0x5000, .end = end},
                              set_of({0}), kSmall);
  };
  HypervPage page;
  EXPECT_EQ(entries_of(write_small(page, 0x7000)), 1u);
  EXPECT_EQ(entries_of(write_small(page, 0xb000)), 3u) << "the last that fits";
  EXPECT_EQ(page[3], 0x5000u | 1);
  EXPECT_EQ(page[4], 0x7000u | 1);
  EXPECT_EQ(page[5], 0x9000u | 1);
  EXPECT_EQ(write_small(page, 0xc000), 0x0002u) << "one page more: the whole address space";
}

TEST(HypervInput, AListOnProcessorsBelow64) {
  HypervPage page;
  EXPECT_EQ(write(page, set_of({0}), 0x5000, 0x8000), 0x0003u | (std::uint64_t{1} << 32));
  EXPECT_EQ(page[1], 0u);
  EXPECT_EQ(page[2], 1u);
  EXPECT_EQ(page[3], 0x5000u | 2) << "a page and two more";
}

TEST(HypervInput, ASparseSetHasItsBanksBeforeTheList) {
  HypervPage page;
  const std::uint64_t control = write(page, set_of({3, 70, 4095}), 0x5000, 0x6000);
  EXPECT_EQ(control, 0x0014u | (std::uint64_t{3} << 17) | (std::uint64_t{1} << 32));
  EXPECT_EQ(page[2], 0u) << "sparse format";
  EXPECT_EQ(page[3], (std::uint64_t{1} << 63) | 0b11);
  EXPECT_EQ(page[4], 8u);
  EXPECT_EQ(page[5], std::uint64_t{1} << 6);
  EXPECT_EQ(page[6], std::uint64_t{1} << 63);
  EXPECT_EQ(page[7], 0x5000u);
}

TEST(HypervInput, AWholeMmOnASparseSet) {
  HypervPage page;
  EXPECT_EQ(write(page, set_of({64}), 0, 0), 0x0013u | (std::uint64_t{1} << 17));
  EXPECT_EQ(page[3], 0b10u) << "bank 0 is empty and left out";
  EXPECT_EQ(page[4], 1u);
}

TEST(HypervInput, AnEntryHoldsAtMost4096Pages) {
  HypervPage page;
  constexpr VirtAddr kStart = 0x4000'0000;
  EXPECT_EQ(entries_of(write(page, set_of({0}), kStart, kStart + (4096ULL << 12))), 1u);
  EXPECT_EQ(page[3], kStart | 4095);
  EXPECT_EQ(entries_of(write(page, set_of({0}), kStart, kStart + (4097ULL << 12))), 2u);
  EXPECT_EQ(page[3], kStart | 4095);
  EXPECT_EQ(page[4], kStart + (4096ULL << 12)) << "one page, none more";
}

TEST(HypervInput, ARangeUpToTheEndOfTheAddressSpace) {
  HypervPage page;
  EXPECT_EQ(entries_of(write(page, set_of({0}), ~VirtAddr{0} - 0x1fff, 0)), 1u);
  EXPECT_EQ(page[3], (~VirtAddr{0} - 0x1fff) | 1);
}

TEST(HypervInput, AListWithoutRoomBecomesTheWholeMm) {
  HypervPage page;
  constexpr std::uint64_t kFits = (512 - 3) * 4096ULL;
  EXPECT_EQ(entries_of(write(page, set_of({0}), 0, kFits << 12)), 509u);
  const std::uint64_t control = write(page, set_of({0}), 0, (kFits + 1) << 12);
  EXPECT_EQ(control, 0x0002u);
  EXPECT_EQ(page[1], kHypervNonGlobalOnly);
}

}  // namespace
}  // namespace shootdown
