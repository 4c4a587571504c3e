// Which configurations are refused, and with which words.
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "tests/core/core_fixture.h"

namespace shootdown::test {
namespace {

using H = RecordingHal<2>;

struct Impossible {
  const char* reason;
  Config config;
};

constexpr BroadcastConfig kOn{.enabled = true};
constexpr Impossible kImpossible[] = {
    {"the trim interval is at least 1", {.targets = {.trim_interval = 0}}},
    {"deferred user pages need page-table isolation", {.isolation = {.defer_user_pages = true}}},
    {"one INVLPGB names at least one page", {.broadcast = {.max_pages = 0}}},
    {"broadcast needs PCIDs", {.processor = {.pcid = false}, .broadcast = kOn}},
    {"broadcast and page-table isolation exclude each other",
     {.isolation = {.enabled = true}, .broadcast = kOn}},
    {"there are 1 to kMaxGlobalAsids global ASIDs",
     {.broadcast = {.enabled = true, .global_asids = 0}}},
    {"there are 1 to kMaxGlobalAsids global ASIDs",
     {.broadcast = {.enabled = true, .global_asids = kMaxGlobalAsids + 1}}},
};

// A kernel whose configuration is a constant is told when it is compiled.
static_assert(validate(Config{}, /*can_broadcast=*/false) == nullptr);
static_assert(validate({.broadcast = kOn}, /*can_broadcast=*/true) == nullptr);
static_assert(validate({.broadcast = kOn}, /*can_broadcast=*/false) != nullptr);

TEST(Configuration, WhatCannotBeIsRefusedWithItsReason) {
  for (const Impossible& one : kImpossible) {
    const auto system = std::make_unique<System<H>>();
    EXPECT_EQ(refusal_of([&] { initialize_system(*system, one.config, 0x1000); }),
              std::string("R13: ") + one.reason);
    EXPECT_FALSE(system->is_initialized());
  }
}

TEST(Configuration, AHalWithoutInvlpgbDoesNotBroadcast) {
  EXPECT_EQ(validate({.broadcast = kOn}, /*can_broadcast=*/false),
            std::string("broadcast needs a HAL that has INVLPGB and TLBSYNC"));
}

TEST(Configuration, AllElseIsPossible) {
  for (unsigned bits = 0; bits < 1u << 9; ++bits) {
    const auto on = [&](unsigned bit) { return ((bits >> bit) & 1) != 0; };
    const Config config{
        .processor = {.pcid = on(0), .invpcid = on(1), .global_pages = on(2)},
        .isolation = {.enabled = on(3), .defer_user_pages = on(3) && on(4)},
        .targets = {.early_acknowledgement = on(5),
                    .mask_policy = on(6) ? MaskPolicy::kept_lazily : MaskPolicy::cleared_at_switch,
                    .target_test = on(7) ? TargetTest::by_loaded_mm : TargetTest::not_lazy},
        .broadcast = {.enabled = on(8) && on(0) && !on(3)}};
    EXPECT_EQ(validate(config, /*can_broadcast=*/true), nullptr) << bits;
  }
}

}  // namespace
}  // namespace shootdown::test
