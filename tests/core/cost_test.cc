// The two small cost models: from when on a flush is whole, and which way interrupts go.
#include <gtest/gtest.h>

#include <limits>

#include "core/flush_cost.h"
#include "core/system.h"
#include "hal/common/ipi_choice.h"
#include "tests/core/recording_hal.h"

namespace shootdown::test {
namespace {

// ---- Ceiling

TEST(Ceiling, IsThirtyThreeForTheClassicFigures) {
  EXPECT_EQ(ceiling_for({}, /*pti=*/false), 33u);
  EXPECT_EQ(Config{}.limits.ceiling_strides, 33u);
}

TEST(Ceiling, WithPageTableIsolationIsAboutHalf) { EXPECT_EQ(ceiling_for({}, /*pti=*/true), 17u); }

/// Every combination of some prices of each kind, from nothing to absurd.
template <class Check>
void for_all_costs(Check&& check) {
  constexpr std::uint32_t kSome[] = {0,   1,   7,    50,
                                     100, 333, 4000, std::numeric_limits<std::uint32_t>::max()};
  for (const std::uint32_t one : kSome) {
    for (const std::uint32_t whole : kSome) {
      for (const std::uint32_t refill : kSome) {
        for (const std::uint32_t entries : kSome) {
          check(FlushCosts{
              .one_page = one, .whole_context = whole, .refill = refill, .working_set = entries});
        }
      }
    }
  }
}

TEST(Ceiling, FallsWithThePriceOfOnePageAndRisesWithThatOfAll) {
  for_all_costs([](const FlushCosts& costs) {
    for (const bool pti : {false, true}) {
      const std::uint32_t ceiling = ceiling_for(costs, pti);
      const auto with = [&](std::uint32_t FlushCosts::* field, std::uint32_t more) {
        FlushCosts changed = costs;
        if (changed.*field > std::numeric_limits<std::uint32_t>::max() - more) return ceiling;
        changed.*field += more;
        return ceiling_for(changed, pti);
      };
      for (const std::uint32_t more : {1u, 10u, 1000u}) {
        ASSERT_LE(with(&FlushCosts::one_page, more), ceiling);
        ASSERT_GE(with(&FlushCosts::whole_context, more), ceiling);
        ASSERT_GE(with(&FlushCosts::refill, more), ceiling);
        ASSERT_GE(with(&FlushCosts::working_set, more), ceiling);
      }
    }
  });
}

TEST(Ceiling, IsNeverHigherWithPageTableIsolation) {
  for_all_costs([](const FlushCosts& costs) {
    ASSERT_LE(ceiling_for(costs, true), ceiling_for(costs, false));
  });
}

TEST(Ceiling, IsWhereBothCostTheSame) {
  // At the ceiling by page is not dearer, one stride further it is.
  const FlushCosts costs{.one_page = 120, .whole_context = 300, .refill = 40, .working_set = 100};
  const std::uint64_t whole = 300 + (40 * 100);
  const std::uint64_t ceiling = ceiling_for(costs, false);
  EXPECT_LE(ceiling * 120, whole);
  EXPECT_GT((ceiling + 1) * 120, whole);
}

TEST(R13_Ceiling, NothingIsDearerThanFreePages) {
  EXPECT_EQ(ceiling_for({.one_page = 0}, false), std::numeric_limits<std::uint32_t>::max());
  EXPECT_EQ(ceiling_for({.whole_context = 0, .refill = 0}, false), 0u);
}

// ---- Ways of interrupts

constexpr IpiCosts kXapic{.one = 3, .all_but_self = 2};

TEST(IpiChoice, OneTargetIsNamed) {
  EXPECT_EQ(choose_ipi({.targets = 1, .groups = 1, .others = 1}), IpiMethod::one_by_one);
  EXPECT_EQ(choose_ipi({.targets = 1, .groups = 1, .others = 15}), IpiMethod::one_by_one);
}

TEST(IpiChoice, MembersOfOneGroupAreOneCommand) {
  EXPECT_EQ(choose_ipi({.targets = 2, .groups = 1, .others = 15}), IpiMethod::by_group);
  EXPECT_EQ(choose_ipi({.targets = 15, .groups = 1, .others = 15}), IpiMethod::by_group)
      << "of two ways at the same price the one that names its targets";
}

TEST(IpiChoice, AllOthersInSeveralGroupsNeedNoNames) {
  EXPECT_EQ(choose_ipi({.targets = 31, .groups = 2, .others = 31}), IpiMethod::all_but_self);
}

TEST(IpiChoice, WithoutGroupsAllOthersNeedNoNamesEither) {
  EXPECT_EQ(choose_ipi({.targets = 7, .groups = 0, .others = 7}, kXapic), IpiMethod::all_but_self);
  EXPECT_EQ(choose_ipi({.targets = 6, .groups = 0, .others = 7}, kXapic), IpiMethod::one_by_one);
  EXPECT_EQ(choose_ipi({.targets = 1, .groups = 0, .others = 1}, kXapic), IpiMethod::all_but_self)
      << "it saves the write of the destination";
}

TEST(IpiChoice, NobodyIsEverInterruptedForNothing) {
  for (const IpiCosts& costs : {IpiCosts{}, kXapic}) {
    for (CpuId others = 1; others <= 255; ++others) {
      for (CpuId targets = 1; targets < others; ++targets) {
        for (const CpuId groups : {CpuId{0}, (targets + 15) / 16, std::min(targets, CpuId{16})}) {
          ASSERT_NE(choose_ipi({.targets = targets, .groups = groups, .others = others}, costs),
                    IpiMethod::all_but_self);
        }
      }
    }
  }
}

TEST(IpiChoice, IsTheCheapest) {
  for (CpuId others = 1; others <= 64; ++others) {
    for (CpuId targets = 1; targets <= others; ++targets) {
      for (CpuId groups = 0; groups <= std::min(targets, CpuId{4}); ++groups) {
        const IpiTargets who{.targets = targets, .groups = groups, .others = others};
        const std::uint64_t chosen = ipi_cost(choose_ipi(who), who, {});
        ASSERT_LE(chosen, ipi_cost(IpiMethod::one_by_one, who, {}));
        ASSERT_LE(chosen, ipi_cost(IpiMethod::all_but_self, who, {}));
        if (groups != 0) ASSERT_LE(chosen, ipi_cost(IpiMethod::by_group, who, {}));
      }
    }
  }
}

TEST(IpiChoice, WhenNeedlessInterruptsAreCheapTheyAreWorthIt) {
  EXPECT_EQ(choose_ipi({.targets = 6, .groups = 0, .others = 7}, {.needless = 1}),
            IpiMethod::all_but_self)
      << "so what forbids them is their price";
}

}  // namespace
}  // namespace shootdown::test
