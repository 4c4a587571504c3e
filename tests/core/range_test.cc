// Ranges: what is made of one where it enters the core, and what each way to flush makes of that.
#include "core/range.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "core/shootdown_all.h"
#include "tests/core/core_fixture.h"
#include "tests/core/paravirt_hal.h"

namespace shootdown::test {
namespace {

using H = RecordingHal<1>;

constexpr VirtAddr kTopPage = ~VirtAddr{0xfff};
constexpr VirtAddr kTopLarge = ~VirtAddr{0x1f'ffff};
constexpr std::uint64_t kMost = 33;

FlushRange enter(VirtAddr start, VirtAddr end, std::uint8_t shift = kPageShift) {
  return enter_range<H>({.start = start, .end = end, .stride_shift = shift}, kMost);
}

std::vector<VirtAddr> strides_of(const FlushRange& range) {
  std::vector<VirtAddr> found;
  if (range.all()) return {kFlushAll};
  for_each_stride(range, [&](VirtAddr address) { found.push_back(address); });
  return found;
}

using Addresses = std::vector<VirtAddr>;

// ---- The arithmetic

TEST(Range, IsRoundedOutwardsToTheStride) {
  EXPECT_EQ(strides_of(enter(0x1000, 0x3000)), (Addresses{0x1000, 0x2000}));
  EXPECT_EQ(strides_of(enter(0x1800, 0x2800)), (Addresses{0x1000, 0x2000}));
  EXPECT_EQ(strides_of(enter(0x1000, 0x1001)), (Addresses{0x1000}));
  EXPECT_EQ(strides_of(enter(0x1fff, 0x2001)), (Addresses{0x1000, 0x2000}));
  EXPECT_EQ(strides_of(enter(0, 1)), (Addresses{0}));
  EXPECT_EQ(strides_of(enter(0x3f'f000, 0x40'1000, kLargePageShift)),
            (Addresses{0x20'0000, 0x40'0000}));
}

TEST(Range, ReachesTheTopOfTheAddressSpace) {
  EXPECT_EQ(strides_of(enter(kTopPage, 0)), (Addresses{kTopPage}));
  EXPECT_EQ(strides_of(enter(kTopPage + 0x800, kTopPage + 0xffe)), (Addresses{kTopPage}));
  EXPECT_EQ(strides_of(enter(kTopPage - 1, 0)), (Addresses{kTopPage - 0x1000, kTopPage}));
  EXPECT_EQ(strides_of(enter(kTopLarge - 1, kTopLarge + 1, kLargePageShift)),
            (Addresses{kTopLarge - 0x20'0000, kTopLarge}));
}

TEST(Range, IsCountedWhenItIsRounded) {
  EXPECT_EQ(enter(0x1800, 0x1800 + ((kMost - 1) << kPageShift)).strides(), kMost);
  EXPECT_TRUE(enter(0x1800, 0x1800 + (kMost << kPageShift)).all());
  EXPECT_EQ(enter(0 - (kMost << kPageShift), 0).strides(), kMost);
  EXPECT_TRUE(enter(0 - ((kMost + 1) << kPageShift), 0).all());
}

TEST(Range, ThatIsRoundedToTheWholeWorldIsEverything) {
  EXPECT_TRUE(enter(0x800, kTopPage + 1).all());
  EXPECT_TRUE(enter_range<H>({.start = 1, .end = 0}, ~std::uint64_t{0}).all());
  EXPECT_TRUE(enter(0x5000, kFlushAll).all());
}

TEST(Range, WithAddressesThatAreNotCanonicalIsEverything) {
  constexpr VirtAddr kLow = VirtAddr{1} << 47;
  constexpr VirtAddr kHigh = 0 - kLow;
  EXPECT_EQ(strides_of(enter(kLow - 1, kLow)), (Addresses{kLow - 0x1000}));
  EXPECT_EQ(strides_of(enter(kHigh, kHigh + 1)), (Addresses{kHigh}));
  EXPECT_TRUE(enter(kLow - 1, kLow + 1).all());
  EXPECT_TRUE(enter(kLow, kLow + 1).all());
  EXPECT_TRUE(enter(kHigh - 1, kHigh).all());
  EXPECT_TRUE(enter(kHigh - 1, kHigh + 1).all());
  EXPECT_TRUE(enter_range<H>({.start = kLow - 1, .end = kHigh + 1}, ~std::uint64_t{0}).all());
}

TEST(R13_Range, WithoutAByteOrWithoutAPageSizeIsRefused) {
  for (const FlushRange& bad :
       {FlushRange{.start = 0, .end = 0}, FlushRange{.start = 0x5000, .end = 0x5000},
        FlushRange{.start = 0x5001, .end = 0x5000}, FlushRange{.start = kTopPage, .end = 0x1000},
        FlushRange{.start = 0x5000, .end = 0x6000, .stride_shift = 0},
        FlushRange{.start = 0x5000, .end = 0x6000, .stride_shift = 39},
        FlushRange{.start = 0x5000, .end = 0x6000, .stride_shift = 64}}) {
    EXPECT_EQ(refused_by([&] { static_cast<void>(enter_range<H>(bad, kMost)); }), Rule::r13)
        << std::hex << bad.start << " to " << bad.end;
  }
}

// ---- What each way to flush makes of it

struct Asked {
  VirtAddr start;
  VirtAddr end;
  Addresses pages;
};

const std::vector<Asked> kOddRanges{
    {0x1800, 0x2800, {0x1000, 0x2000}},
    {0x1fff, 0x2001, {0x1000, 0x2000}},
    {kTopPage, 0, {kTopPage}},
    {kTopPage - 0x800, kTopPage + 0x801, {kTopPage - 0x1000, kTopPage}},
};

TEST(Range, IsCoveredByInterrupt) {
  for (const Asked& asked : kOddRanges) {
    CoreFixture<2> fixture;
    fixture.run_mm_on({0, 1});
    recorder.clear();
    static_cast<void>(
        flush_tlb_mm_range(fixture.system, fixture.mm, {.start = asked.start, .end = asked.end}));
    for (CpuId cpu : {0U, 1U}) EXPECT_EQ(values("invlpg", cpu), asked.pages);
    recorder.clear();
    static_cast<void>(flush_tlb_kernel_range(fixture.system, asked.start, asked.end));
    for (CpuId cpu : {0U, 1U}) EXPECT_EQ(values("invlpg", cpu), asked.pages) << "kernel";
  }
}

TEST(Range, OfOnePageIsThePageAroundTheByte) {
  CoreFixture<1> fixture;
  fixture.run_mm_on({0});
  for (const VirtAddr address : {VirtAddr{0x5000}, VirtAddr{0x5fff}, kTopPage, ~VirtAddr{0}}) {
    recorder.clear();
    static_cast<void>(flush_tlb_page(fixture.system, fixture.mm, address));
    EXPECT_EQ(values("invlpg"), Addresses{address & ~VirtAddr{0xfff}});
  }
}

TEST(Range, IsCoveredByBroadcastAndEnds) {
  using Four = CoreFixture<4>;
  for (const Asked& asked : kOddRanges) {
    Four fixture({.broadcast = {.enabled = true, .max_pages = 1, .threshold = 1}});
    fixture.run_mm_on({0, 1});
    for (int i = 0; i < 3; ++i) static_cast<void>(flush_tlb_mm(fixture.system, fixture.mm));
    for (const bool kernel : {false, true}) {
      Four::H::broadcasts.clear();
      if (kernel) {
        static_cast<void>(flush_tlb_kernel_range(fixture.system, asked.start, asked.end));
      } else {
        static_cast<void>(flush_tlb_mm_range(fixture.system, fixture.mm,
                                             {.start = asked.start, .end = asked.end}));
      }
      Addresses pages;
      for (const Invlpgb& one : Four::H::broadcasts) {
        EXPECT_EQ(one.scope, kernel ? InvlpgbScope::kernel_pages : InvlpgbScope::pages);
        EXPECT_EQ(one.count, 1u);
        pages.push_back(one.address);
      }
      EXPECT_EQ(pages, asked.pages);
    }
  }
}

TEST(Range, IsCoveredOnTheWayToUserMode) {
  for (const Asked& asked : kOddRanges) {
    CoreFixture<1> fixture({.isolation = {.enabled = true, .defer_user_pages = true}});
    fixture.run_mm_on({0});
    EntryBlock<CoreFixture<1>::H> block;
    fixture.with_interrupts_off(0, [&] {
      return_to_user(fixture.system, block);
      enter_from_user(block);
    });
    static_cast<void>(
        flush_tlb_mm_range(fixture.system, fixture.mm, {.start = asked.start, .end = asked.end}));
    recorder.clear();
    fixture.with_interrupts_off(0, [&] { return_to_user(fixture.system, block); });
    EXPECT_EQ(values("invlpg"), asked.pages);
  }
}

TEST(Range, IsCoveredByHypercallsAndByTheHub) {
  using P = ParavirtHal<4>;
  for (const Asked& asked : kOddRanges) {
    for (const auto* ops : {&kHypervOps<P>, &kXenOps<P>, &kUvBauOps<P>}) {
      CoreFixture<4, P> fixture({}, ops);
      P::bau_handler = [&] { handle_bau_interrupt(fixture.system); };
      fixture.run_mm_on({0, 1});
      static_cast<void>(
          flush_tlb_mm_range(fixture.system, fixture.mm, {.start = asked.start, .end = asked.end}));
      if (ops == &kHypervOps<P>) {
        ASSERT_EQ(P::hyperv_calls.size(), 1u);
        EXPECT_EQ(P::hyperv_calls[0].page[3], asked.pages[0] | (asked.pages.size() - 1));
      } else if (ops == &kXenOps<P>) {
        ASSERT_EQ(P::xen_calls.size(), 1u);
        EXPECT_EQ(P::xen_calls[0].operation.command,
                  asked.pages.size() == 1 ? kXenInvlpgMulti : kXenFlushMulti);
      } else {
        ASSERT_EQ(P::bau_calls.size(), 1u);
        EXPECT_EQ(P::bau_calls[0].message.address,
                  asked.pages.size() == 1 ? asked.pages[0] : kFlushAll);
      }
    }
  }
}

// ---- R5: which requests name pages

TEST(R5_Range, OneAddressOfALargePageIsNeverEnough) {
  const FlushRange large{.start = 0x20'0000, .end = 0x40'0000, .stride_shift = kLargePageShift};
  {
    CoreFixture<2> fixture;
    fixture.run_mm_on({0, 1});
    recorder.clear();
    static_cast<void>(flush_tlb_mm_range(fixture.system, fixture.mm, large));
    EXPECT_NEVER("invlpg");
    for (CpuId cpu : {0U, 1U}) EXPECT_EQ(values("write CR3", cpu).size(), 1u);
    EXPECT_EQ(events(TraceKind::handler_end).back().outcome, HandlerOutcome::full);
  }
  using P = ParavirtHal<4>;
  CoreFixture<4, P> fixture({}, &kUvBauOps<P>);
  P::bau_handler = [&] { handle_bau_interrupt(fixture.system); };
  fixture.run_mm_on({0, 1});
  static_cast<void>(flush_tlb_mm_range(fixture.system, fixture.mm, large));
  ASSERT_EQ(P::bau_calls.size(), 1u);
  EXPECT_EQ(P::bau_calls[0].message.address, kFlushAll);
}

TEST(Range, DeferredPagesAreForBackendsWithoutAnOperationOfTheirOwn) {
  using P = ParavirtHal<4>;
  const Config config{.isolation = {.enabled = true, .defer_user_pages = true}};
  for (const auto* ops : {&kKvmOps<P>, &kXenOps<P>}) {
    CoreFixture<4, P> fixture(config, ops);
    fixture.run_mm_on({0});
    recorder.clear();
    static_cast<void>(flush_tlb_page(fixture.system, fixture.mm, 0x5000));
    const bool xen = ops == &kXenOps<P>;
    EXPECT_COUNT(xen ? 0u : 1u, "invlpg");
    EXPECT_EQ(fixture.own(0).deferred.empty(), xen);
    EXPECT_EQ(P::xen_calls.size(), xen ? 1u : 0u);
  }
}

}  // namespace
}  // namespace shootdown::test
