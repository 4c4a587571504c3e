// What a target does: three generations, pages or everything, lazy CPUs, and what is recorded.
#include "core/flush_function.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/core/core_fixture.h"

namespace shootdown::test {
namespace {

using TwoCpus = CoreFixture<2>;
using H = TwoCpus::H;

/// CPU 1 runs the bench's mm and answers requests of CPU 0.
struct FlushFunctionTest : testing::Test {
  TwoCpus fixture;
  FlushRequest<H> request{.mm = &fixture.mm,
                          .start = 0x5000,
                          .end = 0x7000,
                          .generation = 2,
                          .initiator = 0,
                          .reason = FlushReason::local_shootdown,
                          .stride_shift = kPageShift,
                          .frees_tables = false,
                          .trims_mask = false,
                          .acknowledges_early = false};

  FlushFunctionTest() {
    fixture.run_mm_on({1});
    fixture.mm.tlb_gen.poke(2);
  }
  void answer(CpuId cpu = 1) {
    recorder.clear();
    fixture.with_interrupts_off(cpu, [&] { flush_function(fixture.system, request); });
  }
  static HandlerOutcome outcome() { return events(TraceKind::handler_end).back().outcome; }
};

// ---- R4, R5: the decision

HandlerOutcome expected_outcome(Generation asid, Generation wanted, Generation mm, bool all) {
  if (wanted != kNoGeneration && wanted <= asid) return HandlerOutcome::already_fresh;
  if (asid == mm) return HandlerOutcome::already_fresh;
  const bool exactly_this_one = asid + 1 == wanted && wanted == mm;
  return exactly_this_one && !all ? HandlerOutcome::partial : HandlerOutcome::full;
}

using R5_FlushFunction = FlushFunctionTest;

TEST_F(R5_FlushFunction, PagesOnlyIfExactlyTheRequestsGenerationIsMissing) {
  constexpr Generation kHighest = 5;
  for (Generation mm = 1; mm <= kHighest; ++mm) {
    for (Generation asid = 0; asid <= mm; ++asid) {
      for (Generation wanted = 0; wanted <= mm; ++wanted) {
        for (const bool all : {false, true}) {
          SCOPED_TRACE(testing::Message() << "ASID " << asid << ", wanted " << wanted << ", mm "
                                          << mm << (all ? ", all" : ", two pages"));
          fixture.mm.tlb_gen.poke(mm);
          fixture.loaded_asid(1).generation = asid;
          request.generation = wanted;
          request.end = all ? kFlushAll : 0x7000;
          answer();
          const HandlerOutcome expected = expected_outcome(asid, wanted, mm, all);
          EXPECT_EQ(outcome(), expected);
          EXPECT_COUNT(expected == HandlerOutcome::partial ? 2u : 0u, "invlpg");
          EXPECT_COUNT(expected == HandlerOutcome::full ? 1u : 0u, "write CR3");
          EXPECT_EQ(fixture.loaded_asid(1).generation,
                    expected == HandlerOutcome::already_fresh ? asid : mm);
        }
      }
    }
  }
}

using R4_FlushFunction = FlushFunctionTest;

TEST_F(R4_FlushFunction, TheRecordedGenerationWasReadBeforeTheFlush) {
  for (const char* instruction : {"invlpg", "write CR3"}) {
    fixture.loaded_asid(1).generation = 1;
    fixture.mm.tlb_gen.poke(2);
    request.end = instruction == std::string("invlpg") ? 0x7000 : kFlushAll;
    recorder.before = [&](const Entry& entry) {
      if (is(entry, instruction)) fixture.mm.tlb_gen.poke(3);
    };
    answer();
    EXPECT_ONCE("load mm.tlb_gen") << "it is not read again";
    EXPECT_EQ(fixture.loaded_asid(1).generation, 2u) << instruction;
  }
}

TEST_F(R4_FlushFunction, TheRecordedGenerationIsNotTheRequests) {
  fixture.mm.tlb_gen.poke(4);
  answer();
  EXPECT_EQ(outcome(), HandlerOutcome::full);
  EXPECT_EQ(fixture.loaded_asid(1).generation, 4u);
}

using M6_FlushFunction = FlushFunctionTest;

TEST_F(M6_FlushFunction, TheGenerationIsReadWithAcquire) {
  answer();
  EXPECT_ORDER("load mm.tlb_gen", std::memory_order_acquire);
}

TEST_F(R4_FlushFunction, AnAsidNewerThanItsMmIsRefused) {
  fixture.loaded_asid(1).generation = 3;
  request.generation = kNoGeneration;
  fixture.with_interrupts_off(1, [&] {
    EXPECT_EQ(refused_by([&] { flush_function(fixture.system, request); }), Rule::r4);
  });
}

TEST_F(R4_FlushFunction, AnAsidOfAnotherMmIsRefused) {
  fixture.loaded_asid(1).context = fixture.other.context;
  fixture.with_interrupts_off(1, [&] {
    EXPECT_EQ(refused_by([&] { flush_function(fixture.system, request); }), Rule::r4);
  });
}

using R1_FlushFunction = FlushFunctionTest;

TEST_F(R1_FlushFunction, ARequestNewerThanItsMmIsRefused) {
  request.generation = 3;
  fixture.with_interrupts_off(1, [&] {
    EXPECT_EQ(refused_by([&] { flush_function(fixture.system, request); }), Rule::r1);
  });
}

using R12_FlushFunction = FlushFunctionTest;

TEST_F(R12_FlushFunction, NeedsInterruptsOff) {
  fixture.as(1, [&] {
    EXPECT_EQ(refused_by([&] { flush_function(fixture.system, request); }), Rule::r12);
  });
}

using R13_FlushFunction = FlushFunctionTest;

TEST_F(R13_FlushFunction, GenerationZeroNeverShortCuts) {
  request.generation = kNoGeneration;
  fixture.loaded_asid(1).generation = 1;
  answer();
  EXPECT_EQ(outcome(), HandlerOutcome::full);
}

TEST_F(FlushFunctionTest, AnsweringTwiceFlushesOnce) {
  answer();
  EXPECT_EQ(outcome(), HandlerOutcome::partial);
  answer();
  EXPECT_EQ(outcome(), HandlerOutcome::already_fresh);
  EXPECT_NONE_OF("invlpg", "load mm.tlb_gen") << "the request says enough";
}

// ---- Which mm

TEST_F(FlushFunctionTest, ARequestForAnotherMmIsNotForThisCpu) {
  request.mm = &fixture.other;
  fixture.other.tlb_gen.poke(2);
  answer();
  EXPECT_EQ(outcome(), HandlerOutcome::other_mm);
  EXPECT_NONE_OF("invlpg", "write CR3");
}

TEST_F(FlushFunctionTest, ARequestForNoMmInParticularCatchesUpWithTheLoadedOne) {
  request.mm = nullptr;
  request.generation = kNoGeneration;
  request.end = kFlushAll;
  answer();
  EXPECT_EQ(outcome(), HandlerOutcome::full);
  EXPECT_EQ(fixture.loaded_asid(1).generation, 2u);
}

TEST_F(FlushFunctionTest, OnTheKernelsOwnMmThereIsNothingToDo) {
  fixture.switch_to(1, fixture.system.kernel_mm);
  request.mm = nullptr;
  answer();
  EXPECT_EQ(outcome(), HandlerOutcome::kernel_mm);
  EXPECT_NONE_OF("invlpg", "write CR3");
}

TEST_F(FlushFunctionTest, ALazyCpuMovesToTheKernelAndLeavesItsAsidBehind) {
  fixture.idle(1);
  const Asid asid = fixture.own(1).loaded_asid;
  answer();
  EXPECT_EQ(outcome(), HandlerOutcome::left_lazy);
  EXPECT_EQ(fixture.loaded(1), &fixture.system.kernel_mm);
  EXPECT_FALSE(fixture.mm.cpus.test(1));
  EXPECT_EQ(fixture.own(1).asids[asid].generation, kFirstGeneration) << "so that it flushes later";
  EXPECT_EQ(fixture.own(1).counters.lazy_left_by_flush, 1u);
  recorder.clear();
  fixture.switch_to(1, fixture.mm);
  EXPECT_EQ(values("write CR3").back() >> 63, 0u);
}

// ---- Ranges

struct RangeCase {
  const char* name;
  std::uint32_t ceiling;
  VirtAddr start;
  std::uint64_t strides;
  std::uint8_t shift;
  bool by_page;
};

class Ranges : public testing::TestWithParam<RangeCase> {};

TEST_P(Ranges, AreFlushedByPageUpToTheCeiling) {
  const RangeCase& range = GetParam();
  CoreFixture<1> fixture({.limits = {.ceiling_strides = range.ceiling}});
  fixture.run_mm_on({0});
  const VirtAddr end = range.start + (range.strides << range.shift);
  static_cast<void>(flush_tlb_mm_range(
      fixture.system, fixture.mm, {.start = range.start, .end = end, .stride_shift = range.shift}));
  std::vector<std::uint64_t> addresses;
  for (std::uint64_t i = 0; i < range.strides && range.by_page; ++i) {
    addresses.push_back(range.start + (i << range.shift));
  }
  EXPECT_EQ(values("invlpg"), addresses);
  EXPECT_COUNT(range.by_page ? 0u : 1u, "write CR3");
  const TraceEvent event = events(TraceKind::handler_end).back();
  EXPECT_EQ(event.reason,
            range.by_page ? FlushReason::local_shootdown : FlushReason::local_mm_shootdown);
  const Counters& counters = fixture.own(0).counters;
  EXPECT_EQ(counters.local_flush_one, addresses.size());
  EXPECT_EQ(counters.local_flush_all, range.by_page ? 0u : 1u);
}

INSTANTIATE_TEST_SUITE_P(
    Core, Ranges,
    testing::Values(RangeCase{"one_page", 33, 0x5000, 1, kPageShift, true},
                    RangeCase{"as_many_as_the_ceiling", 33, 0x5000, 33, kPageShift, true},
                    RangeCase{"one_more_than_the_ceiling", 33, 0x5000, 34, kPageShift, false},
                    RangeCase{"ceiling_zero_forces_everything", 0, 0x5000, 1, kPageShift, false},
                    RangeCase{"ceiling_one", 1, 0x5000, 1, kPageShift, true},
                    RangeCase{"ceiling_one_is_exceeded", 1, 0x5000, 2, kPageShift, false},
                    RangeCase{"from_address_zero", 33, 0, 2, kPageShift, true},
                    RangeCase{"up_to_the_last_page_but_one", 33, ~VirtAddr{0} << 14, 3, kPageShift,
                              true},
                    RangeCase{"up_to_the_last_page", 33, ~VirtAddr{0} << 14, 4, kPageShift, true}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(Range, OfEverythingIsOneLoadOfCr3WithoutTheKeepBit) {
  CoreFixture<1> fixture;
  fixture.run_mm_on({0});
  static_cast<void>(flush_tlb_mm(fixture.system, fixture.mm));
  EXPECT_EQ(values("write CR3"), std::vector<std::uint64_t>{CoreFixture<1>::kRoot | 2});
}

TEST(Range, WithoutPcidsEverythingIsALoadOfCr3Too) {
  CoreFixture<1> fixture({.processor = {.pcid = false}});
  fixture.run_mm_on({0});
  static_cast<void>(flush_tlb_mm(fixture.system, fixture.mm));
  EXPECT_EQ(values("write CR3"), std::vector<std::uint64_t>{CoreFixture<1>::kRoot});
}

// ---- Traces

TEST_F(FlushFunctionTest, TraceTellsReasonAndGenerations) {
  answer();
  TraceEvent event = events(TraceKind::handler_end).back();
  EXPECT_EQ(event.reason, FlushReason::remote_shootdown);
  EXPECT_EQ(event.value, 1u);
  EXPECT_EQ(event.value2, 2u);
  EXPECT_EQ(event.request, &request);
  request.initiator = 1;
  answer();
  event = events(TraceKind::handler_end).back();
  EXPECT_EQ(event.reason, FlushReason::local_shootdown) << "the initiator's own part";
  EXPECT_EQ(fixture.own(1).counters.remote_flush_received, 1u) << "only the first was remote";
}

}  // namespace
}  // namespace shootdown::test
