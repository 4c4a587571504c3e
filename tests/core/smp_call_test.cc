// The SMP function call: queues, interrupts, and that each function runs exactly once.
#include "core/smp_call.h"

#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include "tests/core/core_fixture.h"

namespace shootdown::test {
namespace {

using FourCpus = CoreFixture<4>;

CpuMask<4> mask_of(std::initializer_list<CpuId> cpus) {
  CpuMask<4> mask;
  for (const CpuId cpu : cpus) mask.set(cpu);
  return mask;
}

/// Where a call ran: (argument, CPU).
std::vector<std::pair<int, CpuId>>& runs() {
  static std::vector<std::pair<int, CpuId>> list;
  return list;
}
void note_run(void* argument, Acknowledgement<FourCpus::H>& /*acknowledgement*/) {
  EXPECT_FALSE(FourCpus::H::interrupts_enabled());
  runs().emplace_back(*static_cast<int*>(argument), recorder.current);
}

CpuId call(FourCpus& fixture, const CpuMask<4>& targets, int number = 7) {
  const CallOutcome outcome =
      fixture.system.calls.call(targets, [](CpuId) { return true; }, note_run, &number, [] {});
  return outcome.queued;
}

struct SmpCallTest : testing::Test {
  FourCpus fixture;
  SmpCallTest() { runs().clear(); }
};

TEST_F(SmpCallTest, RunsOnEveryTargetOnceAndNotOnTheSender) {
  EXPECT_EQ(call(fixture, mask_of({0, 1, 3})), 2u);
  EXPECT_EQ(runs(), (std::vector<std::pair<int, CpuId>>{{7, 1}, {7, 3}}));
}

TEST_F(SmpCallTest, ReturnsWhenAllHaveRun) {
  bool waited = false;
  recorder.before = [&](const Entry& entry) { waited = waited || is(entry, "pause"); };
  call(fixture, mask_of({1, 2}));
  EXPECT_TRUE(waited);
  EXPECT_EQ(runs().size(), 2u);
}

TEST_F(SmpCallTest, AsksForEachTargetWhenItIsQueued) {
  std::vector<CpuId> asked;
  int number = 1;
  const CallOutcome outcome = fixture.system.calls.call(
      mask_of({0, 1, 2, 3}),
      [&](CpuId cpu) {
        asked.push_back(cpu);
        EXPECT_COUNT(cpu > 1 ? 1u : 0u, "push cpu1.queue");
        return cpu != 2;
      },
      note_run, &number, [] {});
  EXPECT_EQ(asked, (std::vector<CpuId>{1, 2, 3}));
  EXPECT_EQ(outcome.queued, 2u);
  EXPECT_NEVER("push cpu2.queue");
}

TEST_F(SmpCallTest, OfNobodyTouchesNoInterruptMachinery) {
  bool ran_locally = false;
  int number = 1;
  const CallOutcome outcome = fixture.system.calls.call(
      mask_of({0, 1}), [](CpuId) { return false; }, note_run, &number, [&] { ran_locally = true; });
  EXPECT_EQ(outcome.queued, 0u);
  EXPECT_TRUE(ran_locally);
  EXPECT_NONE_OF("order stores", "send interrupt", "pause");
}

using R11_SmpCall = SmpCallTest;

TEST_F(R11_SmpCall, StoresAreOrderedBetweenTheLastPushAndTheInterrupt) {
  call(fixture, mask_of({1, 2, 3}));
  EXPECT_BEFORE(last("push cpu3.queue"), "order stores");
  EXPECT_BEFORE("order stores", "send interrupt");
  EXPECT_EQ(index_of("order stores") + 1, index_of("send interrupt")) << "nothing comes between";
  EXPECT_ONCE("order stores");
}

TEST_F(R11_SmpCall, ATargetWhoseQueueWasNotEmptyIsNotInterruptedAgain) {
  // CPU 3 has queued a call for CPU 1, and its interrupt is on its way.
  int first_call = 3;
  bool second_done = false;
  recorder.before = [&](const Entry& entry) {
    if (!is(entry, "send interrupt") || entry.cpu != 3 || second_done) return;
    second_done = true;
    int second_call = 0;
    fixture.as(0, [&] {
      fixture.system.calls.call(
          mask_of({1}), [](CpuId) { return true; }, note_run, &second_call,
          [&] {
            EXPECT_NEVER("send interrupt", 0);
            FourCpus::H::cpus[1].pending = true;  // CPU 3's interrupt arrives.
          });
    });
  };
  fixture.as(3, [&] {
    fixture.system.calls.call(
        mask_of({1}), [](CpuId) { return true; }, note_run, &first_call, [] {});
  });
  EXPECT_TRUE(second_done);
  EXPECT_NEVER("order stores", 0);
  EXPECT_EQ(runs(), (std::vector<std::pair<int, CpuId>>{{3, 1}, {0, 1}})) << "oldest first";
}

using M7_SmpCall = SmpCallTest;

TEST_F(M7_SmpCall, ThePushPublishesAndTheTakeAcquires) {
  call(fixture, mask_of({1}));
  EXPECT_ORDER("push cpu1.queue", std::memory_order_acq_rel);
  EXPECT_ORDER("exchange cpu1.queue", std::memory_order_acq_rel);
  EXPECT_BEFORE("store record 0->1", "push cpu1.queue") << "locked before it is seen";
}

using M8_SmpCall = SmpCallTest;

TEST_F(M8_SmpCall, TheUnlockReleasesAndTheWaitAcquires) {
  call(fixture, mask_of({1}));
  const Moment unlock = last("store record 0->1", 1);
  EXPECT_EQ(entry_at(unlock).value, 0u);
  EXPECT_ORDER(unlock, std::memory_order_release);
  EXPECT_BEFORE(last("trace call_run"), unlock) << "after the function";
  EXPECT_ORDER(last("load record 0->1", 0), std::memory_order_acquire);
}

TEST_F(SmpCallTest, TheRecordIsNotReadAfterTheUnlock) {
  // From the unlock on the sender may use the record again, so the target must know the next one.
  int one = 1;
  int two = 2;
  const auto always = [](CpuId) { return true; };
  recorder.before = [&](const Entry& entry) {
    if (!is(entry, "store record 0->1") || entry.cpu != 1) return;
    for (const auto& [word, name] : recorder.names) {
      if (name != "record 0->1") continue;
      auto* locked = static_cast<RecordedWord<std::uint32_t>*>(const_cast<void*>(word));
      reinterpret_cast<CallData<FourCpus::H>*>(locked)->next = nullptr;
    }
  };
  fixture.system.calls.call(mask_of({1}), always, note_run, &one, [&] {
    fixture.as(2, [&] {
      FourCpus::H::cpus[1].pending = false;  // Its interrupt is late.
      fixture.system.calls.call(mask_of({1}), always, note_run, &two,
                                [] { FourCpus::H::cpus[1].pending = true; });
    });
  });
  EXPECT_EQ(runs(), (std::vector<std::pair<int, CpuId>>{{1, 1}, {2, 1}}));
}

TEST_F(SmpCallTest, AnInterruptWithoutACallRunsNothing) {
  fixture.with_interrupts_off(1, [&] { handle_call_function_interrupt(fixture.system); });
  EXPECT_TRUE(runs().empty());
}

using R12_SmpCall = SmpCallTest;

TEST_F(R12_SmpCall, NeedsInterruptsOnAndNoHandler) {
  std::optional<Rule> refused;
  fixture.with_interrupts_off(0,
                              [&] { refused = refused_by([&] { call(fixture, mask_of({1})); }); });
  EXPECT_EQ(refused, Rule::r12);
  FourCpus::H::self().in_interrupt = true;
  EXPECT_EQ(refused_by([&] { call(fixture, mask_of({1})); }), Rule::r12);
}

TEST_F(R12_SmpCall, TheQueueRunsWithInterruptsOff) {
  EXPECT_EQ(refused_by([&] { handle_call_function_interrupt(fixture.system); }), Rule::r12);
}

using R10_SmpCall = SmpCallTest;

TEST_F(R10_SmpCall, EachPairOfSenderAndTargetHasItsOwnRecord) {
  for (const CpuId sender : {0U, 2U}) {
    fixture.as(sender, [&] { call(fixture, mask_of({1, 3})); });
  }
  for (const char* record : {"record 0->1", "record 0->3", "record 2->1", "record 2->3"}) {
    EXPECT_COUNT(2, std::string("store ") + record) << record;
  }
}

}  // namespace
}  // namespace shootdown::test
