// The core on CPUs that really run at once. The work is counted, the schedule is the machine's own;
// what must hold in each of them is checked, and ThreadSanitizer judges the orders.
#include <gtest/gtest.h>

#include <memory>

#include "tests/threads/thread_kernel.h"

namespace shootdown::threads {
namespace {

constexpr unsigned kOperations = 3000;

using H = ThreadHal;

void expect_memory_was_safe(const ThreadKernel& kernel) {
  std::uint64_t uses = 0;
  std::uint64_t reuses = 0;
  for (const ThreadKernel::CpuLog& log : kernel.logs) {
    EXPECT_EQ(log.stale, 0U);
    uses += log.uses;
    reuses += log.reuses;
  }
  EXPECT_GT(uses, kOperations / 4);
  EXPECT_GT(reuses, kOperations / 4);
}

/// Every flush has bumped once and nothing else has.
void expect_generations_add_up(ThreadKernel& kernel) {
  for (unsigned mm = 0; mm < ThreadKernel::kMms; ++mm) {
    Generation expected = kFirstGeneration;
    for (const ThreadKernel::CpuLog& log : kernel.logs) expected += log.bumps[mm];
    EXPECT_EQ(kernel.mms[mm].tlb_gen.owner_load(), expected) << "mm " << mm;
  }
}

/// All flushes are complete, so a CPU that runs an mm is as fresh as the mm; what an ASID has
/// recorded is never from the future; the masks and the loaded mms agree.
void expect_cpus_are_fresh(ThreadKernel& kernel) {
  for (CpuId cpu = 0; cpu < ThreadKernel::kCpus; ++cpu) {
    CpuPrivate<H>& own = kernel.system.cpus[cpu].own;
    const Mm<H>* loaded = own.loaded_mm.owner_load();
    ASSERT_EQ(loaded, &kernel.mms[kernel.logs[cpu].mm]) << "CPU " << cpu;
    EXPECT_EQ(own.asids[own.loaded_asid].context, loaded->context);
    EXPECT_EQ(own.asids[own.loaded_asid].generation, loaded->tlb_gen.owner_load()) << "CPU " << cpu;
    EXPECT_TRUE(loaded->cpus.test(cpu));
    EXPECT_EQ(kernel.cpu(cpu).preemption_off, 0U);
    EXPECT_EQ(kernel.cpu(cpu).cr3 & ~std::uint64_t{0xfff}, loaded->root);
    for (const AsidState<H>& asid : own.asids) {
      for (const Mm<H>& mm : kernel.mms) {
        if (asid.context == mm.context) EXPECT_LE(asid.generation, mm.tlb_gen.owner_load());
      }
    }
  }
}

/// Each CPU that was asked has run one function for it. Kernel flushes ask as well.
void expect_calls_add_up(const ThreadKernel& kernel) {
  const Counters sum = sum_counters(kernel.system);
  EXPECT_EQ(sum.remote_flush_received, sum.targets_queued);
  EXPECT_GT(sum.targets_queued, 0U);
  std::uint64_t taken = 0;
  for (CpuId cpu = 0; cpu < ThreadKernel::kCpus; ++cpu) {
    const Counters& counters = kernel.system.cpus[cpu].own.counters;
    taken += kernel.cpu(cpu).interrupts_taken;
    EXPECT_GE(kernel.cpu(cpu).counts.pages, counters.local_flush_one);
    EXPECT_GE(kernel.cpu(cpu).counts.whole, counters.local_flush_all);
  }
  // Interrupts merge, and one that was sent while its target answered anyway finds nothing to do.
  EXPECT_GT(taken, 0U);
  EXPECT_LE(taken, sum.targets_queued);
}

void live_through(const Config& config, bool concurrent = true) {
  const auto kernel = std::make_unique<ThreadKernel>(
      ThreadKernel::Plan{.config = config, .concurrent = concurrent, .operations = kOperations});
  kernel->run();
  expect_memory_was_safe(*kernel);
  expect_generations_add_up(*kernel);
  expect_cpus_are_fresh(*kernel);
  expect_calls_add_up(*kernel);
}

TEST(Stress, DefaultConfiguration) { live_through({}); }

TEST(Stress, LocalFlushFirst) { live_through({}, /*concurrent=*/false); }

TEST(Stress, LazilyKeptMasks) {
  live_through({.targets = {.mask_policy = MaskPolicy::kept_lazily,
                            .lazy_test = LazyTest::up_front,
                            .target_test = TargetTest::by_loaded_mm,
                            .trim_interval = 3}});
}

TEST(Stress, WithoutPcids) { live_through({.processor = {.pcid = false, .invpcid = false}}); }

TEST(Stress, PageTableIsolation) {
  live_through(
      {.isolation = {.enabled = true, .defer_user_pages = true}, .limits = {.ceiling_strides = 8}});
}

TEST(Stress, EarlyAcknowledgement) {
  live_through(
      {.targets = {.early_acknowledgement = true, .target_test = TargetTest::by_loaded_mm}});
}

}  // namespace
}  // namespace shootdown::threads
