// The initiator's side of a flush: what comes before what, which CPUs are reached, what is refused.
#include "core/flush.h"

#include <gtest/gtest.h>

#include <memory>
#include <utility>

#include "tests/core/core_fixture.h"

namespace shootdown::test {
namespace {

using FourCpus = CoreFixture<4>;
constexpr FlushRange kOnePage{.start = 0x5000, .end = 0x6000};

template <CpuId kCpus>
void flush(CoreFixture<kCpus>& fixture, FlushRange range = kOnePage) {
  static_cast<void>(flush_tlb_mm_range(fixture.system, fixture.mm, range));
}

template <CpuId kCpus>
void flush_tables(CoreFixture<kCpus>& fixture, FlushRange range = kOnePage) {
  static_cast<void>(flush_tlb_mm_range_freed_tables(fixture.system, fixture.mm, range));
}

// ---- R1

TEST(R1, TheGenerationIsBumpedBeforeTargetsAreChosenAndBeforeInterruptsLeave) {
  FourCpus fixture;
  fixture.run_mm_on({0, 1, 2});
  flush(fixture);
  EXPECT_EQ(index_of("trace flush_asked"), 0u);
  EXPECT_EQ(index_of("add mm.tlb_gen"), 1u) << "nothing shared is touched before";
  EXPECT_BEFORE("add mm.tlb_gen", "load mm.cpu_mask");
  EXPECT_BEFORE("load mm.cpu_mask", "load cpu1.is_lazy");
  EXPECT_BEFORE(last("load cpu2.is_lazy", 0), "send interrupt");
  EXPECT_ONCE("load mm.cpu_mask");
}

TEST(R1, BumpAndReadsAreInOneTotalOrder) {
  FourCpus fixture;
  fixture.run_mm_on({0, 1});
  flush(fixture);
  EXPECT_ORDER("add mm.tlb_gen", std::memory_order_seq_cst);
  EXPECT_ORDER("load mm.cpu_mask", std::memory_order_seq_cst);
  EXPECT_ORDER("load cpu1.is_lazy", std::memory_order_seq_cst);
}

TEST(R1, TheRequestCarriesTheGenerationOfItsOwnBump) {
  FourCpus fixture;
  fixture.run_mm_on({0, 1});
  flush(fixture);
  flush(fixture);
  EXPECT_EQ(fixture.mm.tlb_gen.peek(), kFirstGeneration + 2);
  const auto begins = events(TraceKind::flush_begin);
  ASSERT_EQ(begins.size(), 2u);
  EXPECT_EQ(begins[0].value, kFirstGeneration + 1);
  EXPECT_EQ(begins[1].value, kFirstGeneration + 2);
}

TEST(R1, HoldsForALocalFlushAndInASerialPlan) {
  for (const bool concurrent : {true, false}) {
    FourCpus fixture({.targets = {.concurrent = concurrent}});
    fixture.run_mm_on({0});
    flush(fixture);
    EXPECT_BEFORE("add mm.tlb_gen", "load mm.cpu_mask");
    EXPECT_BEFORE("load mm.cpu_mask", "invlpg");
  }
}

// ---- Concurrent and serial

TEST(ConcurrentFlush, RunsTheLocalPartAfterTheInterruptsLeftAndBeforeTheWait) {
  FourCpus fixture;
  fixture.run_mm_on({0, 1, 2, 3});
  flush(fixture);
  const Moment local = first("trace handler_begin", 0);
  EXPECT_BEFORE("send interrupt", local);
  EXPECT_BEFORE(last("trace handler_end", 0), "pause");
  for (CpuId cpu = 1; cpu < 4; ++cpu) EXPECT_BEFORE(local, first("trace handler_begin", cpu));
}

TEST(ConcurrentFlush, SendsOneInterruptMessageForAllTargets) {
  FourCpus fixture;
  fixture.run_mm_on({0, 1, 3});
  flush(fixture);
  EXPECT_EQ(values("send interrupt"), std::vector<std::uint64_t>{0b1010});
}

TEST(ConcurrentFlush, RunsTheLocalPartWithInterruptsOffAndRestoresThem) {
  FourCpus fixture;
  fixture.run_mm_on({0, 1});
  recorder.before = [&](const Entry& entry) {
    if (is(entry, "invlpg")) EXPECT_FALSE(FourCpus::H::interrupts_enabled());
  };
  flush(fixture);
  EXPECT_COUNT(2, "invlpg");
  EXPECT_TRUE(FourCpus::H::interrupts_enabled());
}

TEST(SerialFlush, InASerialPlanTheLocalPartComesFirst) {
  FourCpus fixture({.targets = {.concurrent = false}});
  fixture.run_mm_on({0, 1, 2});
  flush(fixture);
  EXPECT_BEFORE(last("trace handler_end", 0), "push cpu1.pending[0]");
  EXPECT_BEFORE(last("trace handler_end", 0), "send interrupt");
  EXPECT_ONCE("trace handler_begin", 0) << "once, although it is in the mask";
  EXPECT_EQ(values("send interrupt"), std::vector<std::uint64_t>{0b110});
  EXPECT_ONCE("invlpg", 1);
  EXPECT_ONCE("invlpg", 2);
}

TEST(SerialFlush, OfAnMmThatThisCpuDoesNotRunHasNoLocalPart) {
  for (const bool concurrent : {true, false}) {
    FourCpus fixture({.targets = {.concurrent = concurrent}});
    fixture.run_mm_on({1, 2});
    flush(fixture);
    EXPECT_NEVER("trace handler_begin", 0);
    EXPECT_COUNT(2, "invlpg");
  }
}

// ---- Which CPUs are reached

TEST(FastPath, AFlushOfOneselfTouchesNoInterruptMachinery) {
  FourCpus fixture;
  fixture.run_mm_on({0});
  flush(fixture);
  EXPECT_ONCE("invlpg", 0);
  for (const char* what : {"order stores", "send interrupt", "load online", "pause",
                           "push cpu0.pending[0]", "trace flush_send"}) {
    EXPECT_NEVER(what);
  }
}

TEST(R13, AnEmptyMaskTouchesNothing) {
  FourCpus fixture;
  recorder.clear();
  flush(fixture);
  EXPECT_EQ(fixture.mm.tlb_gen.peek(), kFirstGeneration + 1) << "the ASIDs must still learn of it";
  for (const Entry& entry : recorder.log) {
    EXPECT_TRUE(is(entry, "add mm.tlb_gen") || is(entry, "load mm.cpu_mask") ||
                entry.what.starts_with("trace flush_"))
        << entry.what;
  }
}

TEST(R13, Cpu0IsATargetLikeAnyOther) {
  for (const bool concurrent : {true, false}) {
    FourCpus fixture({.targets = {.concurrent = concurrent}});
    fixture.run_mm_on({0});
    fixture.as(1, [&] { flush(fixture); });
    EXPECT_EQ(values("send interrupt"), std::vector<std::uint64_t>{0b1});
    EXPECT_ONCE("invlpg", 0);
  }
}

TEST(R13, ACpuThatIsNotOnlineIsNoTarget) {
  CoreFixture<2> fixture;
  auto fresh = std::make_unique<System<CoreFixture<2>::H>>();
  initialize_system(*fresh, {}, CoreFixture<2>::kKernelRoot);
  fixture.with_interrupts_off(0, [&] { initialize_cpu(*fresh); });
  CpuMask<2> targets;
  targets.set(0);
  targets.set(1);
  const CallOutcome outcome = fresh->calls.call(
      targets, [](CpuId) { return true; },
      [](const auto&, auto acknowledgement) { return std::move(acknowledgement).give(); }, nullptr,
      [] {});
  EXPECT_EQ(outcome.queued, 0u);
}

TEST(R6, AFlushThatFreesTablesReachesLazyCpus) {
  FourCpus fixture;
  fixture.run_mm_on({0, 1, 2});
  fixture.idle(2);
  recorder.clear();
  flush(fixture);
  EXPECT_EQ(values("send interrupt"), std::vector<std::uint64_t>{0b010}) << "leaf entries only";
  recorder.clear();
  flush_tables(fixture);
  EXPECT_EQ(values("send interrupt"), std::vector<std::uint64_t>{0b110});
  EXPECT_EQ(fixture.loaded(2), &fixture.system.kernel_mm);
}

TEST(LazyCpus, AreAskedWhenTheyAreQueuedAndNotBefore) {
  FourCpus fixture;
  fixture.run_mm_on({0, 1, 2});
  // CPU 2 goes idle after CPU 1 was queued: as late as possible, but in time.
  recorder.before = [&](const Entry& entry) {
    if (is(entry, "push cpu1.pending[0]")) fixture.system.cpus[2].shared.is_lazy.poke(true);
  };
  flush(fixture);
  EXPECT_EQ(values("send interrupt"), std::vector<std::uint64_t>{0b010});
}

// ---- R10

TEST(R10, TheRequestBelongsToTheInitiatorAndStaysAsItIs) {
  FourCpus fixture;
  fixture.run_mm_on({0, 1, 2});
  const FlushRequest<FourCpus::H>* request = &fixture.system.calls.post_of(0).request;
  unsigned runs = 0;
  recorder.before = [&](const Entry& entry) {
    if (!is(entry, "invlpg")) return;
    ++runs;
    EXPECT_EQ(request->mm, &fixture.mm);
    EXPECT_EQ(request->start, kOnePage.start);
    EXPECT_EQ(request->end, kOnePage.end);
    EXPECT_EQ(request->initiator, 0u);
    EXPECT_EQ(fixture.own(0).post_use, PostUse::by_flush);
  };
  flush(fixture);
  EXPECT_EQ(runs, 3u);
  for (const TraceEvent& event : events(TraceKind::handler_begin)) {
    EXPECT_EQ(event.request, request);
  }
  EXPECT_EQ(fixture.own(0).post_use, PostUse::free) << "and is given back";
}

TEST(R10, AFlushInsideAFlushIsRefused) {
  FourCpus fixture;
  fixture.run_mm_on({0, 1});
  std::optional<Rule> refused;
  recorder.before = [&](const Entry& entry) {
    if (is(entry, "pause") && !refused) refused = refused_by([&] { flush(fixture); });
  };
  flush(fixture);
  EXPECT_EQ(refused, Rule::r10);
}

TEST(R10, APostInUseIsNotTakenAgain) {
  FourCpus fixture;
  std::optional<Rule> refused;
  CpuMask<4> targets;
  targets.set(1);
  const auto call = [&] {
    fixture.system.calls.call(
        targets, [](CpuId) { return true; },
        [](const auto&, auto acknowledgement) { return std::move(acknowledgement).give(); },
        nullptr, [] {});
  };
  recorder.before = [&](const Entry& entry) {
    if (is(entry, "pause") && !refused) refused = refused_by(call);
  };
  call();
  EXPECT_EQ(refused, Rule::r10);
}

TEST(R10, ThePostIsFreeAgainWhenTheCallReturns) {
  FourCpus fixture;
  fixture.run_mm_on({0, 1});
  for (int i = 0; i < 3; ++i) flush(fixture);
  EXPECT_COUNT(3, "invlpg", 1);
}

// ---- R12

TEST(R12, AFlushWithInterruptsOffIsRefused) {
  FourCpus fixture;
  fixture.run_mm_on({0});
  std::optional<Rule> refused;
  fixture.with_interrupts_off(0, [&] { refused = refused_by([&] { flush(fixture); }); });
  EXPECT_EQ(refused, Rule::r12);
  EXPECT_EQ(fixture.mm.tlb_gen.peek(), kFirstGeneration) << "and changes nothing";
}

TEST(R12, AFlushInAnInterruptHandlerIsRefused) {
  FourCpus fixture;
  fixture.run_mm_on({0});
  FourCpus::H::self().in_interrupt = true;
  EXPECT_EQ(refused_by([&] { flush(fixture); }), Rule::r12);
}

TEST(R12, NobodyWaitsWithInterruptsOff) {
  for (const bool concurrent : {true, false}) {
    FourCpus fixture({.targets = {.concurrent = concurrent}});
    fixture.run_mm_on({0, 1, 2, 3});
    unsigned waits = 0;
    recorder.before = [&](const Entry& entry) {
      if (!is(entry, "pause")) return;
      ++waits;
      EXPECT_TRUE(FourCpus::H::interrupts_enabled());
    };
    flush(fixture);
    flush_tables(fixture);
    EXPECT_GT(waits, 0u);
  }
}

TEST(R12, PreemptionIsOffWhileTheRequestIsInUse) {
  FourCpus fixture;
  fixture.run_mm_on({0, 1});
  recorder.before = [&](const Entry&) {
    if (fixture.own(0).post_use == PostUse::by_flush)
      EXPECT_GT(FourCpus::H::cpus[0].preemption_off, 0);
  };
  flush(fixture);
  EXPECT_EQ(FourCpus::H::self().preemption_off, 0);
}

// ---- R13

TEST(R13, TheKernelsOwnMmIsNotFlushedByRange) {
  FourCpus fixture;
  EXPECT_EQ(refused_by(
                [&] { static_cast<void>(flush_tlb_mm(fixture.system, fixture.system.kernel_mm)); }),
            Rule::r13);
}

TEST(R13, IdentitiesAreNeverZeroAndNeverRepeat) {
  FourCpus fixture;
  const ContextId before = fixture.mm.context;
  EXPECT_GT(fixture.other.context, before);
  initialize_mm(fixture.system, fixture.mm, FourCpus::kRoot);
  EXPECT_GT(fixture.mm.context, fixture.other.context);
  EXPECT_NE(fixture.system.kernel_mm.context, kNoContext);
  EXPECT_NE(fixture.system.kernel_mm.context, fixture.mm.context);
}

// ---- Counters and traces

TEST(Counters, OfAFlushOfThreeCpus) {
  FourCpus fixture;
  fixture.run_mm_on({0, 1, 2});
  flush(fixture, {.start = 0x5000, .end = 0x8000});
  flush(fixture, {});
  const Counters& sender = fixture.own(0).counters;
  const Counters& target = fixture.own(1).counters;
  EXPECT_EQ(sender.remote_flush_sent, 2u);
  EXPECT_EQ(sender.targets_queued, 4u);
  EXPECT_EQ(sender.remote_flush_received, 0u);
  EXPECT_EQ(sender.local_flush_one, 3u);
  EXPECT_EQ(sender.local_flush_all, 1u);
  EXPECT_EQ(target.remote_flush_sent, 0u);
  EXPECT_EQ(target.remote_flush_received, 2u);
  EXPECT_EQ(target.local_flush_one, 3u);
  EXPECT_EQ(target.local_flush_all, 1u);
}

TEST(Trace, ASendMayReachNobody) {
  FourCpus fixture;
  fixture.run_mm_on({0, 1});
  fixture.idle(1);
  recorder.clear();
  flush(fixture, {.start = 0x5000, .end = 0x7000});
  const auto sends = events(TraceKind::flush_send);
  ASSERT_EQ(sends.size(), 1u);
  EXPECT_EQ(sends[0].reason, FlushReason::remote_send);
  EXPECT_EQ(sends[0].value, 2u) << "pages";
  EXPECT_EQ(fixture.own(0).counters.remote_flush_sent, 1u);
  EXPECT_EQ(fixture.own(0).counters.targets_queued, 0u);
  EXPECT_NONE_OF("send interrupt", "order stores", "pause");
}

TEST(Trace, PagesAreSmallOnesWhateverTheStrideAndZeroMeansAll) {
  FourCpus fixture;
  fixture.run_mm_on({0, 1});
  flush(fixture, {.start = 0x20'0000, .end = 0x60'0000, .stride_shift = kLargePageShift});
  flush(fixture, {});
  const auto sends = events(TraceKind::flush_send);
  ASSERT_EQ(sends.size(), 2u);
  EXPECT_EQ(sends[0].value, 1024u);
  EXPECT_EQ(sends[1].value, 0u);
}

TEST(Trace, AFlushBeginsSendsAndEnds) {
  FourCpus fixture;
  fixture.run_mm_on({0, 1});
  flush(fixture);
  EXPECT_BEFORE("trace flush_begin", "trace flush_send");
  EXPECT_BEFORE("trace flush_send", "trace call_queued");
  EXPECT_BEFORE("trace call_queued", "trace call_run");
  EXPECT_BEFORE(last("trace handler_end"), "trace flush_end");
  const auto queued = events(TraceKind::call_queued);
  ASSERT_EQ(queued.size(), 1u);
  EXPECT_EQ(queued[0].value, 1u);
  EXPECT_EQ(queued[0].value2, 1u) << "the word was empty: it needs an interrupt";
}

}  // namespace
}  // namespace shootdown::test
