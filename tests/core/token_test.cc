// Completion tokens: which functions make them, what they permit, and that one can be used up.
#include <gtest/gtest.h>

#include <type_traits>
#include <utility>

#include "tests/core/bench.h"

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
  static_assert(kOnlyAFlushMakesIt<SpaceRetired>);
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
  static_assert(kImplies<SpaceRetired, TablesUnreachable>);
  static_assert(kImplies<WalkersQuiet, TablesUnreachable>);
  static_assert(kImplies<KernelTablesUnreachable, KernelQuiet>);
  static_assert(kImplies<KernelWalkersQuiet, KernelTablesUnreachable>);
}

TEST(Completion, WhatOneScopePermitsAnotherDoesNot) {
  static_assert(kUnrelated<TranslationsQuiet, BatchQuiet>);
  static_assert(kUnrelated<TranslationsQuiet, KernelQuiet>);
  static_assert(kUnrelated<WalkersQuiet, KernelWalkersQuiet>);
  static_assert(kUnrelated<BatchQuiet, KernelQuiet>);
  static_assert(kUnrelated<SpaceRetired, WalkersQuiet>);
}

TEST(Completion, EachEntryPointGivesWhatItAchieves) {
  Bench<2> bench;
  bench.run_mm_on({0});
  System<H>& system = bench.system;
  Mm<H>& mm = bench.mm;
  static_assert(
      std::is_same_v<decltype(flush_tlb_mm_range(system, mm, FlushRange{})), TranslationsQuiet>);
  static_assert(std::is_same_v<decltype(flush_tlb_page(system, mm, 0)), TranslationsQuiet>);
  static_assert(std::is_same_v<decltype(flush_tlb_mm(system, mm)), TranslationsQuiet>);
  static_assert(std::is_same_v<decltype(flush_tlb_mm_range_freed_tables(system, mm, FlushRange{})),
                               TablesUnreachable>);
  static_assert(std::is_same_v<decltype(retire_mm(system, mm)), SpaceRetired>);
  static_assert(std::is_same_v<decltype(flush_tlb_mm_range_early(system, mm, FlushRange{})),
                               UserReturnClosed>);
  static_assert(std::is_same_v<decltype(flush_tlb_kernel_range(system, 0, 0)), KernelQuiet>);
  static_assert(std::is_same_v<decltype(flush_tlb_all(system)), KernelTablesUnreachable>);
  static_cast<void>(flush_tlb_mm(system, mm));
}

TEST(Completion, ATokenCoversTheSpaceThatWasFlushedAndNoOther) {
  Bench<2> bench;
  bench.run_mm_on({0});
  EXPECT_TRUE(flush_tlb_mm(bench.system, bench.mm).covers(bench.mm));
  EXPECT_FALSE(flush_tlb_mm(bench.system, bench.mm).covers(bench.other));
  EXPECT_FALSE(flush_tlb_mm(bench.system, bench.mm).covers(bench.system.kernel_mm));
  EXPECT_FALSE(flush_tlb_mm(bench.system, bench.mm).covers(kNoContext));
  EXPECT_TRUE(flush_tlb_mm_range_early(bench.system, bench.other, {}).covers(bench.other));
  EXPECT_TRUE(flush_tlb_mm_range_freed_tables(bench.system, bench.other, {}).covers(bench.other));
  EXPECT_TRUE(flush_tlb_kernel_range(bench.system, 0x100000, 0x101000).covers_kernel());
}

TEST(Completion, OneThatWasMovedFromIsSpent) {
  Bench<2> bench;
  bench.run_mm_on({0});
  TablesUnreachable tables = flush_tlb_mm_range_freed_tables(bench.system, bench.mm, {});
  // What it permits goes as a whole, even if only the weaker part is asked for.
  const TranslationsQuiet other = std::move(tables);
  EXPECT_TRUE(other.covers(bench.mm));
  EXPECT_FALSE(tables.covers(bench.mm));  // NOLINT(bugprone-use-after-move): what is tested

  KernelQuiet kernel = flush_tlb_kernel_range(bench.system, 0x100000, 0x101000);
  const KernelQuiet taken = std::move(kernel);
  EXPECT_TRUE(taken.covers_kernel());
  EXPECT_FALSE(kernel.covers_kernel());  // NOLINT(bugprone-use-after-move)
}

TEST(Completion, ABatchCoversEverySpaceThatWasAddedSinceTheLastFlush) {
  Bench<2> bench;
  bench.run_mm_on({0});
  ReclaimBatch<H> batch;
  batch.add(bench.system, bench.mm);
  batch.add(bench.system, bench.other);
  BatchQuiet both = batch.flush(bench.system);
  EXPECT_TRUE(both.covers(bench.mm) && both.covers(bench.other));
  EXPECT_FALSE(both.covers(bench.system.kernel_mm));
  batch.add(bench.system, bench.other);
  BatchQuiet one = batch.flush(bench.system);
  EXPECT_TRUE(one.covers(bench.other));
  EXPECT_FALSE(one.covers(bench.mm));
  const BatchQuiet taken = std::move(both);
  EXPECT_TRUE(taken.covers(bench.mm));
  EXPECT_FALSE(both.covers(bench.mm));  // NOLINT(bugprone-use-after-move)
}

TEST(Completion, ATokenOfASpacesLifeDoesNotCoverTheNext) {
  Bench<2> bench;
  const TranslationsQuiet old = flush_tlb_mm(bench.system, bench.mm);
  static_cast<void>(retire_mm(bench.system, bench.mm));
  initialize_mm(bench.system, bench.mm, Bench<2>::kRoot, Bench<2>::kUserRoot);
  EXPECT_FALSE(old.covers(bench.mm));
}

TEST(Walkers, AreNotWaitedForWhereTheFlushHasInterruptedThem) {
  Bench<2> bench;
  bench.run_mm_on({0, 1});
  TablesUnreachable tables = flush_tlb_mm_range_freed_tables(bench.system, bench.mm, {});
  KernelTablesUnreachable kernel = flush_tlb_all(bench.system);
  recorder.clear();
  EXPECT_TRUE(exclude_walkers(bench.system, std::move(tables)).covers(bench.mm));
  EXPECT_TRUE(exclude_walkers(bench.system, std::move(kernel)).covers_kernel());
  EXPECT_NEVER("send interrupt");
}

TEST(Walkers, TheWaitInterruptsEveryCpuThatIsOnline) {
  Bench<4> bench;
  bench.with_interrupts_off(2, [&] { take_cpu_offline(bench.system); });
  recorder.clear();
  wait_for_walkers(bench.system);
  EXPECT_EQ(values("send interrupt"), std::vector<std::uint64_t>{0b1010});
}

}  // namespace
}  // namespace shootdown::test
