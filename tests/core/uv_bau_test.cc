// The hub: which CPUs a message reaches, what its handler does, and which are interrupted instead.
#include <gtest/gtest.h>

#include <set>

#include "tests/core/paravirt_guest.h"

namespace shootdown::test {
namespace {

TEST(Bau, AMessageAndAnAnswerInsteadOfInterrupts) {
  for (const bool concurrent : {true, false}) {
    Four guest(kUvBauOps<H>, concurrent);
    guest.run_mm_on({0, 1, 2});
    guest.flush();
    ASSERT_EQ(H::bau_calls.size(), 1u);
    EXPECT_EQ(H::bau_calls[0].message.address, 0x5000u);
    EXPECT_EQ(H::bau_calls[0].targets.word(0), 0b110u);
    EXPECT_ONCE("invlpg", 1);
    EXPECT_COUNT(2, "hub answer");
    EXPECT_BEFORE(first("invlpg", 1), first("hub answer", 1));
    EXPECT_TRUE(interrupted().empty());
    // Local first, or while the message is on its way.
    if (concurrent) {
      EXPECT_BEFORE("hub message", first("invlpg", 0));
    } else {
      EXPECT_BEFORE(first("invlpg", 0), "hub message");
    }
    EXPECT_BEFORE(first("invlpg", 0), "hub answer");
  }
}

TEST(Bau, MoreThanOnePageIsEverything) {
  Four guest(kUvBauOps<H>);
  guest.run_mm_on({0, 1});
  guest.flush(2);
  ASSERT_EQ(H::bau_calls.size(), 1u);
  EXPECT_EQ(H::bau_calls[0].message.address, kFlushAll);
  EXPECT_ONCE("write CR3", 1);
}

TEST(Bau, WhomItCannotReachIsInterrupted) {
  for (const bool concurrent : {true, false}) {
    Four guest(kUvBauOps<H>, concurrent);
    H::bau_unreachable.set(2);
    guest.run_mm_on({0, 1, 2});
    guest.flush();
    EXPECT_EQ(interrupted(), std::vector<std::uint64_t>{0b100});
    EXPECT_EQ(guest.generation(2), guest.mm.tlb_gen.peek());
    EXPECT_ONCE("hub answer", 1);
    EXPECT_ONCE("invlpg", 0) << "the local part runs once";
    EXPECT_EQ(guest.counters().remote_flush_sent, 1u);
    EXPECT_EQ(guest.counters().native_fallbacks, 1u);
  }
}

TEST(Bau, ACpuThatGoesAnswersWhatItHasGotAndIsNotReachableAfterwards) {
  Four guest(kUvBauOps<H>);
  guest.run_mm_on({0, 1});
  H::inboxes[1].push_back({.address = kFlushAll, .sender = 0});
  H::unanswered[0] = 1;
  guest.as(1, [&] {
    H::self().interrupts = false;
    take_cpu_offline(guest.system);
  });
  EXPECT_BEFORE(first("hub close", 1), first("hub answer", 1));
  EXPECT_EQ(H::unanswered[0], 0u);
}

TEST(Bau, TheHandlerRefusesToRunWithInterruptsOn) {
  Four guest(kUvBauOps<H>);
  EXPECT_EQ(refused_by([&] { handle_bau_interrupt(guest.system); }), Rule::r12);
}

}  // namespace
}  // namespace shootdown::test
