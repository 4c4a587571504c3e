// What single instructions do on the bench, and what the result says of a run.
#include "litmus/bench.h"

#include <gtest/gtest.h>

#include <string>

#include "litmus/parse.h"
#include "litmus/run.h"

namespace shootdown::host::litmus {
namespace {

/// Runs a test, which must parse.
Result result_of(const std::string& text, Memory memory = Memory::tso,
                 const RunOptions& options = {}) {
  ParseError error;
  const auto test = parse(text, error);
  EXPECT_TRUE(test.has_value()) << error.line << ": " << error.what << "\n" << text;
  return test ? run(*test, memory, options) : Result();
}

std::string result_text(const std::string& text, Memory memory) {
  ParseError error;
  const auto test = parse(text, error);
  EXPECT_TRUE(test.has_value()) << error.line << ": " << error.what << "\n" << text;
  return test ? print(*test, run(*test, memory, {})) : "";
}

/// Whether one CPU's code always ends as the condition says.
bool always(const std::string& code, const std::string& condition, const std::string& init = "") {
  std::string rows;
  std::size_t start = 0;
  while (start < code.size()) {
    const std::size_t end = std::min(code.find(';', start), code.size());
    rows += " " + code.substr(start, end - start) + " ;\n";
    start = end + 1;
  }
  const Result result =
      result_of("X86_64 one\n{ " + init + " }\n P0 ;\n" + rows + "forall (" + condition + ")");
  EXPECT_EQ(result.problem, "");
  return result.observation() == Observation::always;
}

TEST(Bench, ComputesInRegisters) {
  EXPECT_TRUE(always("MOV EAX,$5; ADD EAX,$3; MOV EBX,EAX; SUB EBX,$9", "0:EAX=8 /\\ 0:EBX=-1"));
  EXPECT_TRUE(
      always("MOV EAX,$6; AND EAX,$3; OR EAX,$8; XOR EAX,$1; NOT EAX; NEG EAX", "0:EAX=12"));
  EXPECT_TRUE(always("INC EAX; DEC EBX; XCHG EAX,EBX", "0:EAX=-1 /\\ 0:EBX=1"));
  EXPECT_TRUE(always("MOV RAX,$-1; MOV EAX,$1", "0:RAX=1")) << "4 bytes clear the rest";
  EXPECT_TRUE(always("MOV RAX,$-1; MOV AL,$1; MOV BX,AX", "0:RAX=-255 /\\ 0:EBX=65281"));
  EXPECT_TRUE(always("MOV AL,$-1; MOVZX EBX,AL; MOVSX ECX,AL", "0:EBX=255 /\\ 0:ECX=-1"));
  EXPECT_TRUE(always("LEA RAX,[x+8]; SUB RAX,$8", "0:RAX=x"));
}

TEST(Bench, SetsFlags) {
  const auto sets = [](const std::string& before, const std::string& condition) {
    return always(before + ";SET" + condition + " DL", "0:DL=1");
  };
  EXPECT_TRUE(sets("CMP EAX,$0", "E"));
  EXPECT_TRUE(sets("CMP EAX,$1", "B"));
  EXPECT_TRUE(sets("CMP EAX,$1", "L"));
  EXPECT_TRUE(sets("CMP EAX,$-1", "G"));
  EXPECT_FALSE(sets("CMP EAX,$-1", "A"));
  EXPECT_TRUE(sets("MOV EAX,$0x80000000; SUB EAX,$1", "O"));
  EXPECT_TRUE(sets("MOV EAX,$-1; ADD EAX,$1", "C"));
  EXPECT_TRUE(sets("MOV EAX,$4; BT EAX,$2", "C"));
  EXPECT_TRUE(sets("TEST EAX,EAX", "Z"));
  EXPECT_TRUE(sets("MOV EAX,$-1; ADD EAX,$1; INC EBX", "C")) << "INC leaves it";
  EXPECT_TRUE(
      always("CMP EAX,$1; MOV EBX,$7; CMOVNE ECX,EBX; CMOVE EDX,EBX", "0:ECX=7 /\\ 0:EDX=0"));
}

TEST(Bench, ChangesMemory) {
  EXPECT_TRUE(always("MOV [x],$5; ADD [x],$2; MOV EAX,[x]", "x=7 /\\ 0:EAX=7"));
  EXPECT_TRUE(always("MOV EAX,$2; LOCK XADD [x],EAX", "x=7 /\\ 0:EAX=5", "x=5"));
  EXPECT_TRUE(always("MOV EAX,$9; XCHG EAX,[x]", "x=9 /\\ 0:EAX=5", "x=5"));
  EXPECT_TRUE(always("LOCK NEG [x]; LOCK NOT [x]", "x=4", "x=5"));
  EXPECT_TRUE(always("LOCK OR [x],$8; LOCK AND [x],$12; LOCK XOR [x],$1", "x=13", "x=5"));
  EXPECT_TRUE(always("LOCK BTS [x],$3; LOCK BTR [x],$0; SETC DL", "x=12 /\\ 0:DL=1", "x=5"));
  EXPECT_TRUE(always("LOCK SUB [x],$7; LOCK DEC [x]", "x=-3", "x=5")) << "below 0 in 4 bytes";
  EXPECT_TRUE(always("LOCK INC [x]", "x=-128", "int8_t x=127")) << "over the end of a byte";
  EXPECT_TRUE(always("MOV EAX,$5; MOV EBX,$6; LOCK CMPXCHG [x],EBX; SETE DL",
                     "x=6 /\\ 0:EAX=5 /\\ 0:DL=1", "x=5"));
  EXPECT_TRUE(always("MOV EAX,$4; MOV EBX,$6; LOCK CMPXCHG [x],EBX; SETE DL",
                     "x=5 /\\ 0:EAX=5 /\\ 0:DL=0", "x=5"));
  EXPECT_TRUE(always("MOV [RBX],$3; MOV EAX,[RBX+RCX*4]", "t[0]=3 /\\ 0:EAX=2",
                     "int t[2]={1,2}; 0:RBX=t; 0:RCX=1"));
  EXPECT_TRUE(always("movl $3,-8(%rsp); movl -8(%rsp),%eax", "0:EAX=3"));
}

TEST(Bench, JumpsAndLeaves) {
  EXPECT_TRUE(always("MOV EAX,$3; L: INC EBX; DEC EAX; JNE L", "0:EBX=3"));
  EXPECT_TRUE(always("JMP L; MOV EAX,$1; L: RET; MOV EAX,$2", "0:EAX=0"));
}

TEST(Bench, AWrongAddressIsAProblem) {
  const Result result = result_of("X86 a\n{ }\n P0 ;\n MOV EAX,[EBX] ;\nforall true");
  EXPECT_EQ(result.problem, "'MOV EAX,[EBX]': an access to an address without a location: 0x0");
  EXPECT_EQ(result.line, 4U);
  EXPECT_EQ(result.column, 2U);
}

TEST(Bench, AWaitIsNoLoopAndALostWakeUpIsFound) {
  const std::string wait =
      "X86 wait\n{ x=0; }\n P0 | P1 ;\n L: MOV EAX,[x] | %s ;\n CMP EAX,$1 | ;\n JE E | ;\n"
      " PAUSE | ;\n JMP L | ;\n E: NOP | ;\nforall (0:EAX=1)";
  const auto with = [&](const std::string& other) {
    return std::string(wait).replace(wait.find("%s"), 2, other);
  };
  const Result good = result_of(with("MOV [x],$1"));
  EXPECT_EQ(good.problem, "");
  EXPECT_EQ(good.cut, 0U);
  EXPECT_EQ(good.observation(), Observation::always);
  EXPECT_NE(result_of(with("MOV [x],$2")).problem.find("all CPUs wait"), std::string::npos);
}

TEST(Bench, EndlessLoopsAreCutAndSaidToBe) {
  const std::string spin =
      "X86 spin\n{ x=0; }\n P0 | P1 ;\n L: MOV EAX,[x] | MOV [x],$1 ;\n CMP EAX,$1 | ;\n"
      " JNE L | ;\nforall (0:EAX=1)";
  const Result result = result_of(spin, Memory::tso, {.most_repeats = 2});
  EXPECT_EQ(result.problem, "");
  EXPECT_EQ(result.positive, 3U) << "seen at once, after one more look, after two";
  EXPECT_EQ(result.negative, 0U);
  EXPECT_EQ(result.cut, 1U);
  EXPECT_NE(result.guarantee.find("jumping back at most 2 times"), std::string::npos);
}

TEST(Bench, PrintsAsHerdDoes) {
  const std::string text =
      "X86 MP\n{ x=0; y=0; }\n P0 | P1 ;\n MOV [x],$1 | MOV EAX,[y] ;\n MOV [y],$1 | MOV EBX,[x] "
      ";\n"
      "~exists (1:EAX=1 /\\ 1:EBX=0)";
  ParseError error;
  const auto test = parse(text, error);
  ASSERT_TRUE(test.has_value());
  const std::string printed = print(*test, run(*test, Memory::tso, {}));
  EXPECT_EQ(printed.substr(0, printed.find("Explored")),
            "Test MP Forbidden\n"
            "States 3\n"
            "1       :>1:EAX=0; 1:EBX=0;\n"
            "1       :>1:EAX=0; 1:EBX=1;\n"
            "1       :>1:EAX=1; 1:EBX=1;\n"
            "Ok\n"
            "Witnesses\nPositive: 0 Negative: 3\n"
            "Condition ~exists (1:EAX=1 /\\ 1:EBX=0)\n"
            "Observation MP Never 0 3\n");
}

TEST(Bench, AFilterSelectsExecutions) {
  const Result result = result_of(
      "X86 f\n{ x=0; }\n P0 | P1 ;\n MOV [x],$1 | MOV EAX,[x] ;\nfilter (1:EAX=1)\nforall "
      "(1:EAX=1)");
  EXPECT_EQ(result.observation(), Observation::always);
  EXPECT_EQ(result.states.size(), 1U);
}

TEST(Bench, ANarrowFrameComparesAsWhatThePageHolds) {
  const Result result = result_of(
      "X86 a\n{ a=1; PTE(x)=(a,present,writable); }\n P0 ;\n MOV [x],$-1 ;\n MOV EAX,[x] ;\n"
      "forall (a=0xffffffff)");
  EXPECT_EQ(result.observation(), Observation::always) << result.problem;
}

TEST(Bench, ConditionsCompareWholeEntries) {
  const std::string text =
      "X86 a\nFills=off\n{ a=1; PTE(x)=(a,present,writable); }\n P0 ;\n MOV EBX,[x] ;\n"
      " MOV EAX,PTE(x) ;\nforall (";
  const auto holds = [&](const std::string& condition) {
    return result_of(text + condition + ")").observation();
  };
  EXPECT_EQ(holds("PTE(x)=(a,present,writable,accessed)"), Observation::always);
  EXPECT_EQ(holds("0:EAX=(a,present,writable,accessed)"), Observation::always);
  EXPECT_EQ(holds("PTE(x)=(a,present,writable)"), Observation::never);
  EXPECT_EQ(holds("PTE(x)=0"), Observation::never);
}

TEST(Bench, MmsNeedNoPages) {
  EXPECT_EQ(result_of("X86 a\n{ x=1; 0:CR3=2; }\n P0 ;\n MOV CR3,$3 ;\n MOV EAX,[x] ;\n"
                      "forall (0:EAX=1)")
                .observation(),
            Observation::always);
}

TEST(Bench, SaysWhereTheModelIsSimplerThanAProcessor) {
  const auto limits = [](const std::string& code, Memory memory, const std::string& line = "") {
    return result_text("X86 a\n" + line + "{ a=1; PTE(x)=(a,present,writable); m=0; }\n P0 ;\n " +
                           code + " ;\nforall true",
                       memory)
        .find("\nModel ");
  };
  const std::string locked = "LOCK BTR PTE(x),$present ; IPI P0";
  EXPECT_NE(limits(locked, Memory::tso), std::string::npos);
  EXPECT_EQ(limits(locked, Memory::sc), std::string::npos);
  EXPECT_EQ(limits(locked, Memory::tso, "Apic=xapic\n"), std::string::npos);
  for (const char* code : {"LOCK BTR PTE(x),$present", "MOV PTE(x),(a,present)", "MFENCE ; IPI P0",
                           "MOV [m],$1", "MOV [x],$1", "MOV EAX,[x]", "IPI P0"}) {
    EXPECT_EQ(limits(code, Memory::tso), std::string::npos) << code;
  }
}

}  // namespace
}  // namespace shootdown::host::litmus
