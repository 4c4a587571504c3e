// How an initiator waits: with interrupts off, serving meanwhile, or later.
#include <gtest/gtest.h>

#include <utility>

#include "core/shootdown.h"
#include "core/submit.h"
#include "tests/core/core_fixture.h"

namespace shootdown::test {
namespace {

using FourCpus = CoreFixture<4>;
using H = FourCpus::H;
constexpr FlushRange kOnePage{.start = 0x5000, .end = 0x6000};
constexpr FlushRange kNextPage{.start = 0x6000, .end = 0x7000};
constexpr Config kClosed{.targets = {.closed_waits = true}};

/// Everything that waits for other CPUs.
struct EntryPoint {
  const char* name;
  void (*run)(FourCpus& fixture);
};
constexpr EntryPoint kEntryPoints[] = {
    {"pages", [](FourCpus& f) { static_cast<void>(flush_tlb_mm_range(f.system, f.mm, kOnePage)); }},
    {"freed tables",
     [](FourCpus& f) {
       static_cast<void>(flush_tlb_mm_range_freed_tables(f.system, f.mm, kOnePage));
     }},
    {"early",
     [](FourCpus& f) { static_cast<void>(flush_tlb_mm_range_early(f.system, f.mm, kOnePage)); }},
    {"a page", [](FourCpus& f) { static_cast<void>(flush_tlb_page(f.system, f.mm, 0x5000)); }},
    {"an mm", [](FourCpus& f) { static_cast<void>(flush_tlb_mm(f.system, f.mm)); }},
    {"kernel pages",
     [](FourCpus& f) { static_cast<void>(flush_tlb_kernel_range(f.system, 0x5000, 0x6000)); }},
    {"everything", [](FourCpus& f) { static_cast<void>(flush_tlb_all(f.system)); }},
    {"walkers", [](FourCpus& f) { wait_for_walkers(f.system); }},
    {"a batch",
     [](FourCpus& f) {
       ReclaimBatch<H> batch;
       batch.add(f.system, f.mm);
       static_cast<void>(batch.flush(f.system));
     }},
    {"a submitted one",
     [](FourCpus& f) {
       static_cast<void>(submit_flush_tlb_mm_range(f.system, f.mm, kOnePage).complete(f.system));
     }},
};

// ---- R12: with interrupts off

TEST(R12_Closed, EachEntryPointLeavesInterruptsOffAndReachesTheOthers) {
  for (const bool concurrent : {true, false}) {
    for (const EntryPoint& entry : kEntryPoints) {
      FourCpus fixture({.targets = {.concurrent = concurrent, .closed_waits = true}});
      fixture.run_mm_on({0, 1, 2, 3});
      fixture.with_interrupts_off(0, [&] {
        entry.run(fixture);
        EXPECT_FALSE(H::interrupts_enabled()) << entry.name;
      });
      EXPECT_NEVER("interrupts on", 0) << entry.name;
      EXPECT_ONCE("send interrupt", 0) << entry.name;
      EXPECT_EQ(events(TraceKind::call_run).size(), 3u) << entry.name;
      EXPECT_EQ(H::cpus[0].preemption_off, 0) << entry.name;
    }
  }
}

TEST(R12_Closed, EachEntryPointIsRefusedWhereItIsNotPermitted) {
  for (const EntryPoint& entry : kEntryPoints) {
    FourCpus fixture;
    fixture.run_mm_on({0, 1});
    std::optional<Rule> refused;
    fixture.with_interrupts_off(0, [&] { refused = refused_by([&] { entry.run(fixture); }); });
    EXPECT_EQ(refused, Rule::r12) << entry.name;
  }
}

TEST(R12_Closed, AnInterruptHandlerIsRefusedAllTheSame) {
  for (const EntryPoint& entry : kEntryPoints) {
    FourCpus fixture(kClosed);
    fixture.run_mm_on({0, 1});
    H::self().in_interrupt = true;
    H::self().interrupts = false;
    EXPECT_EQ(refused_by([&] { entry.run(fixture); }), Rule::r12) << entry.name;
  }
}

/// The first half of a call, from CPU 1 to CPU 0.
void call_cpu_0(FourCpus& fixture) {
  CpuMask<4> targets;
  targets.set(0);
  const auto run = [](const CallPost<H>&, Acknowledgement<H> acknowledgement) {
    return std::move(acknowledgement).give();
  };
  fixture.as(1, [&] {
    static_cast<void>(fixture.system.calls.start_call<Waiting::closed>(
        1, targets, [](CpuId) { return true; }, run, nullptr, [] {}));
  });
}

TEST(R12_Closed, AWaiterAnswersWhatComesMeanwhile) {
  for (const EntryPoint& entry : kEntryPoints) {
    FourCpus fixture(kClosed);
    fixture.run_mm_on({0, 2});
    bool called = false;
    unsigned pauses_until_answered = 0;
    recorder.before = [&](const Entry& now) {
      if (now.cpu != 0 || !is(now, "pause")) return;
      if (!std::exchange(called, true)) return call_cpu_0(fixture);
      ++pauses_until_answered;
      H::cpus[2].pending = true;
      EXPECT_EQ(fixture.pending_word(0, 1).peek(), 0u) << entry.name;
      H::cpus[2].interrupts = true;
    };
    // CPU 2 does not answer at once: it may wait for this one.
    H::cpus[2].interrupts = false;
    fixture.with_interrupts_off(0, [&] { entry.run(fixture); });
    EXPECT_TRUE(called) << entry.name;
    EXPECT_EQ(pauses_until_answered, 1u) << entry.name;
  }
}

TEST(R12_Closed, AWaiterThatReportsAnswers) {
  FourCpus fixture({.targets = {.closed_waits = true}, .limits = {.stall_limit = 1}});
  fixture.run_mm_on({0, 2});
  H::cpus[2].interrupts = false;
  unsigned pauses = 0;
  recorder.before = [&](const Entry& now) {
    if (now.cpu != 0 || !is(now, "pause")) return;
    if (++pauses == 3) call_cpu_0(fixture);
    if (pauses == 4) EXPECT_EQ(fixture.pending_word(0, 1).peek(), 0u);
    if (pauses == 4) H::cpus[2].interrupts = true;
  };
  fixture.with_interrupts_off(0,
                              [&] { static_cast<void>(flush_tlb_mm(fixture.system, fixture.mm)); });
  EXPECT_EQ(pauses, 4u);
}

// ---- R10: later

TEST(R10_Submitted, ReturnsBeforeTheOthersHaveAnswered) {
  FourCpus fixture;
  fixture.run_mm_on({0, 1, 2});
  auto flush = submit_flush_tlb_mm_range(fixture.system, fixture.mm, kOnePage);
  EXPECT_NEVER("pause", 0);
  EXPECT_ONCE("invlpg", 0) << "its own part is done";
  EXPECT_ONCE("send interrupt", 0);
  EXPECT_FALSE(flush.is_done(fixture.system));
  EXPECT_TRUE(events(TraceKind::flush_done).empty());
  H::cpus[2].interrupts = false;
  H::deliver();
  EXPECT_FALSE(flush.is_done(fixture.system)) << "one answer of two";
  H::cpus[2].interrupts = true;
  H::deliver();
  // Another CPU may ask.
  fixture.as(3, [&] { EXPECT_TRUE(flush.is_done(fixture.system)); });
  EXPECT_EQ(events(TraceKind::flush_done).size(), 1u);
  EXPECT_TRUE(flush.is_done(fixture.system));
  EXPECT_EQ(events(TraceKind::flush_done).size(), 1u) << "heard once";
  EXPECT_ORDER(last("load cpu2.pending[0]", 3), std::memory_order_acquire) << "M8";
  EXPECT_TRUE(std::move(flush).complete(fixture.system).covers(fixture.mm));
  EXPECT_NEVER("pause", 0);
}

TEST(R10_Submitted, CompleteWaitsForTheRest) {
  FourCpus fixture;
  fixture.run_mm_on({0, 1, 2});
  auto flush = submit_flush_tlb_mm_range_freed_tables(fixture.system, fixture.mm, kOnePage);
  EXPECT_TRUE(std::move(flush).complete(fixture.system).covers(fixture.mm));
  EXPECT_COUNT(2, "trace call_run");
}

TEST(R10_Submitted, OneThatIsCompleteOrWasMovedFromGivesNoToken) {
  FourCpus fixture;
  fixture.run_mm_on({0, 1});
  auto flush = submit_flush_tlb_mm_range(fixture.system, fixture.mm, kOnePage);
  auto moved = std::move(flush);
  const auto complete = [&](auto& pending) {
    return refused_by([&] { static_cast<void>(std::move(pending).complete(fixture.system)); });
  };
  EXPECT_EQ(complete(flush), Rule::r1);
  EXPECT_EQ(complete(moved), std::nullopt);
  EXPECT_EQ(complete(moved), Rule::r1);
  PendingFlush<H, TranslationsQuiet> nothing;
  EXPECT_TRUE(nothing.is_done(fixture.system));
  EXPECT_EQ(complete(nothing), Rule::r1);
}

TEST(R10_Submitted, ThePostIsNotWrittenBeforeTheLastAnswer) {
  for (const EntryPoint& next : kEntryPoints) {
    FourCpus fixture;
    fixture.run_mm_on({0, 1, 2});
    auto flush = submit_flush_tlb_mm_range(fixture.system, fixture.mm, kNextPage);
    const CallPost<H>& post = fixture.system.calls.post_of(0);
    EXPECT_EQ(fixture.own(0).post_use, PostUse::by_submit);
    unsigned answers = 0;
    recorder.before = [&](const Entry& entry) {
      if (entry.cpu == 0 || !is(entry, "trace call_run") || answers == 2) return;
      ++answers;
      EXPECT_EQ(post.request.start, kNextPage.start) << next.name;
    };
    next.run(fixture);
    EXPECT_EQ(answers, 2u) << next.name;
    EXPECT_TRUE(flush.is_done(fixture.system)) << next.name;
  }
}

TEST(R10_Submitted, AFlushOfThisCpuAloneWaitsForNothing) {
  FourCpus fixture;
  fixture.switch_to(0, fixture.other);
  fixture.run_mm_on({1});
  auto flush = submit_flush_tlb_mm_range(fixture.system, fixture.mm, kOnePage);
  static_cast<void>(flush_tlb_mm_range(fixture.system, fixture.other, kOnePage));
  EXPECT_NEVER("pause", 0);
  EXPECT_FALSE(flush.is_done(fixture.system));
}

TEST(R10_Submitted, OneOfThisCpuAloneIsDoneAtOnce) {
  FourCpus fixture;
  fixture.run_mm_on({0});
  auto flush = submit_flush_tlb_mm_range(fixture.system, fixture.mm, kOnePage);
  EXPECT_TRUE(flush.is_done(fixture.system));
  EXPECT_EQ(events(TraceKind::flush_end).size(), 1u);
  EXPECT_EQ(fixture.own(0).post_use, PostUse::free);
}

TEST(R10_Submitted, OneWithoutATargetLeavesThePostFree) {
  FourCpus fixture;
  fixture.run_mm_on({0, 1});
  fixture.idle(1);
  auto flush = submit_flush_tlb_mm_range(fixture.system, fixture.mm, kOnePage);
  EXPECT_TRUE(flush.is_done(fixture.system));
  EXPECT_EQ(fixture.own(0).post_use, PostUse::free);
  EXPECT_EQ(fixture.system.calls.post_of(0).function, nullptr);
}

TEST(R10_Submitted, ACpuThatGoesOfflineWaitsAndServes) {
  FourCpus fixture;
  fixture.run_mm_on({0, 2});
  auto flush = submit_flush_tlb_mm_range(fixture.system, fixture.mm, kOnePage);
  H::cpus[2].interrupts = false;
  unsigned pauses = 0;
  recorder.before = [&](const Entry& entry) {
    if (entry.cpu != 0 || !is(entry, "pause")) return;
    if (++pauses == 1) return call_cpu_0(fixture);
    EXPECT_EQ(fixture.pending_word(0, 1).peek(), 0u);
    H::cpus[2].interrupts = true;
  };
  fixture.with_interrupts_off(0, [&] { take_cpu_offline(fixture.system); });
  EXPECT_EQ(pauses, 2u);
  EXPECT_EQ(fixture.own(0).post_use, PostUse::by_none);
  EXPECT_TRUE(flush.is_done(fixture.system));
}

TEST(R10_Submitted, CountsAsAFlushOfItsCpu) {
  FourCpus fixture;
  fixture.run_mm_on({0, 1, 2});
  static_cast<void>(
      submit_flush_tlb_mm_range(fixture.system, fixture.mm, kOnePage).complete(fixture.system));
  EXPECT_EQ(fixture.own(0).counters.remote_flush_sent, 1u);
  EXPECT_EQ(fixture.own(0).counters.targets_queued, 2u);
}

}  // namespace
}  // namespace shootdown::test
