// The reduction loses nothing: small random programs end in the same set of outcomes when every
// interleaving is enumerated.
#include <gtest/gtest.h>

#include "tests/host/small_program.h"

namespace shootdown::host {
namespace {

constexpr std::uint64_t kPrograms = 3200;    // in each quarter
constexpr std::uint64_t kMostPlain = 3000;   // executions; what has more is compared in part
constexpr std::uint64_t kLeastWhole = 2500;  // programs of a quarter that are compared wholly

void compare_quarter(std::uint64_t first_seed) {
  std::uint64_t whole = 0;
  std::uint64_t plain_runs = 0;
  std::uint64_t reduced_runs = 0;
  for (std::uint64_t seed = first_seed; seed < first_seed + kPrograms; ++seed) {
    const SmallProgram program = random_program(seed);
    const Outcomes reduced = outcomes_of(program, {.stop_at_failure = false});
    const Outcomes plain = outcomes_of(
        program,
        {.reduction = Reduction::none, .most_executions = kMostPlain, .stop_at_failure = false});
    ASSERT_TRUE(reduced.result.complete);
    for (const std::string& outcome : plain.texts) {
      ASSERT_TRUE(reduced.texts.contains(outcome)) << "seed " << seed << " loses " << outcome;
    }
    for (const std::uint64_t hash : plain.hashes) {
      ASSERT_TRUE(reduced.hashes.contains(hash)) << "seed " << seed;
    }
    if (!plain.result.complete) continue;
    ++whole;
    plain_runs += plain.result.executions;
    reduced_runs += reduced.result.executions + reduced.result.redundant;
    ASSERT_EQ(reduced.texts, plain.texts) << "seed " << seed;
    ASSERT_EQ(reduced.hashes, plain.hashes) << "seed " << seed;
  }
  EXPECT_GE(whole, kLeastWhole);
  EXPECT_LT(reduced_runs * 20, plain_runs) << "the reduction does not reduce";
  std::printf("%llu programs compared wholly; executions: plain %llu, reduced %llu\n",
              static_cast<unsigned long long>(whole), static_cast<unsigned long long>(plain_runs),
              static_cast<unsigned long long>(reduced_runs));
}

TEST(Soundness, FirstQuarter) { compare_quarter(1); }
TEST(Soundness, SecondQuarter) { compare_quarter(1 + kPrograms); }
TEST(Soundness, ThirdQuarter) { compare_quarter(1 + (2 * kPrograms)); }
TEST(Soundness, LastQuarter) { compare_quarter(1 + (3 * kPrograms)); }

}  // namespace
}  // namespace shootdown::host
