// The format: what is understood, and what the errors say.
#include "litmus/parse.h"

#include <gtest/gtest.h>

#include <string>

#include "litmus/mnemonics.h"
#include "tests/litmus/litmus_text.h"

namespace shootdown::host::litmus {
namespace {

/// "LINE: what", for a text that must not parse.
std::string error_of(const std::string& text) {
  ParseError error;
  EXPECT_FALSE(parse(text, error).has_value()) << text;
  return std::to_string(error.line) + ": " + error.what;
}

/// A test with one CPU and one instruction.
std::string with(const std::string& instruction, const std::string& arch = "X86") {
  return arch + " one\n{ }\n P0 ;\n " + instruction + " ;\nforall (0:EDX=0)";
}

Instruction instruction(const std::string& text, const std::string& arch = "X86") {
  const litmus::Test test = parsed(with(text, arch));
  EXPECT_EQ(test.columns.at(0).code.size(), 1U);
  return test.columns[0].code.empty() ? Instruction() : test.columns[0].code[0];
}

TEST(Parse, ReadsHeaderMetadataAndTable) {
  const litmus::Test test = parsed(
      "X86 SB+po (* a (* nested *) remark *)\n"
      "\"Fre PodWR Fre PodWR\"\n"
      "Cycle=Fre PodWR\nExpect=sc:Never\nSafe=\n"
      "{\n x=1; 0:EAX=7;\n}\n"
      " P0          | P1          ;\n"
      " MOV [y],$1  |             ;\n"
      " MOV EAX,[x] | mov ebx , [ y ] ;\n"
      "locations [x; 0:EAX;]\n"
      "exists (0:EAX=0 /\\ (1:EBX=0 \\/ ~(x=1)))\n");
  EXPECT_EQ(test.arch, "X86");
  EXPECT_EQ(test.name, "SB+po");
  EXPECT_EQ(*test.find("Cycle"), "Fre PodWR");
  EXPECT_EQ(*test.find("Safe"), "");
  EXPECT_EQ(test.cpus, 2U);
  EXPECT_EQ(test.columns[0].code.size(), 2U);
  EXPECT_EQ(test.columns[1].code.size(), 1U);
  EXPECT_EQ(test.columns[1].code[0].line, 11U);
  ASSERT_EQ(test.locations.size(), 2U);
  EXPECT_EQ(test.locations[0].name, "x");
  EXPECT_EQ(test.locations[0].initial, 1);
  EXPECT_EQ(test.quantifier, Quantifier::exists);
  EXPECT_EQ(test.shown, 3U) << "x and 0:EAX are listed, 1:EBX is in the condition";
  EXPECT_EQ(print(test, test.condition), "0:EAX=0 /\\ (1:EBX=0 \\/ ~x=1)");
}

TEST(Parse, IsLiberalInLayout) {
  for (const char* text :
       {"X86 a { x=0 }\nP0;\nMOV [x],1;\n~exists(x=0)",
        "(* a *)\n\nx86 a \"b\"\n{\n}\nP0\n;\n mov [ x ] , $1\n;\n\n~ exists\n x\n =0\n",
        "X86 a\r\n{ [x]=0; }\r\n P0 ;\r\n MOV DWORD PTR [x],$0x1 ;\r\n~exists x=0\r\n",
        "X86_64 a\n{ uint64_t x; }\n P0:A ;\n movq $1, x(%rip) ;\n~exists (x=0)"}) {
    const litmus::Test test = parsed(text);
    EXPECT_EQ(test.name, "a");
    ASSERT_EQ(test.columns[0].code.size(), 1U);
    EXPECT_EQ(test.columns[0].code[0].operands[0].location, 0U);
    EXPECT_EQ(test.columns[0].code[0].operands[1].value, 1);
    EXPECT_EQ(test.quantifier, Quantifier::not_exists);
  }
}

TEST(Parse, ReadsWhatHerdsToolsWriteAroundATest) {
  const litmus::Test test = parsed(
      "X86 a-b (ab) ;\n\"two\nlines {\"\nOrig=PodWR {\n{ };\n P0 | P1 ;\n"
      " LOCK; INC [x] | LOCK ; NOT [y] ;\n MOV EAX,[x] | LOCK NEG [y] ;\n"
      "locations [x int; y int*; 0:EAX;]\nexists (x=*y);\n"
      "with tso: ~exists; sc: forall;\n<<\n-s 10 {\n>>");
  EXPECT_EQ(test.name, "a-b");
  EXPECT_EQ(*test.find("Orig"), "PodWR {");
  ASSERT_EQ(test.columns[1].code.size(), 2U);
  EXPECT_TRUE(test.columns[0].code[0].locked);
  EXPECT_EQ(test.columns[0].code[0].text, "LOCK; INC [x]");
  EXPECT_EQ(test.columns[1].code[0].op, Op::bit_not);
  EXPECT_EQ(test.shown, 3U);
  EXPECT_EQ(print(test, test.condition), "x=y");
  Result result{.memory = Memory::tso};
  EXPECT_EQ(result.quantifier(test), Quantifier::not_exists);
  result.memory = Memory::sc;
  EXPECT_EQ(result.quantifier(test), Quantifier::forall);
  result.memory = Memory::compiler_reordering;
  EXPECT_EQ(result.quantifier(test), Quantifier::exists);
  EXPECT_EQ(parsed("X86 a\n{ x; }\n P0 ;\n NOP ;\nlocations [x;] (x=0)").quantifier,
            Quantifier::exists);
}

TEST(Parse, TypesOfCHaveTheirSizes) {
  const litmus::Test test = parsed(
      "X86_64 types\n{ unsigned char c; short int s; unsigned u; long long l; _Atomic int a=3;\n"
      " atomic_t t = ATOMIC_INIT(4); int64_t* p; }\n P0 ;\n nop ;\nforall [t]=4");
  std::string sizes;
  for (const Location& location : test.locations) {
    sizes += location.name + std::to_string(location.width) + " ";
  }
  EXPECT_EQ(sizes, "c1 s2 u4 l8 a4 t4 p8 ");
}

TEST(Parse, ReadsTypesPointersAndArrays) {
  const litmus::Test test = parsed(
      "X86_64 types\n"
      "{ int64_t w; uint8_t b=255; int* p=x; 0:rax=t; uint64_t 1:rbx=-1; [z]=3; *v=4; q;\n"
      "  int t[2]={1,-1}; }\n"
      " P0 | P1 ;\n movl 4(%rax),%ecx | nop ;\n forall (0:rcx=4294967295 /\\ [t[1]]=-1)");
  const auto find = [&](const std::string& name) {
    for (const Location& location : test.locations) {
      if (location.name == name) return location;
    }
    ADD_FAILURE() << name;
    return Location();
  };
  EXPECT_EQ(find("w").width, 8);
  EXPECT_EQ(find("b").width, 1);
  EXPECT_EQ(find("p").width, 8);
  EXPECT_EQ(static_cast<std::uint64_t>(find("p").initial), find("x").address);
  EXPECT_EQ(find("z").initial, 3);
  EXPECT_EQ(find("v").initial, 4);
  EXPECT_EQ(find("t[1]").address, find("t[0]").address + 4);
  ASSERT_EQ(test.registers.size(), 2U);
  EXPECT_EQ(static_cast<std::uint64_t>(test.registers[0].value), find("t[0]").address);
  EXPECT_EQ(test.registers[1].value, -1);
}

TEST(Parse, ReadsIntelAndAtAndT) {
  for (const auto& [text, arch] : {std::pair{"MOV [x],$1", "X86"},
                                   {"mov [x], 1", "X86"},
                                   {"MOV dword ptr [x],1", "X86"},
                                   {"movl $1,(x)", "X86_64"},
                                   {"MOVL $0x1, x(%rip)", "X86_64"}}) {
    SCOPED_TRACE(text);
    const Instruction made = instruction(text, arch);
    EXPECT_EQ(made.op, Op::mov);
    EXPECT_EQ(made.width, 4);
    EXPECT_EQ(made.operands[0].kind, OperandKind::memory);
    EXPECT_EQ(made.operands[0].location, 0U);
    EXPECT_EQ(made.operands[1].kind, OperandKind::immediate);
    EXPECT_EQ(made.operands[1].value, 1);
  }
  const Instruction load = instruction("movq (%rbx,%rcx,8),%r9", "X86_64");
  EXPECT_EQ(load.operands[0].reg.number, 9);
  EXPECT_EQ(load.width, 8);
  EXPECT_TRUE(load.operands[1].has_base && load.operands[1].has_index);
  EXPECT_EQ(load.operands[1].scale, 8);
  const Instruction sum = instruction("MOV EAX,[x+EBX*4+8]");
  EXPECT_EQ(sum.operands[1].index, 1);
  EXPECT_EQ(sum.operands[1].value, 8);
  const Instruction locked = instruction("lock xaddl %eax,(x)", "X86_64");
  EXPECT_TRUE(locked.locked);
  EXPECT_EQ(locked.op, Op::xadd);
  EXPECT_EQ(locked.operands[0].kind, OperandKind::memory);
  const Instruction stack = instruction("lock orl $0,-8(%rsp)", "X86_64");
  EXPECT_EQ(stack.operands[0].kind, OperandKind::memory) << "a word of the CPU's own";
  EXPECT_FALSE(stack.operands[0].has_base);
}

TEST(Parse, ReadsSizesFromNames) {
  EXPECT_EQ(instruction("movzbl (x),%eax", "X86_64").source_width, 1);
  EXPECT_EQ(instruction("movslq %eax,%rbx", "X86_64").op, Op::mov_sign_extended);
  EXPECT_EQ(instruction("MOVZX EAX,BL").source_width, 1);
  EXPECT_EQ(instruction("cmovll %eax,%ebx", "X86_64").condition, 12) << "less, of 4 bytes";
  EXPECT_EQ(instruction("cmovl %eax,%ebx", "X86_64").condition, 12) << "less";
  EXPECT_EQ(instruction("SETNE AL").condition, 5);
  EXPECT_EQ(instruction("SUB EAX,$1").op, Op::subtract) << "and no byte form of SU";
  EXPECT_EQ(instruction("retq", "X86_64").op, Op::leave);
}

TEST(Parse, ReadsLabels) {
  const litmus::Test test = parsed(
      "X86 loop\n{ x=0; }\n P0 ;\n L0: ;\n MOV EAX,[x] ;\n CMP EAX,$1 ;\n JNE L0 ;\n JMP End ;\n"
      " End: ;\nforall (0:EAX=1)");
  ASSERT_EQ(test.columns[0].code.size(), 4U);
  EXPECT_EQ(test.columns[0].code[2].target, 0U);
  EXPECT_EQ(test.columns[0].code[3].target, 4U) << "behind the last instruction";
}

TEST(Parse, ReadsConditions) {
  const auto condition = [](const std::string& text) {
    const litmus::Test test = parsed("X86 c\n{ x=0; y=0; }\n P0 | P1 ;\n MOV EAX,[x] | ;\n" + text);
    return std::to_string(static_cast<unsigned>(test.quantifier)) + print(test, test.condition);
  };
  EXPECT_EQ(condition("exists x=1"), "0x=1");
  EXPECT_EQ(condition("~exists (x=1 && y=2 || true)"), "1(x=1 /\\ y=2) \\/ true");
  EXPECT_EQ(condition("~ exists (not (x=1))"), "1~x=1");
  EXPECT_EQ(condition("forall (0:EAX=-1 => 1 : EBX != 0x10)"), "20:EAX=-1 => 1:EBX!=16");
  EXPECT_EQ(condition("exists (P0:eax=x /\\ [y]=1:EBX)"), "00:eax=x /\\ y=1:EBX");
  EXPECT_EQ(condition("exists (x=1 \u2227 y=2)"), "0x=1 /\\ y=2");
  EXPECT_EQ(condition("locations [x; y]"), "2true");
  EXPECT_EQ(condition("filter (x=1)\nexists (y=1)"), "0y=1");
}

TEST(Parse, ReadsMemoryOrders) {
  EXPECT_EQ(instruction("MOV EAX,[x]").order, std::memory_order_relaxed);
  EXPECT_EQ(instruction("MOV.acq EAX,[x]").order, std::memory_order_acquire);
  EXPECT_EQ(instruction("movl.rel $1,(x)").order, std::memory_order_release);
  EXPECT_EQ(instruction("XCHG [x],EAX").order, std::memory_order_seq_cst);
  EXPECT_EQ(instruction("XCHG.rlx [x],EAX").order, std::memory_order_relaxed);
  EXPECT_EQ(instruction("LOCK XADD.acqrel [x],EAX").order, std::memory_order_acq_rel);
}

TEST(Parse, ErrorsOfMemoryOrders) {
  const auto why = [](const std::string& text) { return error_of(with(text)); };
  EXPECT_NE(why("MOV.rel EAX,[x]").find("a load does not release"), std::string::npos);
  EXPECT_NE(why("MOV.acq [x],EAX").find("a store does not acquire"), std::string::npos);
  EXPECT_NE(why("MOV.acqrel [x],EAX").find("only a locked instruction"), std::string::npos);
  EXPECT_NE(why("MOV.con EAX,[x]").find("'.con' is no memory order"), std::string::npos);
  EXPECT_NE(why("INC.rel [x]").find("goes with MOV and locked"), std::string::npos);
  EXPECT_NE(why("MOV.acq EAX,EBX").find("goes with MOV and locked"), std::string::npos);
  EXPECT_NE(why("MFENCE.acq").find("goes with MOV and locked"), std::string::npos);
  EXPECT_NE(error_of("X86 p\n{ PTE(x)=(a,present); }\n P0 ;\n MOV.acq EAX,[x] ;\nforall true")
                .find("accesses to pages have no memory order"),
            std::string::npos);
}

TEST(Parse, ErrorsNameTheLineAndTheInstruction) {
  EXPECT_EQ(
      error_of(with("MOVNTI [x],EAX")),
      "4: instruction 'MOVNTI [x],EAX' is not supported: 'movnti' is unknown here; known are " +
          known_mnemonics());
  EXPECT_EQ(error_of(with("MFENCE EAX")),
            "4: instruction 'MFENCE EAX' is not supported with 1 operands");
  EXPECT_EQ(error_of(with("LOCK MOV [x],$1")),
            "4: instruction 'LOCK MOV [x],$1' cannot have a LOCK prefix");
  EXPECT_EQ(error_of(with("MOV [x],[y]")),
            "4: instruction 'MOV [x],[y]' is not supported: two operands in memory");
  EXPECT_EQ(error_of(with("LOCK ADD EAX,$1")),
            "4: instruction 'LOCK ADD EAX,$1' is not supported: LOCK without an operand in memory");
  EXPECT_EQ(error_of(with("JMP L7")), "4: 'JMP L7': there is no label 'L7'");
  EXPECT_EQ(error_of(with("MOV EAX,%foo")), "4: operand '%foo' is not supported: no such register");
  EXPECT_EQ(error_of(with("INVLPG [x]")),
            "4: 'INVLPG [x]': x is no page; give it an entry in the initial state");
}

TEST(Parse, ErrorsOfTheWholeFile) {
  EXPECT_EQ(error_of("AArch64 MP\n{}\nP0 ;\nforall true"),
            "1: architecture 'AArch64' is not supported; X86, X86_64 and C are");
  EXPECT_EQ(error_of(""), "1: the first line must be 'X86 NAME', 'X86_64 NAME' or 'C NAME'");
  EXPECT_EQ(error_of("X86 a\n P0 ;\n"), "2: there is no initial state '{ ... }'");
  EXPECT_EQ(error_of("X86 a\n{ x=0;\n P0 ;\n"), "2: the initial state has no '}'");
  EXPECT_EQ(error_of("X86 a\n(* { }\n"), "2: this comment has no end");
  EXPECT_EQ(error_of("X86 a\n{ }\n P0 | P2 ;\n NOP ;\nforall true"),
            "3: the columns of CPUs must be P0, P1 and so on");
  EXPECT_EQ(error_of("X86 a\n{ }\n P0 ;\n NOP | NOP ;\nforall true"),
            "4: this row has 2 columns and the table 1");
  EXPECT_EQ(error_of("X86 a\n{ }\n P0 ;\n NOP ;\nexists (0:EAX 1)"),
            "5: after '0:EAX' '=' or '!=' is expected, not '1)'");
  EXPECT_EQ(error_of("X86 a\n{ }\n P0 ;\n NOP ;\nexists (0:EAX=1"), "5: ')' is missing before ''");
  EXPECT_EQ(error_of("X86 a\n{ }\n P0 ;\n NOP ;\nexists (1:EAX=1)"),
            "5: '1:EAX': there is no such CPU");
  EXPECT_EQ(error_of("X86 a\n{ x= ; }\n P0 ;\n NOP ;\nforall true"), "2: 'x=' has no value");
  EXPECT_EQ(error_of("X86 a\n{ }\n P0 ;\n L: NOP ;\n L: NOP ;\nforall true"),
            "5: label 'L' is there twice");
}

TEST(Parse, ReadsPageTables) {
  const litmus::Test test = parsed(
      "X86 vm\nPcid=off\n"
      "{ a=1; PTE(x)=(a, present, Writable); PTE(x,2)=(b,present); PTE(x,t)=(b,present,global);\n"
      "  1:CR3=2; }\n"
      " P0 | P1 | P1.irq ;\n"
      " MOV PTE(x),(b,present,dirty) | MOV EAX,[x] | INVLPG [x] ;\n"
      " LOCK BTR PTE(x),$dirty | XCHG EBX,PTE(x) | INVPCID $0,$2,[x] ;\n"
      " MOV PDE(x),(t,present) | MOV CR3,$2,keep | INVPCID $3 ;\n"
      " IPI P1 | CLI | ;\n"
      "locations [PTE(x);]\nforall (PTE(x).dirty=0 /\\ 1:EBX.frame=a /\\ 1:FAULT=0)");
  const auto place_of = [&](const std::string& name) {
    for (const Location& location : test.locations) {
      if (location.name == name) return location.place;
    }
    return Place::word;
  };
  EXPECT_EQ(place_of("x"), Place::page);
  EXPECT_EQ(place_of("a"), Place::frame);
  EXPECT_EQ(place_of("b"), Place::frame);
  EXPECT_EQ(place_of("t"), Place::table);
  ASSERT_EQ(test.entries.size(), 4U) << "three of the page, and the upper one";
  EXPECT_EQ(test.entries[1].mm, 2U);
  EXPECT_EQ(test.entries[3].level, 2U);
  EXPECT_EQ(test.columns[2].role, Role::interrupt);
  EXPECT_EQ(test.cpus, 2U);
  EXPECT_TRUE(test.columns[0].code[1].locked);
  EXPECT_EQ(test.columns[0].code[1].operands[1].value, 6) << "the dirty bit's number";
  EXPECT_TRUE(test.columns[1].code[2].keep);
  EXPECT_EQ(test.initial_mms.size(), 1U);
  EXPECT_EQ(print(test, test.condition), "PTE(x).dirty=0 /\\ 1:EBX.frame=a /\\ 1:FAULT=0");
}

TEST(Parse, WalksStopEarlyWhereThatMatters) {
  const auto walks = [](const std::string& lines, const std::string& code) {
    std::string text;
    const litmus::Test test = parsed(
        "X86 a\n" + lines + "{ PTE(x)=(a,present); PTE(y)=(a,present); PTE(z)=(a,present); }" +
        "\n P0 ;\n " + code + " ;\nforall true");
    for (const auto& [address, level] : test.speculative_walks()) text += std::to_string(level);
    return text;
  };
  EXPECT_EQ(walks("", "MOV PTE(x),(absent)"), "111");
  EXPECT_EQ(walks("", "MOV EAX,PDE(x)"), "111") << "no table changes";
  EXPECT_EQ(walks("", "MOV PDE(x),(absent)"), "1211") << "a pointer for the region of all";
  EXPECT_EQ(walks("", "XCHG EAX,PDE(x)"), "1211");
  EXPECT_EQ(walks("Far=z\n", "LOCK BTR PDE(x),$present"), "12112");
  EXPECT_EQ(walks("Walks=whole\n", "MOV PDE(x),(absent)"), "111");
  EXPECT_EQ(walks("Walks=early\n", "NOP"), "1211");
  EXPECT_EQ(walks("Walks=early\nFills=off\n", "NOP"), "");
}

TEST(Parse, PagesWhoseRightToWriteMayComeAreEvicted) {
  const auto evictions = [](const std::string& init, const std::string& code,
                            const std::string& lines = "") {
    return parsed("X86 a\n" + lines + "{ a=0; b=0; PTE(y)=(b,present,writable); " + init +
                  " }\n P0 ;\n " + code + " ;\nforall true")
        .evictions()
        .size();
  };
  const std::string readonly = "PTE(x)=(a,present);";
  const std::string writable = "PTE(x)=(a,present,writable);";
  EXPECT_EQ(evictions(readonly, "MOV PTE(x),(a,present,writable) ;\n MOV [x],$1"), 1U);
  EXPECT_EQ(evictions(readonly, "MOV PTE(x),(a,present,writable) ;\n MOV EAX,[x]"), 0U)
      << "no store";
  EXPECT_EQ(evictions(readonly, "MOV [x],$1"), 0U) << "no change";
  EXPECT_EQ(evictions(readonly, "MOV PTE(y),(b,present,writable) ;\n MOV [x],$1"), 0U);
  EXPECT_EQ(evictions(writable, "MOV PTE(x),(b,present,writable) ;\n MOV [x],$1"), 0U);
  EXPECT_EQ(evictions(writable, "MOV PTE(x),(a,present) ;\n LOCK INC [x]"), 1U);
  EXPECT_EQ(evictions(writable, "LOCK BTR PTE(x),$writable ;\n MOV [EAX],$1"), 1U);
  EXPECT_EQ(evictions(writable, "LOCK BTR PDE(x),$writable ;\n XCHG EAX,[y]"), 1U);
  EXPECT_EQ(evictions(readonly, "NOP", "Evictions=on\n"), 2U);
  EXPECT_EQ(
      evictions(readonly, "MOV PTE(x),(a,present,writable) ;\n MOV [x],$1", "Evictions=off\n"), 0U);
  // Rights of other accesses.
  EXPECT_EQ(evictions("PTE(x)=(a,present)", "LOCK BTR PTE(x),$nx ;\n FETCH EAX,[x]"), 1U);
  EXPECT_EQ(evictions("PTE(x)=(a,present)", "LOCK BTS PTE(x),$user ;\n MOV EAX,[x]"), 1U);
  EXPECT_EQ(evictions("PTE(x)=(a,present)", "LOCK BTS PTE(x),$accessed ;\n MOV EAX,[x]"), 0U);
}

TEST(Parse, ErrorsOfPageTables) {
  const auto vm = [](const std::string& init, const std::string& code,
                     const std::string& condition = "true") {
    return error_of("X86 a\n{ " + init + " }\n P0 ;\n " + code + " ;\nforall (" + condition + ")");
  };
  const std::string x = "PTE(x)=(a,present);";
  EXPECT_EQ(
      vm("PTE(x)=(a,shiny);", "NOP"),
      "2: 'shiny' is no flag of an entry; they are present, absent, writable, readonly, accessed, "
      "dirty, global, user, supervisor, nx, and large in a PDE");
  EXPECT_EQ(vm("PTE(x)=(a,present); PTE(y)=(x,present);", "NOP"),
            "2: 'x' is a page, and entries name frames");
  EXPECT_EQ(vm(x, "MOV EAX,[a]"),
            "4: 'MOV EAX,[a]': a is a frame; instructions reach it through a page");
  EXPECT_EQ(vm("PTE(x)=(a,present,user,supervisor);", "NOP"),
            "2: '(a,present,user,supervisor)' contradicts itself");
  EXPECT_EQ(vm("PML4E(x)=(a,present,large);", "NOP"), "2: '(a,present,large)' contradicts itself");
  EXPECT_EQ(vm(x, "LOCK BTR PML5E(x),$present"),
            "4: 'PML5E(x)' needs the line 'Hardware=five_levels'");
  EXPECT_EQ(vm(x, "FETCH [x],EAX"),
            "4: instruction 'FETCH [x],EAX' is not supported: FETCH reads a page into a register");
  EXPECT_EQ(vm(x, "FETCH EAX,[y]"),
            "4: 'FETCH EAX,[y]': y is no page; give it an entry in the initial state");
  EXPECT_EQ(
      vm(x, "ADD PTE(x),$1"),
      "4: instruction 'ADD PTE(x),$1' is not supported: page-table entries take MOV, XCHG, and "
      "LOCK with BTS, BTR, AND, OR");
  EXPECT_EQ(
      vm(x, "INVPCID $1"),
      "4: operand '$1' is not supported: INVPCID is '$0,pcid,[page]', '$1,pcid', '$2' or '$3'");
  EXPECT_EQ(vm(x, "MOV EAX,CR3"),
            "4: operand 'EAX,CR3' is not supported: control registers are loaded by 'MOV CR3,$mm' "
            "and 'MOV CR4,$pge+pcide'");
  EXPECT_EQ(vm(x, "IPI P1"), "4: operand 'P1' is not supported: there is no such column");
  EXPECT_EQ(vm(x, "NOP", "x=1"), "5: 'x' has no value of its own; name the frame or the entry");
  EXPECT_EQ(vm(x, "NOP", "PTE(x).size=1"),
            "5: 'size' is no part of an entry; they are frame, present, writable, accessed, dirty, "
            "large, global, user, nx");
  EXPECT_EQ(vm(x, "NOP", "PDE(x)=0"), "5: 'PDE(x)': nothing else names this entry");
}

TEST(Parse, TooMuchIsAnError) {
  std::string pages;
  for (int i = 0; i < 20; ++i) pages += "PTE(x" + std::to_string(i) + ")=(a,present);";
  const std::string rest = "{ " + pages + " }\n P0 | P1 | P2 ;\n NOP | NOP | NOP ;\nforall true";
  EXPECT_EQ(
      error_of("X86 a\n" + rest),
      "3: the test is too large to be explored: 69 things happen at the same time, of 64, and 1 "
      "frames are named, of 64; fewer pages or Fills=off help");
  parsed("X86 a\nFills=off\n" + rest);
}

TEST(Parse, MixedSizesAreAnError) {
  EXPECT_EQ(error_of("X86_64 a\n{ int x; }\n P0 ;\n movb $1,(x) ;\nforall true"),
            "4: instruction 'movb $1,(x)' accesses 1 bytes of x, which has 4; mixed sizes are not "
            "supported");
}

void try_every_prefix(const std::string& text) {
  parsed(text);
  for (std::size_t length = 0; length < text.size(); ++length) {
    ParseError error;
    if (!parse(text.substr(0, length), error)) {
      EXPECT_NE(error.what, "") << length;
    }
  }
}

TEST(Parse, EveryPrefixOfAFileIsHandled) {
  // The parser ends and says something for every prefix.
  const std::string text =
      "X86 all\n\"x\"\nKey=v\n{ x=1; 0:EAX=x; t[2]={1,2}; PTE(p)=(a,present); }\n P0 | P1 ;\n"
      " L: MOV EAX,[x] | LOCK XADD [t[1]],EBX ;\n JNE L | INVPCID $0,$1,[p] ;\n"
      " MOV PTE(p),(a,present,dirty) | MOV CR3,$1,keep ;\n"
      "locations [x;]\nfilter x=1\nexists (0:EAX=1 /\\ ~(PTE(p).dirty=1 \\/ x=2))";
  try_every_prefix(text);
  try_every_prefix(
      "C all\n{ int x=1; }\n// a remark\nP0 (atomic_int* x, int* y) {\n"
      " int r0 = atomic_load_explicit(x, memory_order_acquire), r1 = (*y); /* and */\n"
      " if (r0 == 1 && !*x) { *(y + (r0 & 128)) = 1; } else while (r0 < 0x10) r0 = r0 + 1;\n"
      " r1 = atomic_compare_exchange_weak(x, &r0, -2); atomic_thread_fence(memory_order_acq_rel);\n"
      "}\n(* herd's *)\nlocations [x;]\nexists (0:r0=1 /\\ x=2)");
}

}  // namespace
}  // namespace shootdown::host::litmus
