// What the compiler can check of the state's layout.
#include <gtest/gtest.h>

#include <type_traits>
#include <utility>

#include "tests/core/core_fixture.h"

namespace shootdown::test {
namespace {

using H = RecordingHal<2>;

TEST(Layout, ACallAndItsRequestAreOneLine) {
  static_assert(sizeof(CallPost<H>) == kCacheLine && alignof(CallPost<H>) == kCacheLine);
}

TEST(Layout, WhatOthersPollHasALineOfItsOwn) {
  static_assert(sizeof(CpuShared<H>) == kCacheLine && alignof(CpuShared<H>) == kCacheLine);
  static_assert(alignof(CpuPrivate<H>) == kCacheLine && sizeof(CpuPrivate<H>) % kCacheLine == 0);
  static_assert(sizeof(PendingSenders<H>::Word) == kCacheLine);
  static_assert(alignof(PendingSenders<H>) == kCacheLine);
  const auto line = [](const void* address) {
    return reinterpret_cast<std::uintptr_t>(address) / kCacheLine;
  };
  const CoreFixture<2> fixture;
  EXPECT_NE(line(&fixture.mm.tlb_gen), line(&fixture.mm.cpus));
  EXPECT_NE(line(&fixture.mm.tlb_gen), line(&fixture.mm.context));
}

TEST(Hal, TheRecordingHalIsOne) {
  static_assert(Hal<RecordingHal<1>>);
  static_assert(Hal<RecordingHal<130>>);
}

}  // namespace
}  // namespace shootdown::test
