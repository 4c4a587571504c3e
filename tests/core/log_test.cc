// The macros that ask the log: what each says when it fails, and that none believes a label that
// nothing can write down.
#include "tests/core/log.h"

#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/core/core_fixture.h"

namespace shootdown::test {
namespace {

/// A log of four entries by two CPUs.
struct LogTest : testing::Test {
  LogTest() {
    recorder = {};
    recorder.names[&word] = "mm.tlb_gen";
    word.fetch_add(1, std::memory_order_seq_cst);
    recorder.note("send interrupt", 0b10);
    recorder.current = 1;
    static_cast<void>(word.load(std::memory_order_acquire));
    recorder.note("invlpg", 0x5000);
    recorder.current = 0;
  }
  LogTest(const LogTest&) = delete;
  LogTest& operator=(const LogTest&) = delete;
  ~LogTest() override { recorder = {}; }

  RecordedWord<std::uint64_t> word{0};
};

TEST_F(LogTest, IsPrintedWithNumbersCpusValuesAndOrders) {
  EXPECT_EQ(log_text({"invlpg"}),
            "The log has 4 entries:\n"
            "  0 cpu0 add mm.tlb_gen = 0x1 (seq_cst)\n"
            "  1 cpu0 send interrupt = 0x2\n"
            "  2 cpu1 load mm.tlb_gen = 0x1 (acquire)\n"
            "> 3 cpu1 invlpg = 0x5000");
}

TEST_F(LogTest, BeforeHoldsInOneDirectionOnly) {
  EXPECT_BEFORE("add mm.tlb_gen", "send interrupt");
  EXPECT_BEFORE("send interrupt", last("invlpg", 1));
  EXPECT_NONFATAL_FAILURE(EXPECT_BEFORE("invlpg", "send interrupt"),
                          "the first \"invlpg\" (entry 3) is not before the first "
                          "\"send interrupt\" (entry 1).\nThe log has 4 entries:\n");
  EXPECT_NONFATAL_FAILURE(EXPECT_BEFORE("invlpg", "invlpg"), "is not before");
}

TEST_F(LogTest, BeforeNeedsBothInTheLog) {
  EXPECT_NONFATAL_FAILURE(EXPECT_BEFORE("pause", "invlpg"),
                          "the first \"pause\" is not in the log.\nThe log has 4");
  EXPECT_NONFATAL_FAILURE(EXPECT_BEFORE("send interrupt", last("invlpg", 0)),
                          "the last \"invlpg\" of CPU 0 is not in the log.");
}

TEST_F(LogTest, FirstAndLastAreTold) {
  recorder.note("send interrupt", 0b100);
  EXPECT_BEFORE("send interrupt", "invlpg");
  EXPECT_BEFORE("invlpg", last("send interrupt"));
  EXPECT_EQ(index_of("send interrupt"), 1u);
  EXPECT_EQ(index_of(last("send interrupt")), 4u);
  EXPECT_EQ(entry_at(last("send interrupt")).value, 0b100u);
  EXPECT_NONFATAL_FAILURE(index_of("pause"), "the first \"pause\" is not in the log.");
}

TEST_F(LogTest, NeverFailsIfItHappenedAndShowsWhere) {
  EXPECT_NEVER("pause");
  EXPECT_NEVER("invlpg", 0);
  EXPECT_NONFATAL_FAILURE(EXPECT_NEVER("invlpg", 1),
                          "\"invlpg\" of CPU 1 is in the log 1 times, not 0.");
  EXPECT_NONFATAL_FAILURE(EXPECT_NEVER("invlpg"), "> 3 cpu1 invlpg = 0x5000");
  EXPECT_NONE_OF("pause", "fence");
  EXPECT_NONFATAL_FAILURE(EXPECT_NONE_OF("pause", "invlpg", "fence"), "\"invlpg\" is in the log");
}

TEST_F(LogTest, CountsMustBeExact) {
  EXPECT_ONCE("invlpg");
  EXPECT_COUNT(1, "invlpg", 1);
  EXPECT_NONFATAL_FAILURE(EXPECT_ONCE("pause"), "\"pause\" is in the log 0 times, not 1.");
  EXPECT_NONFATAL_FAILURE(EXPECT_COUNT(2, "invlpg"), "\"invlpg\" is in the log 1 times, not 2.");
}

TEST_F(LogTest, OrdersAreToldByName) {
  EXPECT_ORDER("add mm.tlb_gen", std::memory_order_seq_cst);
  EXPECT_NONFATAL_FAILURE(EXPECT_ORDER("load mm.tlb_gen", std::memory_order_seq_cst),
                          "the first \"load mm.tlb_gen\" (entry 2) is acquire, not seq_cst.");
  EXPECT_NONFATAL_FAILURE(EXPECT_ORDER("pause", std::memory_order_relaxed), "is not in the log.");
}

TEST_F(LogTest, ALabelThatNothingWritesDownIsRefusedWithTheOnesLikeIt) {
  constexpr const char* kRefused =
      "Nothing can write \"send interupt\" down. Labels like it: \"send interrupt\"";
  EXPECT_NONFATAL_FAILURE(EXPECT_NEVER("send interupt"), kRefused);
  EXPECT_NONFATAL_FAILURE(EXPECT_NONE_OF("pause", "send interupt"), kRefused);
  EXPECT_NONFATAL_FAILURE(EXPECT_COUNT(0, "send interupt"), kRefused);
  EXPECT_NONFATAL_FAILURE(EXPECT_ONCE("send interupt"), kRefused);
  EXPECT_NONFATAL_FAILURE(EXPECT_BEFORE("send interupt", "invlpg"), kRefused);
  EXPECT_NONFATAL_FAILURE(EXPECT_BEFORE("invlpg", last("send interupt")), kRefused);
  EXPECT_NONFATAL_FAILURE(EXPECT_ORDER("send interupt", std::memory_order_relaxed), kRefused);
  EXPECT_NONFATAL_FAILURE(count("send interupt"), kRefused);
  EXPECT_NONFATAL_FAILURE(values("send interupt"), kRefused);
  EXPECT_NONFATAL_FAILURE(is(recorder.log[0], "send interupt"), kRefused);
}

TEST_F(LogTest, AnAccessNeedsAVerbAndAWordThatHasAName) {
  EXPECT_NEVER("store mm.tlb_gen");
  EXPECT_NONFATAL_FAILURE(EXPECT_NEVER("write mm.tlb_gen"), "\"write mm.tlb_gen\" down");
  EXPECT_NONFATAL_FAILURE(EXPECT_NEVER("store mm.tlb_gne"), "like it: \"store mm.tlb_gen\"");
  EXPECT_NONFATAL_FAILURE(EXPECT_NEVER("store"), "Nothing can write");
}

using LogDeathTest = LogTest;

TEST_F(LogDeathTest, AHalThatNotesWhatItHasNotListedIsStopped) {
  EXPECT_DEATH(recorder.note("sned interrupt"),
               "notes \"sned interrupt\", which it has not listed");
  recorder.list({"sned interrupt"});
  recorder.note("sned interrupt");
  EXPECT_ONCE("sned interrupt");
}

TEST(Log, EveryKindOfTraceEventIsListed) {
  CoreFixture<1> fixture;
  for (unsigned kind = 0; kind <= static_cast<unsigned>(TraceKind::walkers_begin); ++kind) {
    const auto event = TraceKind{static_cast<std::uint8_t>(kind)};
    CoreFixture<1>::H::trace({.kind = event});
    ASSERT_NE(trace_name(event), nullptr);
    EXPECT_ONCE(std::string("trace ") + trace_name(event));
  }
}

TEST(Log, WordsOfCpusThatDoNotExistAreRefused) {
  CoreFixture<2> fixture;
  EXPECT_NEVER("load cpu1.is_lazy");
  EXPECT_NONFATAL_FAILURE(EXPECT_NEVER("load cpu2.is_lazy"), "Nothing can write");
  // Nor is there a hypervisor below this HAL.
  EXPECT_NONFATAL_FAILURE(EXPECT_NEVER("hypercall"), "Nothing can write");
}

}  // namespace
}  // namespace shootdown::test
