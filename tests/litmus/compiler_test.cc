// Which orders a compiler may choose: small columns, and what must be or must not be among them.
#include "litmus/compiler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "litmus/parse.h"

namespace shootdown::host::litmus {
namespace {

/// One CPU's instructions, separated by semicolons, compiled.
Compiled compiled(const std::string& code, unsigned most_repeats = 2) {
  ParseError error;
  const auto test = parse(
      "X86 one\n{ }\n P0 ;\n " + code + " ;\nlocations [0:EAX; 0:EBX; 0:ECX; 0:EDX;]\nforall true",
      error);
  EXPECT_TRUE(test.has_value()) << error.what;
  return test ? compile(*test, test->columns[0], {.most_repeats = most_repeats}) : Compiled();
}

std::size_t count(const std::string& code) { return compiled(code).orders.size(); }

/// Whether some order has the first instruction, by the beginning of its text, before the second.
bool can_precede(const std::string& code, const std::string& first, const std::string& second) {
  const Compiled made = compiled(code);
  EXPECT_EQ(made.problem, "");
  return std::any_of(made.orders.begin(), made.orders.end(), [&](const Code& order) {
    const auto find = [&](const std::string& text) {
      return std::find_if(order.begin(), order.end(),
                          [&](const Instruction& one) { return one.text.starts_with(text); });
    };
    EXPECT_NE(find(second), order.end());
    return find(first) < find(second);
  });
}

TEST(Compiler, ReordersRelaxedAccesses) {
  EXPECT_EQ(count("MOV EAX,[x]; MOV EBX,[y]"), 2U);
  EXPECT_EQ(count("MOV [x],$1; MOV [y],$1"), 2U);
  EXPECT_EQ(count("MOV [x],$1; MOV EAX,[y]"), 1U) << "the store buffer does the rest";
  EXPECT_EQ(count("MOV EAX,[y]; MOV [x],$1"), 1U) << "the store first, which shows more";
  EXPECT_TRUE(can_precede("MOV EAX,[y]; MOV [x],$1", "MOV [x]", "MOV EAX"));
  EXPECT_EQ(count("MOV EAX,[x]; MOV EBX,[y]; MOV ECX,[z]"), 6U);
}

TEST(Compiler, KeepsOrdersBarriersAndWords) {
  EXPECT_EQ(count("MOV.acq EAX,[x]; MOV EBX,[y]"), 1U);
  EXPECT_EQ(count("MOV EAX,[x]; MOV.acq EBX,[y]"), 2U);
  EXPECT_EQ(count("MOV [x],$1; MOV.rel [y],$1"), 1U);
  EXPECT_EQ(count("MOV.rel [x],$1; MOV [y],$1"), 2U);
  EXPECT_EQ(count("MOV [x],$1; MOV [x],$2"), 1U);
  EXPECT_EQ(count("MOV EAX,[x]; MOV EBX,[x]"), 1U);
  for (const std::string barrier : {"MFENCE", "LFENCE", "PAUSE", "CLI", "LOCK INC [z]"}) {
    EXPECT_EQ(count("MOV [x],$1; " + barrier + "; MOV [y],$1"), 1U) << barrier;
  }
  EXPECT_EQ(count("MOV [x],$1; XCHG.rlx EAX,[z]; MOV [y],$1"), 6U);
  EXPECT_EQ(count("MOV [x],$1; XCHG.acq EAX,[z]; MOV [y],$1"), 3U);
}

TEST(Compiler, KeepsDependenciesButNotRegisters) {
  EXPECT_FALSE(can_precede("MOV EAX,[x]; INC EAX; MOV [y],EAX", "MOV [y]", "MOV EAX"));
  EXPECT_FALSE(can_precede("MOV EAX,[x]; MOV EBX,[EAX]", "MOV EBX", "MOV EAX"));
  EXPECT_FALSE(can_precede("MOV EAX,[x]; CMP EAX,$0; SETE DL; MOV [y],EDX", "MOV [y]", "MOV EAX"));
  EXPECT_TRUE(
      can_precede("MOV EAX,[x]; MOV EBX,EAX; XOR EAX,EAX; MOV [y],EAX", "MOV [y]", "MOV EAX"));
  // The same register again is another one to a compiler.
  const std::string reused = "MOV EAX,[x]; MOV [a],EAX; MOV EAX,[y]; MOV [b],EAX";
  EXPECT_TRUE(can_precede(reused, "MOV EAX,[y]", "MOV EAX,[x]"));
  EXPECT_TRUE(can_precede(reused, "MOV [b]", "MOV EAX,[x]"));
  EXPECT_FALSE(can_precede(reused, "MOV [b]", "MOV EAX,[y]"));
  const std::string flags = "CMP [x],$0; SETE AL; CMP [y],$0; SETE BL; MOV [z],EBX";
  EXPECT_TRUE(can_precede(flags, "MOV [z]", "SETE AL")) << "flags are registers, too";
}

TEST(Compiler, TakesLoadsBeforeJumpsAndStoresNot) {
  const std::string jump = "MOV EAX,[x]; CMP EAX,$0; JE E; ";
  EXPECT_TRUE(can_precede(jump + "MOV EBX,[y]; E: NOP", "MOV EBX", "MOV EAX"));
  EXPECT_FALSE(can_precede(jump + "E: MOV [y],$1", "MOV [y]", "MOV EAX"));
}

TEST(Compiler, KnowsWhatItHasStored) {
  const std::string code = "MOV [x],$1; MOV EAX,[x]; MOV [y],EAX";
  EXPECT_TRUE(can_precede(code, "MOV [y]", "MOV [x]"));
  EXPECT_FALSE(can_precede("MOV [x],$1; MFENCE; MOV EAX,[x]; MOV [y],EAX", "MOV [y]", "MOV [x]"));
  EXPECT_FALSE(can_precede("MOV [x],$1; MOV EAX,[x]; MOV.rel [y],EAX", "MOV.rel", "MOV [x]"));
  EXPECT_EQ(count("MOV [x],$1; MOV.acq EBX,[z]; MOV EAX,[x]; MOV [y],EAX"), 3U)
      << "the store may wait for the acquire, but not beyond";
}

TEST(Compiler, LeavesStoresBehindLoadsWithoutLoadBuffering) {
  ParseError error;
  const auto test =
      parse("X86 one\n{ }\n P0 ;\n MOV EAX,[x] ;\n MOV [y],$1 ;\nforall (0:EAX=0)", error);
  ASSERT_TRUE(test.has_value()) << error.what;
  const Compiled made = compile(*test, test->columns[0], {.load_buffering = false});
  ASSERT_EQ(made.orders.size(), 1U);
  EXPECT_EQ(made.orders[0][0].text, "MOV EAX,[x]");
}

TEST(Compiler, LeavesOutWhatNobodyLooksAt) {
  EXPECT_EQ(count("MOV EAX,[x]; MOV ESI,[y]; INC ESI"), 1U);
  EXPECT_EQ(count("MOV EAX,[x]; MOV EAX,[y]"), 1U);
  EXPECT_EQ(count("MOV EAX,[x]; MOV ESI,[y]; MOV [z],ESI"), 2U);
  EXPECT_EQ(compiled("MOV.acq ESI,[x]").orders[0].size(), 1U);
}

TEST(Compiler, FollowsEveryPath) {
  EXPECT_EQ(count("CMP EAX,$0; JE E; NOP; E: NOP"), 2U);
  const Compiled loop = compiled("L: MOV EAX,[x]; CMP EAX,$0; JNE L", 2);
  EXPECT_EQ(loop.orders.size(), 4U) << "none, one and two jumps back, and one too many";
  EXPECT_EQ(loop.orders[0].size(), 4U) << "with what brings EAX to its place";
}

TEST(Compiler, SaysWhatItCannotDo) {
  EXPECT_NE(compiled("CMPXCHG [x],EAX").problem.find("CMPXCHG without LOCK"), std::string::npos);
  EXPECT_NE(compiled("L: MOV EAX,[x]; JNE L; JE L", 40).problem.find("too many paths"),
            std::string::npos);
  std::string many;
  for (const char name : std::string("abcdefghi")) {
    many += std::string(many.empty() ? "" : "; ") + "MOV [" + name + "],$1";
  }
  EXPECT_NE(compiled(many).problem.find("too many orders"), std::string::npos);
}

}  // namespace
}  // namespace shootdown::host::litmus
