// A device that walks page tables by itself, with a TLB that no CPU reaches.
#include "hal/host/device.h"

#include <gtest/gtest.h>

#include "tests/host/two_mm_fixture.h"

namespace shootdown::host {
namespace {

constexpr unsigned kContext = 3;
constexpr VirtAddr kKernelPage = 0xffff'8000'0000'0000;

/// A device bound to the world's first mm; the schedule lets it walk for kPage at once.
struct Bench {
  TwoMmFixture mms;
  Device& device = mms.fixture.machine().device();
  explicit Bench(unsigned level = 1) {
    mms.tables.map(kPage);
    mms.fixture.at(1, EventKind::device, kContext, kPage, level);
    device.bind(kContext, FramePool::address(FramePool::frame_at(mms.tables.cr3(0))));
  }
  [[nodiscard]] bool caches(VirtAddr address) {
    Tlb tlb = device.tlb();
    return tlb.find(address, kContext) != nullptr;
  }
  [[nodiscard]] bool points(VirtAddr address, unsigned level) const {
    return device.tlb().find_table(address, kContext, level) != nullptr;
  }
};

TEST(Device, WalksWhenTheScheduleSaysSoAndSetsAccessedBits) {
  Bench bench;
  bench.mms.run([&] {
    HostHal::full_fence();
    EXPECT_TRUE(bench.caches(kPage) && bench.points(kPage, 1) && bench.points(kPage, 3));
    EXPECT_NE(bench.mms.tables.entry(kPage, 1) & kPteAccessed, 0u);
    EXPECT_EQ(bench.mms.fixture.tlb().entries.size(), 0u) << "nothing of a CPU's changes";
  });
}

TEST(Device, AWalkMayStopEarly) {
  Bench bench(3);
  bench.mms.run([&] {
    HostHal::full_fence();
    EXPECT_TRUE(bench.points(kPage, 2));
    EXPECT_FALSE(bench.points(kPage, 1) || bench.caches(kPage));
  });
}

TEST(Device, HearsNoInvalidationOfACpu) {
  Bench bench;
  bench.mms.run([&] {
    HostHal::full_fence();
    HostHal::invlpg(kPage);
    HostHal::invpcid(InvpcidType::everything, 0, 0);
    HostHal::invlpgb({.scope = InvlpgbScope::everything});
    HostHal::tlbsync();
    bench.mms.load(bench.mms.tables, kFirst);
    EXPECT_TRUE(bench.caches(kPage) && bench.points(kPage, 1));
  });
}

TEST(Device, ForgetsARangeWithThePointersOnTheWay) {
  Bench bench;
  bench.mms.tables.map(kFar);
  bench.mms.fixture.at(1, EventKind::device, kContext, kFar);
  bench.mms.run([&] {
    HostHal::full_fence();
    HostHal::full_fence();
    EXPECT_TRUE(bench.caches(kFar));
    bench.device.forget(kContext, kPage - 0x1000, kPage);
    EXPECT_TRUE(bench.caches(kPage)) << "the end is no part of the range";
    EXPECT_TRUE(bench.points(kPage, 1)) << "and neither is what its table covers";
    EXPECT_TRUE(bench.points(kPage, 2)) << "nor its directory, which begins there";
    EXPECT_FALSE(bench.points(kPage, 3)) << "the table above covers the range as well";
    bench.device.forget(kContext, kNext, kNext + 0x1000);
    EXPECT_FALSE(bench.points(kPage, 1)) << "a table that was unhooked may lie anywhere in it";
    EXPECT_TRUE(bench.caches(kPage));
    bench.device.forget(kContext, kPage, kNext);
    EXPECT_FALSE(bench.caches(kPage));
    EXPECT_TRUE(bench.caches(kFar) && bench.points(kFar, 1));
    bench.device.forget(kContext, 0, ~VirtAddr{0});
    EXPECT_EQ(bench.device.tlb().entries.size() + bench.device.tlb().psc.size(), 0u);
  });
}

TEST(Device, KnowsContextsApartAndTheKernelsHalfInEach) {
  Bench bench;
  bench.mms.tables.map(kKernelPage, Tables::kLeaf | kPteGlobal);
  bench.device.bind(kContext + 1, FramePool::address(FramePool::frame_at(bench.mms.tables.cr3(0))));
  bench.mms.fixture.at(1, EventKind::device, kContext, kKernelPage);
  bench.mms.fixture.at(0, EventKind::device, kContext + 1, kKernelPage);
  bench.mms.run([&] {
    HostHal::full_fence();
    HostHal::full_fence();
    EXPECT_EQ(bench.device.tlb().entries.size(), 3u) << "a global page is cached in each";
    bench.device.forget(kContext, kKernelPage, kKernelPage + 0x1000);
    EXPECT_EQ(bench.device.tlb().entries.size(), 2u);
    bench.device.forget_everywhere(kKernelPage, kKernelPage + 0x1000);
    EXPECT_EQ(bench.device.tlb().entries.size(), 1u);
  });
}

TEST(Device, ThatIsUnboundHasForgottenAndDoesNotWalk) {
  Bench bench;
  bench.mms.fixture.at(1, EventKind::device, kContext, kPage);
  bench.mms.run([&] {
    HostHal::full_fence();
    bench.device.unbind(kContext);
    EXPECT_FALSE(bench.caches(kPage) || bench.points(kPage, 1));
    HostHal::full_fence();
    EXPECT_FALSE(bench.caches(kPage) || bench.points(kPage, 1));
  });
}

}  // namespace
}  // namespace shootdown::host
