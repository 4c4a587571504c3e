// What the simulated kernel makes of a processor that faults although the entry permits the access.
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "fuzz/run/runner.h"
#include "fuzz/scenario/scenario.h"
#include "hal/host/frames.h"

namespace shootdown::fuzz {
namespace {

/// Runs these operations on one CPU and returns the entry of page 1. Page 1 is cached without the
/// right to write before the last of them.
std::uint64_t entry_after(bool latitude, const std::string& last) {
  const auto runner = std::make_unique<Runner>();
  Scenario scenario;
  ParseError error;
  const std::string text = "shootdown-scenario 1\nconfig cpus=1 mms=1 latitude=" +
                           std::to_string(static_cast<int>(latitude)) +
                           "\ncpu 0: protect mm=0 page=1\ncpu 0: read page=1\n" + last;
  EXPECT_TRUE(parse(text, scenario, error)) << print(error);
  EXPECT_FALSE(runner->run(scenario).failed()) << runner->report().title;
  return runner->sim().leaf(0, 1);
}

TEST(Latitude, AfterASpuriousFaultTheKernelMakesTheAccessAgain) {
  for (const bool latitude : {false, true}) {
    const std::string unprotect = "cpu 0: unprotect mm=0 page=1\n";
    EXPECT_EQ(entry_after(latitude, unprotect) & host::kPteDirty, 0U);
    EXPECT_NE(entry_after(latitude, unprotect + "cpu 0: write page=1\n") & host::kPteDirty, 0U);
  }
}

TEST(Latitude, AfterAFaultThatIsNoneOfTheseItDoesNot) {
  for (const bool latitude : {false, true}) {
    EXPECT_EQ(entry_after(latitude, "cpu 0: write page=1\n") & host::kPteDirty, 0U);
  }
}

// Under isolation the entry of the kernel's root comes first, that of the user root second. A CPU
// that faults in between finds an entry that permits the access, and faults again until another CPU
// goes on.
TEST(Latitude, AFaultThatComesAgainLetsOtherCpusRun) {
  const auto runner = std::make_unique<Runner>();
  Scenario scenario;
  ParseError error;
  ASSERT_TRUE(
      parse("shootdown-scenario 1\nconfig cpus=4 mms=2 pti=1 latitude=1\ncpu 0: exit mm=1\n"
            "cpu 0: map mm=1 page=0\ncpu 2: switch_to mm=1\ncpu 2: map mm=1 page=0\n"
            "cpu 2: read page=0\nat +3: migrate cpu=3 with=1\nat +29: migrate cpu=0 with=2\n"
            "at +0: preempt cpu=2\nat +15: preempt cpu=0\n",
            scenario, error))
      << print(error);
  EXPECT_FALSE(runner->run(scenario).failed()) << runner->report().title;
}

}  // namespace
}  // namespace shootdown::fuzz
