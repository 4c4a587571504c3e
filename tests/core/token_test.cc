// Completion tokens: which functions make them, what they permit, and that one can be used up.
#include <gtest/gtest.h>

#include <type_traits>
#include <utility>

#include "tests/core/core_fixture.h"

namespace shootdown::test {
namespace {

using H = RecordingHal<2>;

template <class Token>
constexpr bool kOnlyAFlushMakesIt =
    !std::is_default_constructible_v<Token> && !std::is_copy_constructible_v<Token> &&
    !std::is_copy_assignable_v<Token> && !std::is_move_assignable_v<Token> &&
    std::is_nothrow_move_constructible_v<Token> && !std::is_aggregate_v<Token> &&
    !std::is_constructible_v<Token, ContextId> && !std::is_constructible_v<Token, bool>;

TEST(Completion, TokensAreNotMadeOrCopiedByCallers) {
  static_assert(kOnlyAFlushMakesIt<UserReturnClosed>);
  static_assert(kOnlyAFlushMakesIt<TranslationsQuiet>);
  static_assert(kOnlyAFlushMakesIt<TablesUnreachable>);
  static_assert(kOnlyAFlushMakesIt<MmRetired>);
  static_assert(kOnlyAFlushMakesIt<WalkersQuiet>);
  static_assert(kOnlyAFlushMakesIt<BatchQuiet>);
  static_assert(kOnlyAFlushMakesIt<KernelQuiet>);
  static_assert(kOnlyAFlushMakesIt<KernelTablesUnreachable>);
  static_assert(kOnlyAFlushMakesIt<KernelWalkersQuiet>);
}

template <class Strong, class Weak>
constexpr bool kImplies =
    std::is_convertible_v<const Strong&, const Weak&> &&
    !std::is_convertible_v<const Weak&, const Strong&> && !std::is_constructible_v<Strong, Weak>;

template <class One, class Other>
constexpr bool kUnrelated =
    !std::is_convertible_v<const One&, const Other&> &&
    !std::is_convertible_v<const Other&, const One&> && !std::is_constructible_v<One, Other> &&
    !std::is_constructible_v<Other, One>;

TEST(Completion, AStrongerTokenImpliesAWeakerOneAndNotTheReverse) {
  static_assert(kImplies<TranslationsQuiet, UserReturnClosed>);
  static_assert(kImplies<TablesUnreachable, TranslationsQuiet>);
  static_assert(kImplies<MmRetired, TablesUnreachable>);
  static_assert(kImplies<WalkersQuiet, TablesUnreachable>);
  static_assert(kImplies<KernelTablesUnreachable, KernelQuiet>);
  static_assert(kImplies<KernelWalkersQuiet, KernelTablesUnreachable>);
}

TEST(Completion, WhatOneScopePermitsAnotherDoesNot) {
  static_assert(kUnrelated<TranslationsQuiet, BatchQuiet>);
  static_assert(kUnrelated<TranslationsQuiet, KernelQuiet>);
  static_assert(kUnrelated<WalkersQuiet, KernelWalkersQuiet>);
  static_assert(kUnrelated<BatchQuiet, KernelQuiet>);
  static_assert(kUnrelated<MmRetired, WalkersQuiet>);
}

TEST(Completion, EachEntryPointGivesWhatItAchieves) {
  CoreFixture<2> fixture;
  fixture.run_mm_on({0});
  System<H>& system = fixture.system;
  Mm<H>& mm = fixture.mm;
  static_assert(
      std::is_same_v<decltype(flush_tlb_mm_range(system, mm, FlushRange{})), TranslationsQuiet>);
  static_assert(std::is_same_v<decltype(flush_tlb_page(system, mm, 0)), TranslationsQuiet>);
  static_assert(std::is_same_v<decltype(flush_tlb_mm(system, mm)), TranslationsQuiet>);
  static_assert(std::is_same_v<decltype(flush_tlb_mm_range_freed_tables(system, mm, FlushRange{})),
                               TablesUnreachable>);
  static_assert(std::is_same_v<decltype(retire_mm(system, mm)), MmRetired>);
  static_assert(std::is_same_v<decltype(flush_tlb_mm_range_early(system, mm, FlushRange{})),
                               UserReturnClosed>);
  static_assert(std::is_same_v<decltype(flush_tlb_kernel_range(system, 0, 0)), KernelQuiet>);
  static_assert(std::is_same_v<decltype(flush_tlb_all(system)), KernelTablesUnreachable>);
  static_cast<void>(flush_tlb_mm(system, mm));
}

TEST(Completion, ATokenCoversTheMmThatWasFlushedAndNoOther) {
  CoreFixture<2> fixture;
  fixture.run_mm_on({0});
  EXPECT_TRUE(flush_tlb_mm(fixture.system, fixture.mm).covers(fixture.mm));
  EXPECT_FALSE(flush_tlb_mm(fixture.system, fixture.mm).covers(fixture.other));
  EXPECT_FALSE(flush_tlb_mm(fixture.system, fixture.mm).covers(fixture.system.kernel_mm));
  EXPECT_FALSE(flush_tlb_mm(fixture.system, fixture.mm).covers(kNoContext));
  EXPECT_TRUE(flush_tlb_mm_range_early(fixture.system, fixture.other, {}).covers(fixture.other));
  EXPECT_TRUE(
      flush_tlb_mm_range_freed_tables(fixture.system, fixture.other, {}).covers(fixture.other));
  EXPECT_TRUE(flush_tlb_kernel_range(fixture.system, 0x100000, 0x101000).covers_kernel());
}

TEST(Completion, OneThatWasMovedFromIsSpent) {
  CoreFixture<2> fixture;
  fixture.run_mm_on({0});
  TablesUnreachable tables = flush_tlb_mm_range_freed_tables(fixture.system, fixture.mm, {});
  // What it permits goes as a whole, even if only the weaker part is asked for.
  const TranslationsQuiet other = std::move(tables);
  EXPECT_TRUE(other.covers(fixture.mm));
  EXPECT_FALSE(tables.covers(fixture.mm));  // NOLINT(bugprone-use-after-move): what is tested

  KernelQuiet kernel = flush_tlb_kernel_range(fixture.system, 0x100000, 0x101000);
  const KernelQuiet taken = std::move(kernel);
  EXPECT_TRUE(taken.covers_kernel());
  EXPECT_FALSE(kernel.covers_kernel());  // NOLINT(bugprone-use-after-move)
}

TEST(Completion, ABatchCoversEveryMmThatWasAddedSinceTheLastFlush) {
  CoreFixture<2> fixture;
  fixture.run_mm_on({0});
  ReclaimBatch<H> batch;
  batch.add(fixture.system, fixture.mm);
  batch.add(fixture.system, fixture.other);
  BatchQuiet both = batch.flush(fixture.system);
  EXPECT_TRUE(both.covers(fixture.mm) && both.covers(fixture.other));
  EXPECT_FALSE(both.covers(fixture.system.kernel_mm));
  batch.add(fixture.system, fixture.other);
  BatchQuiet one = batch.flush(fixture.system);
  EXPECT_TRUE(one.covers(fixture.other));
  EXPECT_FALSE(one.covers(fixture.mm));
  const BatchQuiet taken = std::move(both);
  EXPECT_TRUE(taken.covers(fixture.mm));
  EXPECT_FALSE(both.covers(fixture.mm));  // NOLINT(bugprone-use-after-move)
}

TEST(Completion, ATokenOfAMmsLifeDoesNotCoverTheNext) {
  CoreFixture<2> fixture;
  const TranslationsQuiet old = flush_tlb_mm(fixture.system, fixture.mm);
  static_cast<void>(retire_mm(fixture.system, fixture.mm));
  initialize_mm(fixture.system, fixture.mm, CoreFixture<2>::kRoot, CoreFixture<2>::kUserRoot);
  EXPECT_FALSE(old.covers(fixture.mm));
}

TEST(Walkers, AreNotWaitedForWhereTheFlushHasInterruptedThem) {
  CoreFixture<2> fixture;
  fixture.run_mm_on({0, 1});
  TablesUnreachable tables = flush_tlb_mm_range_freed_tables(fixture.system, fixture.mm, {});
  KernelTablesUnreachable kernel = flush_tlb_all(fixture.system);
  recorder.clear();
  EXPECT_TRUE(exclude_walkers(fixture.system, std::move(tables)).covers(fixture.mm));
  EXPECT_TRUE(exclude_walkers(fixture.system, std::move(kernel)).covers_kernel());
  EXPECT_NEVER("send interrupt");
}

TEST(Walkers, TheWaitInterruptsEveryCpuThatIsOnline) {
  CoreFixture<4> fixture;
  fixture.with_interrupts_off(2, [&] { take_cpu_offline(fixture.system); });
  recorder.clear();
  wait_for_walkers(fixture.system);
  EXPECT_EQ(values("send interrupt"), std::vector<std::uint64_t>{0b1010});
}

}  // namespace
}  // namespace shootdown::test
