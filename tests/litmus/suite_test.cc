// Every litmus file in every mode: the verdicts must be those of the papers and the manual.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <ranges>
#include <sstream>
#include <string>
#include <vector>

#include "litmus/parse.h"
#include "litmus/run.h"

namespace shootdown::host::litmus {
namespace {

std::vector<std::string> files_in(const std::string& folder) {
  std::vector<std::string> found;
  for (const auto& entry : std::filesystem::directory_iterator("tests/litmus/" + folder)) {
    if (entry.path().extension() == ".litmus") found.push_back(entry.path().string());
  }
  std::sort(found.begin(), found.end());
  return found;
}

std::string content(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

/// Whether the file says why compilers change the verdict of the hardware, where they do.
bool explains_compilers(const Test& test, const std::vector<Expectation>& expected) {
  const auto verdict = [&](Memory memory) {
    const auto found = std::find_if(expected.begin(), expected.end(),
                                    [&](const Expectation& one) { return one.memory == memory; });
    return found == expected.end() ? Observation::never : found->observation;
  };
  return test.find("Cxx") != nullptr ||
         verdict(Memory::compiler_reordering) == verdict(Memory::tso);
}

/// Runs all files of a folder and returns how many outcomes were produced that a mode allows.
unsigned run_all(const std::string& folder, const RunOptions& options, std::size_t verdicts) {
  unsigned produced = 0;
  for (const std::string& path : files_in(folder)) {
    SCOPED_TRACE(path);
    ParseError wrong;
    const auto test = parse(content(path), wrong);
    EXPECT_TRUE(test.has_value()) << wrong.line << ": " << wrong.what;
    if (!test) continue;
    EXPECT_EQ(test->name, std::filesystem::path(path).stem());
    EXPECT_NE(test->find("Source"), nullptr) << "where the verdict comes from";
    std::string error;
    const auto expected = expectations(*test, error);
    EXPECT_TRUE(expected.has_value()) << error;
    if (!expected) continue;
    EXPECT_GE(expected->size(), verdicts) << "a verdict for each mode, vm perhaps without cxx";
    if (folder == "x86") EXPECT_TRUE(explains_compilers(*test, *expected));
    for (const Expectation& one : *expected) {
      RunOptions used = options;
      // Each round of a loop multiplies the orders of its instructions.
      if (one.memory == Memory::compiler_reordering) used.most_repeats = 2;
      const Result result = run(*test, one.memory, used);
      EXPECT_EQ(result.problem, "");
      EXPECT_TRUE(result.explored.complete);
      EXPECT_TRUE(as_expected(result, *expected)) << print(*test, result);
      produced += result.positive != 0 ? 1 : 0;
    }
  }
  return produced;
}

TEST(Suite, X86HasThePublishedVerdicts) {
  EXPECT_GE(files_in("x86").size(), 90U);
  EXPECT_GE(run_all("x86", {}, 3), 95U) << "outcomes that are allowed";
}

TEST(Suite, CxxHasTheVerdictsOfTheMemoryOrders) {
  EXPECT_GE(files_in("cxx").size(), 45U);
  EXPECT_GE(run_all("cxx", {}, 3), 27U) << "outcomes that are allowed";
}

TEST(Suite, TestsInCHaveTheVerdictsOfTheirMemoryOrders) {
  EXPECT_GE(files_in("c").size(), 45U);
  EXPECT_GE(run_all("c", {}, 1), 36U) << "outcomes that are allowed";
}

TEST(Suite, FilesAsHerdsToolsWriteThemAreRead) {
  EXPECT_GE(files_in("herd").size(), 9U);
  EXPECT_GE(run_all("herd", {}, 3), 14U) << "outcomes that are allowed";
}

TEST(Suite, VirtualMemoryHasTheManualsVerdicts) {
  EXPECT_GE(files_in("vm").size(), 70U);
  EXPECT_GE(run_all("vm", {}, 2), 80U) << "outcomes that are allowed";
}

TEST(Suite, AWrongVerdictIsNoticed) {
  constexpr const char* kStoreBuffering =
      "X86 SB\nExpect=sc:Sometimes tso:Never cxx:Never\n{ x=0; y=0; }\n P0 | P1 ;\n"
      " MOV [x],$1 | MOV [y],$1 ;\n MOV EAX,[y] | MOV EAX,[x] ;\n"
      "exists (0:EAX=0 /\\ 1:EAX=0)";
  ParseError wrong;
  const auto test = parse(kStoreBuffering, wrong);
  ASSERT_TRUE(test.has_value()) << wrong.what;
  std::string error;
  const auto expected = expectations(*test, error);
  ASSERT_TRUE(expected.has_value()) << error;
  EXPECT_FALSE(as_expected(run(*test, Memory::sc, {}), *expected));
  EXPECT_FALSE(as_expected(run(*test, Memory::tso, {}), *expected));
  EXPECT_FALSE(as_expected(run(*test, Memory::compiler_reordering, {}), *expected));
}

/// Compares the states that the reduction finds with those of every interleaving, where these are
/// few enough, and returns in how many runs they were.
unsigned compare_with_plain(const std::string& folder) {
  constexpr std::uint64_t kFew = 5000;
  constexpr std::uint64_t kFewOfManyOrders = 1000;
  unsigned compared = 0;
  for (const std::string& path : files_in(folder)) {
    SCOPED_TRACE(path);
    ParseError wrong;
    const auto test = parse(content(path), wrong);
    EXPECT_TRUE(test.has_value()) << wrong.what;
    if (!test || test->cpus > 2) continue;
    for (const MemoryName& mode : kMemories) {
      const std::uint64_t few =
          mode.memory == Memory::compiler_reordering ? kFewOfManyOrders : kFew;
      const Result plain =
          run(*test, mode.memory, {.reduction = Reduction::none, .most_executions = few});
      if (!plain.explored.complete) continue;
      const Result reduced = run(*test, mode.memory, {});
      EXPECT_TRUE(
          std::ranges::equal(std::views::keys(plain.states), std::views::keys(reduced.states)))
          << mode.name;
      EXPECT_LE(reduced.explored.executions, plain.explored.executions);
      ++compared;
    }
  }
  return compared;
}

TEST(Suite, PlainEnumerationFindsTheSameStates) {
  EXPECT_GE(compare_with_plain("x86"), 60U);
  EXPECT_GE(compare_with_plain("cxx"), 60U);
  EXPECT_GE(compare_with_plain("herd"), 20U);
  EXPECT_GE(compare_with_plain("c"), 60U);
  EXPECT_GE(compare_with_plain("vm"), 60U);
}

}  // namespace
}  // namespace shootdown::host::litmus
