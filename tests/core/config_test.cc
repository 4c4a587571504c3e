// Which configurations are refused, and with which words.
#include <gtest/gtest.h>

#include <array>
#include <cstdint>
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

// ---- The plan

TEST(Plan, IsWhatTheConfigurationComesTo) {
  const auto plan = [](const Config& config) { return plan_of(config, false, true); };
  EXPECT_EQ(plan({}).way, FlushWay::by_interrupt);
  EXPECT_EQ(plan_of({}, /*replaced=*/true, true).way, FlushWay::by_hypercall);
  EXPECT_EQ(plan({.broadcast = kOn}).way, FlushWay::by_broadcast);
  EXPECT_EQ(plan_of({.broadcast = kOn}, /*replaced=*/true, true).way, FlushWay::by_broadcast);
  EXPECT_TRUE(plan({}).concurrent);
  EXPECT_FALSE(plan({.targets = {.concurrent = false}}).concurrent);
  EXPECT_FALSE(plan_of({}, true, /*flushes_all=*/false).concurrent);
}

TEST(Plan, TellsWhatBecomesOfTheUserHalf) {
  const auto half = [](const ProcessorConfig& processor, const IsolationConfig& isolation) {
    return user_half_of({.processor = processor, .isolation = isolation});
  };
  EXPECT_EQ(half({}, {}), UserHalf::none);
  EXPECT_EQ(half({}, {.enabled = true}), UserHalf::at_once);
  EXPECT_EQ(half({.pcid = false}, {.enabled = true}), UserHalf::none);
  EXPECT_EQ(half({.invpcid = false}, {.enabled = true}), UserHalf::noted);
  EXPECT_EQ(half({}, {.enabled = true, .defer_user_pages = true}), UserHalf::deferred);
}

TEST(Plan, IsCommonByInterruptAndWithoutAUserHalfThatIsPutOff) {
  const auto common = [](FlushWay way, UserHalf half) {
    return answer({.way = way, .user_half = half}, Question::is_common);
  };
  EXPECT_TRUE(common(FlushWay::by_interrupt, UserHalf::none));
  EXPECT_TRUE(common(FlushWay::by_interrupt, UserHalf::at_once));
  EXPECT_FALSE(common(FlushWay::by_interrupt, UserHalf::noted));
  EXPECT_FALSE(common(FlushWay::by_interrupt, UserHalf::deferred));
  EXPECT_FALSE(common(FlushWay::by_broadcast, UserHalf::none));
  EXPECT_FALSE(common(FlushWay::by_hypercall, UserHalf::none));
}

/// A HAL that answers from its code, and keeps what the core tells it.
struct KeyedHal : RecordingHal<2> {
  static inline std::array<bool, kQuestions> keys{};
  template <Question kQuestion>
  static bool key() {
    return keys[static_cast<std::size_t>(kQuestion)];
  }
  static void set_key(Question question, bool on) { keys[static_cast<std::size_t>(question)] = on; }
};
static_assert(HalStaticKeys<KeyedHal> && !HalStaticKeys<H>);

TEST(Plan, IsInTheCodeWhereAHalHasKeys) {
  for (const bool isolated : {false, true}) {
    CoreFixture<2, KeyedHal> fixture({.isolation = {.enabled = isolated}});
    for (std::uint8_t question = 0; question < kQuestions; ++question) {
      EXPECT_EQ(KeyedHal::keys[question], answer(fixture.system.plan(), Question{question}));
    }
    fixture.run_mm_on({0});
    static_cast<void>(flush_tlb_page(fixture.system, fixture.mm, 0x5000));
    EXPECT_COUNT(isolated ? 1 : 0, "invpcid address");
    // And nowhere else: a place that read the plan would still do what that says.
    KeyedHal::set_key(Question::one_half, isolated);
    recorder.clear();
    static_cast<void>(flush_tlb_page(fixture.system, fixture.mm, 0x5000));
    EXPECT_COUNT(isolated ? 0 : 1, "invpcid address");
  }
}

/// A HAL with a pointer for each CPU, as the one of x86-64 has.
struct PointedHal : RecordingHal<2> {
  static inline std::array<void*, 2> pointers{};
  static void* cpu_pointer() { return pointers[this_cpu()]; }
  static void set_cpu_pointer(void* pointer) { pointers[this_cpu()] = pointer; }
};
static_assert(HalCpuPointer<PointedHal>);

TEST(CpuPointer, AnNmiBeforeBringUpIsToldThatUserMemoryIsOutOfReach) {
  PointedHal::pointers = {};
  const auto system = std::make_unique<System<PointedHal>>();
  Mm<PointedHal> mm;
  EXPECT_FALSE(user_access_ok(*system, mm));
}

TEST(CpuPointer, IsThatOfOneSystem) {
  PointedHal::pointers = {};
  CoreFixture<2, PointedHal> fixture;
  fixture.run_mm_on({0, 1});
  static_cast<void>(flush_tlb_page(fixture.system, fixture.mm, 0x5000));
  const auto other = std::make_unique<System<PointedHal>>();
  initialize_system(*other, {}, 0x1000);
  EXPECT_EQ(refusal_of([&] {
              PointedHal::disable_interrupts();
              initialize_cpu(*other);
            }),
            "R10: a CPU is brought up in a second system, or under another number");
}

TEST(Plan, IsByHypercallIfAnyFunctionIsABackends) {
  FlushOps<H> ops = kNativeOps<H>;
  EXPECT_TRUE(internal::has_native_functions(ops));
  ops.flush_one_user = [](System<H>&, VirtAddr) {};
  EXPECT_FALSE(internal::has_native_functions(ops));
}

TEST(Plan, IsNotChangedWhileACpuIsUp) {
  CoreFixture<2> fixture;
  const Config other{.isolation = {.enabled = true}};
  EXPECT_EQ(refusal_of([&] { initialize_system(fixture.system, other, 0x1000); }),
            "R13: a system is initialised twice");
  EXPECT_EQ(refusal_of([&] { internal::fix(fixture.system, other, kNativeOps<H>); }),
            "R13: what boot fixes is changed while a CPU is up");
  EXPECT_FALSE(fixture.system.config().isolation.enabled);
  EXPECT_EQ(fixture.system.plan().user_half, UserHalf::none);
}

}  // namespace
}  // namespace shootdown::test
