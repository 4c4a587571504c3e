// A trial that ends in another report than the expected one explains itself.
#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/oracles/oracle_fixture.h"

namespace shootdown::fuzz {
namespace {

constexpr std::string_view kReaches =
    "O1 a flush returns while a CPU can still use an older translation";

/// CPU 1 reads the page, CPU 0 unmaps it, and CPU 1 keeps its translation.
Script unmap_behind_a_reader() {
  return {{await(1), op("unmap mm=0 page=1")}, {op("read page=1"), go(1), wrong([] {})}};
}

struct TrialTest : testing::Test {
  void keep_the_translation() {
    fixture.before(TraceKind::handler_begin, 1, [this] { snapshot.take(1); });
    fixture.after(TraceKind::handler_end, 1, [this] { snapshot.put_entries(1); });
  }
  OracleFixture fixture;
  TlbSnapshot snapshot{fixture};
};

TEST_F(TrialTest, TellsTheReportThatCameAndTheOneThatWasExpected) {
  keep_the_translation();
  fixture.expect(kReaches, unmap_behind_a_reader());
  EXPECT_NONFATAL_FAILURE(fixture.expect("O2 something else", unmap_behind_a_reader()),
                          "The run with the wrong steps and hooks ends in\n  " +
                              std::string(kReaches) + "\ninstead of\n  O2 something else\n");
}

TEST_F(TrialTest, TellsWhatEachCpuWasToDo) {
  keep_the_translation();
  EXPECT_NONFATAL_FAILURE(fixture.expect_clean(unmap_behind_a_reader()),
                          "SCRIPT\ncpu 0: await 1; unmap mm=0 page=1 count=1;\n"
                          "cpu 1: read page=1; go 1; a wrong step;\n");
}

TEST_F(TrialTest, TellsTheInterleavingAndTheReport) {
  keep_the_translation();
  fixture.run(unmap_behind_a_reader(), {}, /*honestly=*/false);
  const std::string told = fixture.trace_report();
  const std::size_t interleaving = told.find("\nINTERLEAVING\n       step   cpu0");
  const std::size_t report = told.find("\nREPORT\n  " + std::string(kReaches) + "\n");
  ASSERT_NE(interleaving, std::string::npos) << told;
  ASSERT_NE(report, std::string::npos) << told;
  EXPECT_LT(interleaving, report);
  EXPECT_NE(told.find(" store turn = 1", interleaving), std::string::npos) << told;
  EXPECT_NE(told.find(" == a wrong step", interleaving), std::string::npos) << told;
  EXPECT_GT(report - interleaving, 1000u) << "all of the run is told";
  EXPECT_NE(told.find(": cached page 1 of mm0\n", report), std::string::npos) << told;
}

TEST_F(TrialTest, SaysThatTheHonestRunWasWrongAlready) {
  EXPECT_NONFATAL_FAILURE(fixture.expect("O3 an ASID is newer than its address space",
                                         {{act([this] { fixture.loaded_asid(0).generation = 9; }),
                                           op("switch_to mm=0")}}),
                          "The run without the wrong steps and hooks ends in\n  O3 ");
}

TEST_F(TrialTest, AScenarioThatFailsIsRepeatedAndRecorded) {
  Scenario scenario;
  ParseError error;
  ASSERT_TRUE(
      parse("shootdown-scenario 1\nconfig cpus=2\ncpu 0: unmap mm=0 page=1\n"
            "cpu 1: read page=1\nat +0: preempt cpu=1\n",
            scenario, error))
      << print(error);
  fixture.expect_clean(scenario);
  fixture.before(TraceKind::flush_send, 0, [this] { fixture.loaded_asid(0).generation = 100; });
  EXPECT_NONFATAL_FAILURE(fixture.expect_clean(scenario), "\nINTERLEAVING\n       step   cpu0");
}

}  // namespace
}  // namespace shootdown::fuzz
