// Modelled memory: owners, poison, reuse, exhaustion.
#include "hal/host/frames.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <set>

#if __has_feature(address_sanitizer)
#include <sanitizer/asan_interface.h>
#endif

namespace shootdown::host {
namespace {

TEST(Frames, KnowOwnerKindAndLastChange) {
  FramePool pool;
  const std::uint32_t frame = pool.allocate(FrameKind::table, 0x1234, 7, 3);
  EXPECT_EQ(pool.info(frame).kind, FrameKind::table);
  EXPECT_EQ(pool.info(frame).owner, 0x1234);
  EXPECT_EQ(pool.info(frame).changed_at, 7u);
  EXPECT_EQ(pool.info(frame).changed_by, 3u);
  pool.release(frame, 9, 2);
  EXPECT_EQ(pool.info(frame).kind, FrameKind::free);
  EXPECT_EQ(pool.info(frame).owner, 0x1234) << "reports name the last owner";
  EXPECT_EQ(pool.info(frame).changed_at, 9u);
  EXPECT_EQ(pool.info(frame).changed_by, 2u);
}

TEST(Frames, AreReusedLastInFirstOut) {
  FramePool pool;
  const std::uint32_t first = pool.allocate(FrameKind::data, 0, 0, 0);
  const std::uint32_t second = pool.allocate(FrameKind::data, 0, 0, 0);
  pool.release(first, 0, 0);
  pool.release(second, 0, 0);
  EXPECT_EQ(pool.allocate(FrameKind::table, 0, 0, 0), second);
  EXPECT_EQ(pool.allocate(FrameKind::table, 0, 0, 0), first);
}

TEST(Frames, RunOutWithAnAnswerAndComeBack) {
  FramePool pool;
  std::set<std::uint32_t> frames;
  for (std::size_t i = 0; i < FramePool::kFrames; ++i) {
    frames.insert(pool.allocate(FrameKind::data, 0, 0, 0));
  }
  EXPECT_EQ(frames.size(), FramePool::kFrames);
  EXPECT_FALSE(frames.contains(FramePool::kNoFrame));
  EXPECT_EQ(pool.allocate(FrameKind::data, 0, 0, 0), FramePool::kNoFrame);
  pool.release(17, 0, 0);
  EXPECT_EQ(pool.allocate(FrameKind::data, 0, 0, 0), 17u);
}

TEST(Frames, StartWithZeros) {
  FramePool pool;
  const std::uint32_t data = pool.allocate(FrameKind::data, 0, 0, 0);
  *pool.words(data) = 77;
  pool.release(data, 0, 0);
  const std::uint32_t table = pool.allocate(FrameKind::table, 0, 0, 0);
  ASSERT_EQ(table, data);
  for (std::size_t i = 0; i < FramePool::kWords; ++i) ASSERT_EQ(pool.words(table)[i], 0u) << i;
  pool.words(table)[0] = 5;
  pool.release(table, 0, 0);
  EXPECT_EQ(*pool.words(pool.allocate(FrameKind::data, 0, 0, 0)), 0u);
}

// Only AddressSanitizer sees the poison.
#if __has_feature(address_sanitizer)
TEST(Frames, ArePoisonedUnlessAllocated) {
  const auto poisoned = [](const std::uint64_t* word) {
    return __asan_address_is_poisoned(word) != 0;
  };
  FramePool pool;
  EXPECT_TRUE(poisoned(pool.words(0)));
  const std::uint32_t table = pool.allocate(FrameKind::table, 0, 0, 0);
  EXPECT_FALSE(poisoned(pool.words(table)));
  EXPECT_FALSE(poisoned(pool.words(table) + FramePool::kWords - 1));
  const std::uint32_t data = pool.allocate(FrameKind::data, 0, 0, 0);
  EXPECT_FALSE(poisoned(pool.words(data)));
  EXPECT_TRUE(poisoned(pool.words(data) + 1)) << "programs use the first word only";
  pool.release(table, 0, 0);
  EXPECT_TRUE(poisoned(pool.words(table)));
  pool.reset();
  EXPECT_TRUE(poisoned(pool.words(data)));
}
#endif

TEST(Frames, AreForgottenByAReset) {
  FramePool pool;
  const std::uint32_t first = pool.allocate(FrameKind::table, 5, 1, 1);
  pool.allocate(FrameKind::table, 6, 1, 1);
  pool.release(first, 2, 2);
  pool.reset();
  for (std::uint32_t frame = 0; frame < FramePool::kFrames; ++frame) {
    ASSERT_EQ(pool.info(frame).kind, FrameKind::free);
    ASSERT_EQ(pool.info(frame).owner, 0);
    ASSERT_EQ(pool.info(frame).changed_at, kBeforeRun);
  }
  EXPECT_EQ(pool.allocate(FrameKind::data, 0, 0, 0), first) << "the order is that of a new pool";
}

TEST(Frames, HaveAddressesOfTheirOwnAndZeroIsNone) {
  EXPECT_EQ(FramePool::frame_at(0), FramePool::kNoFrame);
  EXPECT_EQ(FramePool::frame_at(0xfff), FramePool::kNoFrame);
  for (std::uint32_t frame = 0; frame < FramePool::kFrames; ++frame) {
    const PhysAddr address = FramePool::address(frame);
    ASSERT_EQ(address & 0xfff, 0u);
    ASSERT_EQ(FramePool::frame_at(address | 0x8000'0000'0000'0fff), frame) << "flags do not matter";
  }
  EXPECT_EQ(FramePool::frame_at(FramePool::address(FramePool::kFrames)), FramePool::kNoFrame);
  EXPECT_EQ(FramePool::frame_at(0x000f'ffff'ffff'f000), FramePool::kNoFrame);
}

TEST(Frames, AreFoundByTheAddressOfAWord) {
  FramePool pool;
  EXPECT_EQ(pool.frame_of(pool.words(0)), 0u);
  EXPECT_EQ(pool.frame_of(pool.words(3) + FramePool::kWords - 1), 3u);
  EXPECT_EQ(pool.frame_of(pool.words(0) - 1), FramePool::kNoFrame);
  EXPECT_EQ(pool.frame_of(pool.words(FramePool::kFrames - 1) + FramePool::kWords),
            FramePool::kNoFrame);
}

}  // namespace
}  // namespace shootdown::host
