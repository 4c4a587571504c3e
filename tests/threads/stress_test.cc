// The core on CPUs that really run at once. The work is counted, the schedule is the machine's own;
// what must hold in each of them is checked, and ThreadSanitizer judges the orders.
#include <gtest/gtest.h>

#include <memory>

#include "tests/threads/town.h"

namespace shootdown::threads {
namespace {

constexpr unsigned kOperations = 3000;

using H = ThreadHal;

void expect_memory_was_safe(const Town& town) {
  std::uint64_t uses = 0;
  std::uint64_t reuses = 0;
  for (const Town::Diary& diary : town.diaries) {
    EXPECT_EQ(diary.stale, 0U);
    uses += diary.uses;
    reuses += diary.reuses;
  }
  EXPECT_GT(uses, kOperations / 4);
  EXPECT_GT(reuses, kOperations / 4);
}

/// Every flush has bumped once and nothing else has.
void expect_generations_add_up(Town& town) {
  for (unsigned space = 0; space < Town::kSpaces; ++space) {
    Generation expected = kFirstGeneration;
    for (const Town::Diary& diary : town.diaries) expected += diary.bumps[space];
    EXPECT_EQ(town.spaces[space].tlb_gen.owner_load(), expected) << "space " << space;
  }
}

/// All flushes are complete, so a CPU that runs a space is as fresh as the space; what a slot has
/// recorded is never from the future; the masks and the loaded spaces agree.
void expect_cpus_are_fresh(Town& town) {
  for (CpuId cpu = 0; cpu < Town::kCpus; ++cpu) {
    CpuPrivate<H>& own = town.system.cpus[cpu].own;
    const Mm<H>* loaded = own.loaded_mm.owner_load();
    ASSERT_EQ(loaded, &town.spaces[town.diaries[cpu].space]) << "CPU " << cpu;
    EXPECT_EQ(own.slots[own.loaded_slot].context, loaded->context);
    EXPECT_EQ(own.slots[own.loaded_slot].generation, loaded->tlb_gen.owner_load()) << "CPU " << cpu;
    EXPECT_TRUE(loaded->cpus.test(cpu));
    EXPECT_EQ(town.cpu(cpu).preemption_off, 0U);
    EXPECT_EQ(town.cpu(cpu).cr3 & ~std::uint64_t{0xfff}, loaded->root);
    for (const SlotState& slot : own.slots) {
      for (const Mm<H>& mm : town.spaces) {
        if (slot.context == mm.context) EXPECT_LE(slot.generation, mm.tlb_gen.owner_load());
      }
    }
  }
}

/// Each CPU that was asked has run one function for it. Kernel flushes ask as well.
void expect_calls_add_up(const Town& town) {
  const Counters sum = sum_counters(town.system);
  EXPECT_EQ(sum.remote_flush_received, sum.targets_queued);
  EXPECT_GT(sum.targets_queued, 0U);
  std::uint64_t taken = 0;
  for (CpuId cpu = 0; cpu < Town::kCpus; ++cpu) {
    const Counters& counters = town.system.cpus[cpu].own.counters;
    taken += town.cpu(cpu).interrupts_taken;
    EXPECT_GE(town.cpu(cpu).counts.pages, counters.local_flush_one);
    EXPECT_GE(town.cpu(cpu).counts.whole, counters.local_flush_all);
  }
  // Interrupts merge, and one that was sent while its target answered anyway finds nothing to do.
  EXPECT_GT(taken, 0U);
  EXPECT_LE(taken, sum.targets_queued);
}

void live_through(const Config& config, bool concurrent = true) {
  const auto town = std::make_unique<Town>(
      Town::Plan{.config = config, .concurrent = concurrent, .operations = kOperations});
  town->run();
  expect_memory_was_safe(*town);
  expect_generations_add_up(*town);
  expect_cpus_are_fresh(*town);
  expect_calls_add_up(*town);
}

TEST(Stress, DefaultConfiguration) { live_through({}); }

TEST(Stress, LocalFlushFirst) { live_through({}, /*concurrent=*/false); }

TEST(Stress, LazilyKeptMasks) {
  live_through({.targets = {.mask_policy = MaskPolicy::kept_lazily,
                            .lazy_test = LazyTest::up_front,
                            .target_test = TargetTest::by_loaded_space,
                            .trim_interval = 3}});
}

TEST(Stress, WithoutPcids) { live_through({.processor = {.pcid = false, .invpcid = false}}); }

TEST(Stress, PageTableIsolation) {
  live_through(
      {.isolation = {.enabled = true, .defer_user_pages = true}, .limits = {.ceiling_strides = 8}});
}

TEST(Stress, EarlyAcknowledgement) {
  live_through(
      {.targets = {.early_acknowledgement = true, .target_test = TargetTest::by_loaded_space}});
}

}  // namespace
}  // namespace shootdown::threads
