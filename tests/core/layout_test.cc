// What the compiler can check: cache lines, and tokens that only a flush can make.
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
    !std::is_copy_assignable_v<Token> && std::is_move_constructible_v<Token> &&
    !std::is_aggregate_v<Token>;

TEST(Completion, TokensAreNotMadeOrCopiedByCallers) {
  static_assert(kOnlyAFlushMakesIt<UserReturnClosed>);
  static_assert(kOnlyAFlushMakesIt<TranslationsQuiet>);
  static_assert(kOnlyAFlushMakesIt<WalkersQuiet>);
}

TEST(Completion, QuietWalkersImplyQuietTranslationsAndNotTheReverse) {
  static_assert(std::is_convertible_v<const WalkersQuiet&, const TranslationsQuiet&>);
  static_assert(!std::is_convertible_v<const TranslationsQuiet&, const WalkersQuiet&>);
  static_assert(!std::is_constructible_v<WalkersQuiet, TranslationsQuiet>);
  static_assert(!std::is_convertible_v<const UserReturnClosed&, const TranslationsQuiet&>);
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
                               WalkersQuiet>);
  static_assert(std::is_same_v<decltype(flush_tlb_mm_range_early(system, mm, FlushRange{})),
                               UserReturnClosed>);
  static_assert(std::is_same_v<decltype(flush_tlb_kernel_range(system, 0, 0)), TranslationsQuiet>);
  static_assert(std::is_same_v<decltype(flush_tlb_all(system)), WalkersQuiet>);
  static_cast<void>(flush_tlb_mm(system, mm));
}

TEST(Layout, ARequestIsOneLine) {
  static_assert(sizeof(FlushRequest<H>) == kCacheLine);
  static_assert(alignof(FlushRequest<H>) == kCacheLine);
}

TEST(Layout, WhatOthersPollHasALineOfItsOwn) {
  static_assert(sizeof(CpuShared<H>) == kCacheLine && alignof(CpuShared<H>) == kCacheLine);
  static_assert(alignof(CpuPrivate<H>) == kCacheLine && sizeof(CpuPrivate<H>) % kCacheLine == 0);
  static_assert(sizeof(CallRecord<H>) == kCacheLine && alignof(CallRecord<H>) == kCacheLine);
  static_assert(sizeof(CallQueue<H>) == kCacheLine && alignof(CallQueue<H>) == kCacheLine);
  const auto line = [](const void* address) {
    return reinterpret_cast<std::uintptr_t>(address) / kCacheLine;
  };
  const Bench<2> bench;
  EXPECT_NE(line(&bench.mm.tlb_gen), line(&bench.mm.cpus));
  EXPECT_NE(line(&bench.mm.tlb_gen), line(&bench.mm.context));
}

TEST(Hal, TheRecordingHalIsOne) {
  static_assert(Hal<RecordingHal<1>>);
  static_assert(Hal<RecordingHal<130>>);
}

}  // namespace
}  // namespace shootdown::test
