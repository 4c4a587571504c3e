// The reduction loses nothing: small random programs end in the same set of outcomes when every
// interleaving is enumerated.
#include <gtest/gtest.h>

#include "tests/host/small_machine.h"

namespace shootdown::host {
namespace {

constexpr std::uint64_t kPrograms = 3200;    // in each quarter
constexpr std::uint64_t kMostPlain = 4000;   // executions; what has more is compared in part
constexpr std::uint64_t kLeastWhole = 2500;  // programs of a quarter that are compared wholly

/// Counts what was compared.
struct Comparison {
  std::uint64_t most_plain;
  std::uint64_t whole{0};
  std::uint64_t failing{0};  // with actors: only whether they fail was compared
  std::uint64_t plain_runs{0};
  std::uint64_t reduced_runs{0};

  void compare(const SmallProgram& program, std::uint64_t seed) {
    const Outcomes plain = outcomes_of(
        program,
        {.reduction = Reduction::none, .most_executions = most_plain, .stop_at_failure = false});
    // A wait that is no wait: the CPU looks again although it can find nothing else. A complete
    // exploration of that takes for ever as well.
    ASSERT_FALSE(plain.failures.contains("a run does not end")) << "seed " << seed;
    const Outcomes reduced = outcomes_of(program, {.stop_at_failure = false});
    ASSERT_TRUE(reduced.result.complete);
    ASSERT_FALSE(reduced.failures.contains("a run does not end")) << "seed " << seed;
    // A run that fails ends although an actor that no CPU can rely on could still act, so what such
    // a run ends in depends on which actors happen to have acted. What counts is that it is found.
    for (const std::string& failure : plain.failures) {
      ASSERT_TRUE(reduced.failures.contains(failure)) << "seed " << seed << " loses " << failure;
    }
    if (program.has_actors() && !reduced.failures.empty()) {
      failing += plain.result.complete ? 1 : 0;
      return;
    }
    for (const std::string& outcome : plain.texts) {
      ASSERT_TRUE(reduced.texts.contains(outcome)) << "seed " << seed << " loses " << outcome;
    }
    for (const std::uint64_t hash : plain.hashes) {
      ASSERT_TRUE(reduced.hashes.contains(hash)) << "seed " << seed;
    }
    if (!plain.result.complete) return;
    ++whole;
    plain_runs += plain.result.executions;
    reduced_runs += reduced.result.executions + reduced.result.redundant;
    ASSERT_EQ(reduced.texts, plain.texts) << "seed " << seed;
    ASSERT_EQ(reduced.hashes, plain.hashes) << "seed " << seed;
  }

  void judge(std::uint64_t least_whole, std::uint64_t least_factor) const {
    std::printf(
        "%llu programs compared wholly, %llu that fail; executions: plain %llu, reduced "
        "%llu\n",
        static_cast<unsigned long long>(whole), static_cast<unsigned long long>(failing),
        static_cast<unsigned long long>(plain_runs), static_cast<unsigned long long>(reduced_runs));
    EXPECT_GE(whole + failing, least_whole);
    EXPECT_LT(reduced_runs * least_factor, plain_runs) << "the reduction does not reduce";
  }
};

void compare_quarter(std::uint64_t first_seed) {
  Comparison comparison{.most_plain = kMostPlain};
  for (std::uint64_t seed = first_seed; seed < first_seed + kPrograms; ++seed) {
    comparison.compare(random_program(seed), seed);
    if (testing::Test::HasFatalFailure()) return;
  }
  comparison.judge(kLeastWhole, 20);
}

constexpr std::uint64_t kWithActor = 800;  // programs for each actor
constexpr std::uint64_t kMostPlainWithActor = 10100;

void compare_with(Actor actor, std::uint64_t least_whole) {
  Comparison comparison{.most_plain = kMostPlainWithActor};
  for (std::uint64_t seed = 1; seed <= kWithActor; ++seed) {
    comparison.compare(random_program(actor, seed), seed);
    if (testing::Test::HasFatalFailure()) return;
  }
  comparison.judge(least_whole, 10);
}

TEST(Soundness, FirstQuarter) { compare_quarter(1); }
TEST(Soundness, SecondQuarter) { compare_quarter(1 + kPrograms); }
TEST(Soundness, ThirdQuarter) { compare_quarter(1 + (2 * kPrograms)); }
TEST(Soundness, LastQuarter) { compare_quarter(1 + (3 * kPrograms)); }

TEST(SoundnessWithActors, WalksInSeveralStepsAndEvictions) { compare_with(Actor::walker, 760); }
TEST(SoundnessWithActors, Nmis) { compare_with(Actor::nmi, 500); }
TEST(SoundnessWithActors, ADevice) { compare_with(Actor::device, 650); }
TEST(SoundnessWithActors, LostAndDuplicateInterrupts) { compare_with(Actor::faults, 450); }
TEST(SoundnessWithActors, AHostThatPreempts) { compare_with(Actor::host, 600); }

TEST(SoundnessWithActors, ThreadsThatChangeCpus) { compare_with(Actor::threads, 560); }
TEST(SoundnessWithActors, InterruptsBetweenOwnAccesses) { compare_with(Actor::own, 600); }

}  // namespace
}  // namespace shootdown::host
