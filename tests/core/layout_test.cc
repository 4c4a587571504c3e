// What the compiler can check of the state's layout.
#include <gtest/gtest.h>

#include <type_traits>
#include <utility>

#include "tests/core/bench.h"

namespace shootdown::test {
namespace {

using H = RecordingHal<2>;

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
