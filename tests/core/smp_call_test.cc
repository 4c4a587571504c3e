// The SMP function call: posts, words, interrupts, and that each function runs exactly once.
#include "core/smp_call.h"

#include <gtest/gtest.h>

#include <set>
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
Answered note_run(const CallPost<FourCpus::H>& post, Acknowledgement<FourCpus::H> acknowledgement) {
  EXPECT_FALSE(FourCpus::H::interrupts_enabled());
  runs().emplace_back(*static_cast<int*>(post.argument), recorder.current);
  return std::move(acknowledgement).give();
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
        EXPECT_COUNT(cpu > 1 ? 1u : 0u, "push cpu1.pending[0]");
        return cpu != 2;
      },
      note_run, &number, [] {});
  EXPECT_EQ(asked, (std::vector<CpuId>{1, 2, 3}));
  EXPECT_EQ(outcome.queued, 2u);
  EXPECT_NEVER("push cpu2.pending[0]");
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
  EXPECT_BEFORE(last("push cpu3.pending[0]"), "order stores");
  EXPECT_BEFORE("order stores", "send interrupt");
  EXPECT_EQ(index_of("order stores") + 1, index_of("send interrupt")) << "nothing comes between";
  EXPECT_ONCE("order stores");
}

TEST_F(R11_SmpCall, ATargetWhoseWordWasNotEmptyIsNotInterruptedAgain) {
  // CPU 2 has a call pending on CPU 1, in the word that CPU 0 uses, and its interrupt is on its
  // way.
  int first_call = 2;
  bool second_done = false;
  recorder.before = [&](const Entry& entry) {
    if (!is(entry, "send interrupt") || entry.cpu != 2 || second_done) return;
    second_done = true;
    int second_call = 0;
    fixture.as(0, [&] {
      fixture.system.calls.call(
          mask_of({1}), [](CpuId) { return true; }, note_run, &second_call,
          [&] {
            EXPECT_NEVER("send interrupt", 0);
            FourCpus::H::cpus[1].pending = true;  // CPU 2's interrupt arrives.
          });
    });
  };
  fixture.as(2, [&] {
    fixture.system.calls.call(
        mask_of({1}), [](CpuId) { return true; }, note_run, &first_call, [] {});
  });
  EXPECT_TRUE(second_done);
  EXPECT_NEVER("order stores", 0);
  EXPECT_EQ(runs(), (std::vector<std::pair<int, CpuId>>{{0, 1}, {2, 1}}));
}

TEST_F(R11_SmpCall, ATargetOfAnotherWordIsInterruptedAgain) {
  // CPU 3 has a call pending on CPU 1, in another word: only that word's interrupt is on its way.
  int first_call = 3;
  int second_call = 0;
  fixture.as(3, [&] {
    fixture.system.calls.call(
        mask_of({1}), [](CpuId) { return true; }, note_run, &first_call,
        [&] {
          FourCpus::H::cpus[1].pending = false;  // It is late.
          fixture.as(0, [&] {
            fixture.system.calls.call(
                mask_of({1}), [](CpuId) { return true; }, note_run, &second_call, [] {});
          });
        });
  });
  EXPECT_ONCE("send interrupt", 0);
  EXPECT_EQ(runs(), (std::vector<std::pair<int, CpuId>>{{0, 1}, {3, 1}}))
      << "both words are served";
}

TEST_F(R11_SmpCall, AWordThatIsEmptiedBetweenTwoTriesIsInterrupted) {
  // CPU 2 is answered between the two tries of CPU 0.
  fixture.pending_word(1, 0).poke(2);
  unsigned tries = 0;
  recorder.before = [&](const Entry& entry) {
    if (is(entry, "push cpu1.pending[0]") && ++tries == 2) {
      EXPECT_ORDER(last("push cpu1.pending[0]"), std::memory_order_acq_rel);
      fixture.pending_word(1, 0).poke(0);
    }
  };
  call(fixture, mask_of({1}));
  EXPECT_EQ(tries, 3u) << "the second finds another value than the first";
  EXPECT_ONCE("send interrupt", 0);
}

using M7_SmpCall = SmpCallTest;

TEST_F(M7_SmpCall, ThePushPublishesAndTheLookAcquires) {
  call(fixture, mask_of({1}));
  EXPECT_ORDER("push cpu1.pending[0]", std::memory_order_acq_rel);
  EXPECT_ORDER(first("load cpu1.pending[0]", 1), std::memory_order_acquire);
}

TEST_F(M7_SmpCall, ACallThatComesWhileTheWordIsServedIsServedBehindIt) {
  // CPU 2 pushes behind CPU 1's look, and sends no interrupt because the word is in use.
  int two = 2;
  bool pushed = false;
  recorder.before = [&](const Entry& entry) {
    if (!is(entry, "add cpu1.pending[0]") || entry.cpu != 1 || std::exchange(pushed, true)) return;
    fixture.system.calls.post_of(2).function = note_run;
    fixture.system.calls.post_of(2).argument = &two;
    fixture.pending_word(1, 0).poke(fixture.pending_word(1, 0).peek() | 2);
  };
  call(fixture, mask_of({1}));
  EXPECT_EQ(runs(), (std::vector<std::pair<int, CpuId>>{{7, 1}, {2, 1}}));
  EXPECT_EQ(fixture.pending_word(1, 0).peek(), 0u);
}

TEST_F(SmpCallTest, ASenderThatComesAgainIsServedBehindThoseThatWait) {
  int two = 2;
  unsigned answers = 0;
  recorder.before = [&](const Entry& entry) {
    if (is(entry, "push cpu1.pending[0]")) {  // CPU 2 is there first.
      fixture.system.calls.post_of(2).function = note_run;
      fixture.system.calls.post_of(2).argument = &two;
      fixture.pending_word(1, 0).poke(2);
      FourCpus::H::cpus[1].pending = true;
    }
    // CPU 0 has been answered, and calls again at once.
    if (is(entry, "load cpu1.pending[0]") && entry.cpu == 1) return;
    if (!is(entry, "add cpu1.pending[0]") || ++answers != 2) return;
    fixture.pending_word(1, 0).poke(fixture.pending_word(1, 0).peek() | 1);
  };
  call(fixture, mask_of({1}));
  EXPECT_EQ(runs(), (std::vector<std::pair<int, CpuId>>{{7, 1}, {2, 1}, {7, 1}}));
}

TEST_F(SmpCallTest, BusySendersOfOneWordKeepNoSenderOfAnotherWaiting) {
  int two = 2;
  int three = 3;
  unsigned answers = 0;
  recorder.before = [&](const Entry& entry) {
    if (is(entry, "push cpu1.pending[0]")) {  // CPU 3 waits in the other word.
      fixture.system.calls.post_of(2).function = note_run;
      fixture.system.calls.post_of(2).argument = &two;
      fixture.system.calls.post_of(3).function = note_run;
      fixture.system.calls.post_of(3).argument = &three;
      fixture.pending_word(1, 3).poke(2);
    }
    if (!is(entry, "add cpu1.pending[0]") || ++answers > 200) return;
    // CPUs 0 and 2 take turns: whenever one is answered, the other calls again.
    const std::uint64_t other = runs().back().first == 2 ? 1 : 2;
    fixture.pending_word(1, 0).poke(fixture.pending_word(1, 0).peek() | other);
  };
  call(fixture, mask_of({1}));
  EXPECT_EQ(runs().size(), 202u) << "and all of them are served, however many come";
  EXPECT_EQ(runs()[1], (std::pair<int, CpuId>{3, 1})) << "one round later at most";
}

TEST_F(SmpCallTest, ASenderWaitsForItsOwnAnswerAndNotForThoseOfItsWord) {
  // CPU 2's bit comes behind the answer to CPU 0, and its interrupt is late.
  bool late = false;
  recorder.before = [&](const Entry& entry) {
    if (is(entry, "add cpu1.pending[0]")) late = true;
    if (late && is(entry, "load cpu1.pending[0]") && entry.cpu == 0) {
      fixture.pending_word(1, 2).poke(2);
    }
  };
  EXPECT_EQ(call(fixture, mask_of({1})), 1u);
  EXPECT_TRUE(late);
}

using M8_SmpCall = SmpCallTest;

TEST_F(M8_SmpCall, TheAnswerReleasesAndTheWaitAcquires) {
  call(fixture, mask_of({1}));
  const Moment answer = last("add cpu1.pending[0]", 1);
  EXPECT_ORDER(answer, std::memory_order_release);
  EXPECT_BEFORE(last("trace call_run"), answer) << "after the function";
  EXPECT_ORDER(last("load cpu1.pending[0]", 0), std::memory_order_acquire);
}

TEST_F(SmpCallTest, ThePostIsNotReadAfterTheAnswer) {
  // From the answer on the sender may use its post again.
  int one = 1;
  int two = 2;
  const auto always = [](CpuId) { return true; };
  recorder.before = [&](const Entry& entry) {
    if (!is(entry, "add cpu1.pending[0]")) return;
    const bool of_cpu0 = entry.value == std::uint64_t{0} - 1;
    fixture.system.calls.post_of(of_cpu0 ? 0 : 2) = {};
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

TEST_F(R12_SmpCall, PendingCallsRunWithInterruptsOff) {
  EXPECT_EQ(refused_by([&] { handle_call_function_interrupt(fixture.system); }), Rule::r12);
}

using R10_SmpCall = SmpCallTest;

TEST_F(R10_SmpCall, EachSenderHasItsOwnPostAndBit) {
  for (const CpuId sender : {0U, 2U}) {
    fixture.as(sender, [&] { call(fixture, mask_of({1, 3})); });
  }
  EXPECT_EQ(values("push cpu1.pending[0]"), (std::vector<std::uint64_t>{1, 2}));
  EXPECT_EQ(values("push cpu3.pending[0]"), (std::vector<std::uint64_t>{1, 2}));
}

TEST(Pending, NoMachineHasASenderWhoseBitIsTheClosedOne) {
  for (CpuId cpus = 1; cpus <= 4096; ++cpus) {
    const CpuId words = internal::pending_words(cpus);
    EXPECT_EQ(words & (words - 1), 0u) << cpus << " CPUs: each push divides by it";
    EXPECT_LT((cpus - 1) / words, 63u) << cpus << " CPUs";
    EXPECT_LE((cpus - 1) / words, cpus <= 64 ? 7u : 31u) << cpus << " CPUs";
  }
}

TEST(Pending, EachSenderHasItsOwnBitOfManyWords) {
  using Many = PendingSenders<RecordingHal<130>>;
  static_assert(Many::kWords == 8 && PendingSenders<RecordingHal<1>>::kWords == 1);
  for (const CpuId cpus : {1U, 2U, 5U, 16U, 17U, 64U, 65U, 130U}) {
    SenderLayout<RecordingHal<130>> layout;
    layout.set_cpus(cpus);
    EXPECT_EQ(layout.words(), internal::pending_words(cpus));
    std::set<std::pair<CpuId, std::uint64_t>> bits;
    for (CpuId sender = 0; sender < cpus; ++sender) {
      const CpuId word = layout.word_of(sender);
      const std::uint64_t bit = layout.bit_of(sender);
      EXPECT_LT(word, layout.words());
      EXPECT_EQ(bit & Many::kClosed, 0u);
      EXPECT_TRUE(bits.emplace(word, bit).second) << sender;
      EXPECT_EQ(layout.first_of(bit, word), sender);
      EXPECT_TRUE(sender == 0 || layout.words() == 1 || layout.word_of(sender - 1) != word);
    }
  }
}

}  // namespace
}  // namespace shootdown::test
