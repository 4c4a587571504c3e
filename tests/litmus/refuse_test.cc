// What is no litmus test, or none that the runner can run: an error with line and column, and no
// verdict. Most of these once had a verdict about something else, or crashed the machine.
#include <gtest/gtest.h>

#include <string>

#include "tests/litmus/litmus_text.h"

namespace shootdown::host::litmus {
namespace {

/// One CPU with one instruction, which begins at 4:2; the initial state begins at 2:3.
std::string words(const std::string& code, const std::string& condition = "exists (x=1)",
                  const std::string& init = "x=0;") {
  return refusal_of("X86 T\n{ " + init + " }\n P0 ;\n " + code + " ;\n" + condition);
}

std::string pages(const std::string& code, const std::string& condition = "exists (a=1)",
                  const std::string& more = "") {
  return words(code, condition, "a=1; b=2; PTE(x)=(a,present,writable); " + more);
}

std::string initial(const std::string& init) { return words("MOV EAX,[x]", "exists (x=1)", init); }

bool starts(const std::string& text, const std::string& with) { return text.starts_with(with); }

TEST(Refuse, RegistersThatTheModelLacksAreNoLocations) {
  EXPECT_EQ(words("MOV CR0,$0"), "4:6: 'CR0' is a register that cannot stand here");
  EXPECT_EQ(words("MOV DR7,$1"), "4:6: 'DR7' is a register that cannot stand here");
  EXPECT_EQ(words("MOV AH,$1"), "4:6: 'AH' is a register that cannot stand here");
  EXPECT_EQ(words("MOV EAX,FS"), "4:10: 'FS' is a register that cannot stand here");
  EXPECT_EQ(words("MOV [XMM0],$1"), "4:7: 'XMM0' is a register, and no name of a location");
  EXPECT_EQ(words("MOV EXA,$3"), "4:6: 'EXA' is no register, and no location of the initial state");
  EXPECT_EQ(words("MOV [x],$EXA"),
            "4:11: 'EXA' is no register, and no location of the initial state");
  EXPECT_EQ(words("MOV [xx],$1"),
            "4:7: 'xx' is named only once, and the initial state gives it no value");
  EXPECT_EQ(initial("x=0; EAX=1;"), "2:8: 'EAX' is a register, and no name of a location");
  EXPECT_TRUE(starts(words("MOV EAX,fs:[x]"), "4:10: "));
}

TEST(Refuse, MnemonicsAreNotGuessed) {
  EXPECT_EQ(pages("INVLPGB [x]"),
            "4:10: operand '[x]' is not supported: INVLPGB is '$0,pcid,[page]', '$1,pcid', '$2', "
            "'$3' or '$4,[page]'");
  EXPECT_TRUE(starts(words("CLFLUSH [x]"),
                     "4:2: instruction 'CLFLUSH [x]' is not supported: 'clflush' is unknown here; "
                     "known are add, and, bt, "));
  for (const char* code :
       {"INVPCIDQ $2", "IPIL P0", "CLIB", "PAUSEQ", "BTB EAX,$1", "LEAB AL,[x]", "CMOVNEB AL,BL",
        "MOVZXB EAX,BL", "NOP foo", "NOPL EAX", "LOCK LOCK INC [x]", "JMPQ L", "RETB",
        "LOCK; ; INC [x]", "JNLT L", "SETLT AL"}) {
    EXPECT_TRUE(starts(words(code), "4:2: instruction '")) << code << ": " << words(code);
  }
}

TEST(Refuse, OperandsThatTheInstructionDoesNotHave) {
  for (const char* code :
       {"XCHG [x],$1", "XCHG $1,$2", "NEG $1", "NOT $1", "CMP $1,$2", "LOCK ADD EAX,[x]",
        "CMOVE EAX,$1", "MOVZX EAX,$1", "BTS [x],EAX", "XADD [x],$1", "LEA EAX,EBX"}) {
    EXPECT_NE(words(code).find("not supported"), std::string::npos) << code << ": " << words(code);
  }
  EXPECT_TRUE(starts(words("ADD EAX,BX"), "4:6: operand 'EAX,BX' is not supported: the operands"));
  EXPECT_TRUE(starts(words("MOV EAX,BL"), "4:6: "));
  EXPECT_TRUE(starts(words("SETE EAX"), "4:7: "));
  EXPECT_TRUE(starts(words("movl $1,%rax"), "4:7: "));
  EXPECT_TRUE(starts(words("MOVZX EAX,[x]"), "4:8: operand 'EAX,[x]' is not supported: say 'byte"));
  EXPECT_TRUE(starts(words("MOV EAX,[x+]"), "4:11: "));
  EXPECT_TRUE(starts(words("MOV EAX,[x+EBX*3]"), "4:17: operand '3' is not supported: a scale"));
  EXPECT_TRUE(starts(words("movl (x)y,%eax"), "4:7: "));
}

TEST(Refuse, RegistersThatNameNoAddress) {
  EXPECT_EQ(words("MOV EAX,[x+AL]"),
            "4:13: operand 'AL' is not supported: an address is in a register of 4 or 8 bytes");
  EXPECT_TRUE(starts(words("movl $1,(%spl)"), "4:11: operand '%spl' is not supported"));
  for (const char* code : {"MOV ESP,$1", "ADD ESP,$4", "XCHG EAX,ESP", "XADD EAX,ESP", "POP ESP",
                           "LEA ESP,[x]", "INC SPL", "SETE SPL"}) {
    EXPECT_TRUE(starts(words(code), "4:2: instruction '")) << code << ": " << words(code);
  }
  EXPECT_EQ(words("CMP ESP,$1"), "a verdict");
  EXPECT_EQ(initial("x=0; 0:ESP=x;"),
            "2:10: 'ESP': the stack pointer has no value of its own here");
}

TEST(Refuse, LoadsOfControlRegistersThatMeanNothing) {
  const std::string forms =
      "control registers are loaded by 'MOV CR3,$mm' and 'MOV CR4,$pge+pcide'";
  for (const char* code :
       {"MOV EAX,CR4", "XCHG CR4,EAX", "ADD CR4,$1", "MOV EAX,CR3", "MOV CR4,EAX", "MOV CR3,[x]"}) {
    EXPECT_NE(words(code).find(forms), std::string::npos) << code << ": " << words(code);
  }
  EXPECT_EQ(words("MOV CR4,$0"), "a verdict");
  EXPECT_EQ(words("MOV CR4,$smep"),
            "4:11: operand 'smep' is not supported: the bits of CR4 are pge and pcide, as in "
            "$pge+pcide, or $0");
  EXPECT_TRUE(starts(words("MOV CR4,$pge,keep"), "4:6: operand 'CR4,$pge,keep'"));
  EXPECT_TRUE(starts(words("MOV CR3,$1,drop"), "4:6: operand 'CR3,$1,drop'"));
  EXPECT_EQ(words("MOV CR4,$pcide"), "a verdict");
  for (const char* code : {"INVLPGB", "INVLPGB $5", "INVLPGB $0,$1", "INVLPGB $4,$1",
                           "INVLPGB $1,$4096", "TLBSYNC $1"}) {
    EXPECT_NE(pages(code).find("not supported"), std::string::npos) << code << ": " << pages(code);
  }
}

TEST(Refuse, NumbersThatDoNotFit) {
  EXPECT_EQ(words("MOV EAX,$0x1ffffffff"), "4:2: 'MOV EAX,$0x1ffffffff' does not fit into 4 bytes");
  EXPECT_EQ(words("MOV AL,$256"), "4:2: 'MOV AL,$256' does not fit into 1 byte");
  EXPECT_EQ(initial("x=0x100000000;"), "2:5: '0x100000000' does not fit into 4 bytes");
  EXPECT_EQ(initial("x=0; 0:AL=-129;"), "2:13: '-129' does not fit into 1 byte");
  EXPECT_EQ(initial("uint8_t t[2]={1,256}; x=0;"), "2:19: '256' does not fit into 1 byte");
  EXPECT_EQ(words("MOV EAX,[x]", "exists (0:EAX=4294967297)"),
            "5:15: '4294967297' does not fit into 4 bytes");
  EXPECT_EQ(words("MOV EAX,[x]", "exists (x=4294967297)"),
            "5:11: '4294967297' does not fit into 4 bytes");
  EXPECT_TRUE(starts(initial("x=99999999999999999999;"), "2:5: "));
  EXPECT_TRUE(starts(initial("x=-18446744073709551615;"), "2:5: "));
  EXPECT_EQ(initial("x=-2147483648;"), "a verdict");
  EXPECT_EQ(initial("x=4294967295;"), "a verdict");
}

TEST(Refuse, ConditionsAboutNothing) {
  EXPECT_EQ(words("MOV EAX,[x]", "exists (y=1)"), "5:9: 'y' is named nowhere before");
  EXPECT_EQ(words("MOV EAX,[x]", "exists (x=y)"), "5:11: 'y' is named nowhere before");
  EXPECT_EQ(words("MOV EAX,[x]", "locations [y;] exists (x=1)"),
            "5:12: 'y' is named nowhere before");
  EXPECT_EQ(words("MOV EAX,[x]", "exists (EAX=1)"),
            "5:9: 'EAX' is a register; say of which CPU, as in 0:EAX");
  EXPECT_EQ(words("MOV EAX,[x]", "exists (0:EXA=1)"), "5:11: 'EXA' is no register");
  EXPECT_EQ(words("MOV EAX,[x]", "exists (9:EAX=1)"), "5:9: '9' is no CPU; they are P0 to P7");
  EXPECT_EQ(words("MOV EAX,[x]", "exists (-1:EAX=1)"), "5:9: '-1' is no CPU; they are P0 to P7");
  EXPECT_EQ(words("MOV EAX,[x]", "exists (1:EAX=1)"), "5:9: '1:EAX': there is no such CPU");
  EXPECT_EQ(initial("x=0; 5:EAX=1;"), "2:8: '5': there is no such CPU");
  EXPECT_EQ(words("MOV EAX,[x]", ""),
            "4:15: the test asks nothing: there is no exists, ~exists or forall");
  EXPECT_EQ(words("MOV EAX,[x]", "exists (x=1) y"), "5:14: the condition ends before 'y'");
  EXPECT_EQ(words("MOV EAX,[x]", "exists (x=1); with"), "5:15: the condition ends before 'with'");
  EXPECT_EQ(words("MOV EAX,[x]", "exists (x=1) with tso: maybe"),
            "5:19: 'tso: maybe': behind 'with' stand models, as in tso: ~exists");
  EXPECT_EQ(words("MOV EAX,[x]", "exists (x=1) with tso: exists x"),
            "5:19: 'tso: exists x': behind 'with' stand models, as in tso: ~exists");
  EXPECT_EQ(words("MOV EAX,[x]", "exists (x=1) >>"), "5:14: the condition ends before '>>'");
  EXPECT_EQ(words("MOV EAX,[x]", "locations [x foo;] exists (x=1)"),
            "5:12: 'x foo' is named nowhere before");
  EXPECT_EQ(words("MOV EAX,[x]", "exists (x.dirty=1)"), "5:9: 'x.dirty' is named nowhere before");
  EXPECT_EQ(words("MOV EAX,[x]", "filter (0:EAX=7) exists (x=1)"),
            "0:0: no execution counts: the filter lets none through");
  EXPECT_TRUE(starts(words("L: JMP L"), "0:0: no execution ends: in each, a CPU jumps back"));
}

TEST(Refuse, TwiceTheSame) {
  EXPECT_EQ(initial("x=0; x=1;"), "2:8: 'x' has an initial value already");
  EXPECT_EQ(initial("x=0; 0:EAX=1; 0:AL=2;"), "2:19: 'AL' has an initial value already");
  EXPECT_EQ(initial("x=0; t[2]={1,2}; t[1]=3;"), "2:20: 't[1]' has an initial value already");
  EXPECT_EQ(pages("NOP", "exists (a=1)", "PTE(x)=(b,present);"),
            "2:42: 'PTE(x)' has an initial value already");
  EXPECT_EQ(
      refusal_of("X86 T\n{ x=0; }\n P0 | P0.irq | P0.irq ;\n NOP | NOP | NOP ;\nexists (x=1)"),
      "3:16: the column 'P0.irq' is there twice");
  EXPECT_EQ(
      refusal_of("X86 T\n{ x=0; }\n P0 | P0.nmi | P0.nmi ;\n NOP | NOP | NOP ;\nexists (x=1)"),
      "3:16: the column 'P0.nmi' is there twice");
  EXPECT_EQ(refusal_of("X86 T\n{ x=0; }\n P0 | P0.smi ;\n NOP | NOP ;\nexists (x=1)"),
            "3:7: 'P0.smi': a column is P0, P0.irq or P0.nmi");
  EXPECT_EQ(refusal_of("X86 T\nExpect=sc:Never sc:Always\n{ x=0; }\n P0 ;\n NOP ;\nexists (x=1)"),
            "2:8: Expect=sc:Never sc:Always: sc is there twice");
}

TEST(Refuse, InitialStatesThatAreNone) {
  EXPECT_EQ(initial("foo x=1;"), "2:3: 'foo' is no type of C");
  EXPECT_EQ(initial("__int128 x=1;"), "2:3: '__int128' has 16 bytes; 1 to 8 are supported");
  EXPECT_EQ(initial("int;"), "2:3: 'int' is a type, and no name of a location");
  EXPECT_EQ(initial("x=0; t[2]={1,2,3};"), "2:13: '{1,2,3}' has too many values");
  EXPECT_EQ(initial("x=0; t[2]=5;"), "2:13: '5': an array's values are {1, 2, ...}");
  EXPECT_EQ(initial("x=0; t[65];"), "2:8: 't[65]': an array has a name and 1 to 64 elements");
  EXPECT_EQ(initial("x=0; 0:CR3=99;"), "2:14: '99': address spaces have numbers 1 to 7");
  EXPECT_EQ(initial("x=0; 0:CR3=0;"), "2:14: '0': address spaces have numbers 1 to 7");
  EXPECT_EQ(refusal_of("X86 T\n{ x=0; }\n P0 ;\nexists (x=0)"), "3:2: there are no instructions");
}

TEST(Refuse, LinesAboveTheInitialState) {
  const auto line = [](const std::string& text) {
    return refusal_of("X86 T\n" + text + "\n{ x=0; }\n P0 ;\n NOP ;\nexists (x=1)");
  };
  EXPECT_EQ(line("Fills=of"), "2:7: 'of' is no value of Fills; it is on or off");
  EXPECT_EQ(line("Fill=off"), "2:1: 'Fill': did you mean 'Fills'?");
  EXPECT_EQ(line("evictions=on"), "2:1: 'evictions': did you mean 'Evictions'?");
  EXPECT_EQ(line("Apic=on"), "2:6: 'on' is no value of Apic; it is xapic or x2apic");
  EXPECT_EQ(line("Walks=late"), "2:7: 'late' is no value of Walks; it is early or whole");
  EXPECT_EQ(line("Errata="), "2:8: Errata= names none");
  EXPECT_EQ(line("Hardware=tce six_levels"),
            "2:14: 'six_levels' is no property of the processor; they are older_entries, tce, "
            "five_levels");
  EXPECT_EQ(line("Errata=walker_is_late f00f"),
            "2:23: 'f00f' is no erratum; they are invlpg_leaves_globals, "
            "pge_toggle_flushes_nothing, walker_overwrites, walker_is_late");
  EXPECT_EQ(line("Far=x"), "2:5: Far names 'x', which is no page");
  EXPECT_EQ(line("Expect="), "2:8: Expect= says nothing; as in Expect=sc:Never tso:Sometimes");
  EXPECT_TRUE(starts(line("Expect=sc:Perhaps"), "2:8: Expect=sc:Perhaps: 'sc:Perhaps' is not"));
  EXPECT_EQ(line("Evictions on"),
            "2:1: 'Evictions on': before the initial state stand strings and lines as Key=Value");
  EXPECT_EQ(line("Safe=Rfe PodWW"), "a verdict") << "herd's own";
  EXPECT_EQ(line("=off"),
            "2:1: '=off': before the initial state stand strings and lines as Key=Value");
  EXPECT_EQ(line("\"a string"), "2:1: this string has no end");
  const auto first = [](const std::string& text) {
    return refusal_of("X86 T" + text + "\n{ x=0; }\n P0 ;\n NOP ;\nexists (x=1)");
  };
  EXPECT_EQ(first(" more"), "1:7: 'more': the first line is 'X86 NAME', and a string may follow");
  EXPECT_EQ(first(" Fills=off"),
            "1:7: 'Fills=off': the first line is 'X86 NAME', and a string may follow");
  EXPECT_EQ(first(" (more"), "1:7: ')' is missing behind the test's name");
  EXPECT_EQ(first(" (more) ; \"remark\""), "a verdict");
}

TEST(Refuse, EntriesThatTheMachineCannotWalk) {
  EXPECT_EQ(words("MOV EAX,[x]", "exists (0:EAX=1)", "PTE(x)=(present,writable);"),
            "2:10: '(present,writable)' is present, but names no frame");
  EXPECT_EQ(pages("MOV PTE(x),(present)"), "4:13: '(present)' is present, but names no frame");
  EXPECT_EQ(pages("MOV PTE(x),$1"),
            "4:2: 'MOV PTE(x),$1': an entry that is present and names no frame of its kind: 0x1");
  EXPECT_TRUE(starts(pages("XCHG PTE(x),EAX", "exists (a=1)", "0:EAX=0x9001;"), "4:2: 'XCHG"));
  EXPECT_TRUE(starts(pages("LOCK BTS PTE(y),$present", "exists (a=1)", "PTE(y)=(absent);"),
                     "4:2: 'LOCK BTS PTE(y),$present': an entry that is present and names no"));
  EXPECT_TRUE(starts(pages("LOCK BTS PTE(x),$7"), "4:2: 'LOCK BTS PTE(x),$7': a change of bits"));
  EXPECT_TRUE(starts(pages("LOCK OR PTE(x),$0x5000"), "4:2: 'LOCK OR"));
  EXPECT_TRUE(starts(pages("LOCK AND PTE(x),$0xff"), "4:2: 'LOCK AND"));
  EXPECT_TRUE(starts(pages("MOV PDE(x),PTE(x)"), "4:2: instruction"));
  EXPECT_EQ(pages("MOV PTE(x),(a,present,large)"), "4:13: '(a,present,large)' contradicts itself");
  EXPECT_EQ(pages("MOV PDE(x),(present,large)"),
            "4:13: '(present,large)' is present, but names no frame");
  EXPECT_EQ(pages("MOV PDE(x),(t,present,large)", "exists (a=1)", "PTE(y,t)=(b,present);"),
            "4:14: 't' is a page table, and cannot be a frame");
  EXPECT_TRUE(starts(pages("LOCK BTS PTE(x),$large"), "4:2: 'LOCK BTS PTE(x),$large'"));
  EXPECT_TRUE(starts(
      pages("LOCK BTS PDE(x),$large", "exists (a=1)", "PDE(x)=(t,present); PTE(y,t)=(b,present);"),
      "4:2: 'LOCK BTS PDE(x),$large': an entry that is present and names no frame"));
  EXPECT_EQ(pages("MOV PDE(x),(a,present)"), "4:14: 'a' is a frame, and cannot be a page table");
  EXPECT_EQ(pages("NOP", "exists (a=1)", "PDE(x)=(b,present); PTE(y)=(b,present);"),
            "2:70: 'b' is a page table, and cannot be a frame");
  EXPECT_EQ(pages("NOP", "exists (a=1)", "PTE(a)=(b,present);"),
            "2:46: 'a' is a frame, and cannot be a page");
  EXPECT_EQ(pages("NOP", "exists (a=1)", "t[2]; PTE(t[1])=(b,present);"),
            "2:52: 't[1]' is a part of an array, and cannot be a page");
  EXPECT_EQ(pages("NOP", "exists (a=1)", "PDE(x,t)=(b,present);"),
            "2:42: 'PDE(x,t)': a page table holds no upper entries");
  EXPECT_EQ(pages("NOP", "exists (a=1)", "PTE(y)=(nosuch,present);"),
            "2:50: 'nosuch' is named only once, and the initial state gives it no value");
  EXPECT_EQ(pages("MOV PTE(x),(c,present)"),
            "4:14: 'c' is no register, and no location of the initial state");
  EXPECT_EQ(pages("MOV PTE(y),(b,present)"),
            "4:10: 'y' is no register, and no location of the initial state");
  EXPECT_EQ(pages("MOV PTE(x).dirty,$1"),
            "4:12: 'PTE(x).dirty': nothing may follow the entry here");
  EXPECT_EQ(pages("NOP", "exists (a=1)", "x=1;"),
            "2:44: 'x' has no value of its own; give one to the frame that it maps");
  EXPECT_EQ(pages("NOP", "exists (a=1)", "PTE(y)=(b,present,absent);"),
            "2:49: '(b,present,absent)' contradicts itself");
}

TEST(Refuse, PartsOfEntriesThatThereAreNot) {
  EXPECT_EQ(pages("NOP", "exists (PTE(x).dirty=2)"), "5:22: '2': a flag is 0 or 1");
  EXPECT_EQ(pages("NOP", "exists (PTE(x)=5)"),
            "5:16: '5': an entry's value is (frame, flags...), or 0");
  EXPECT_EQ(pages("NOP", "exists (0:FAULT.dirty=1)"), "5:11: 'FAULT' is no register");
  EXPECT_EQ(pages("NOP", "exists (0:FAULT=(a,present))"),
            "5:17: '(a,present)' is an entry, and '0:FAULT' is none");
  EXPECT_EQ(pages("INVPCID $1,$4096"),
            "4:13: operand '$4096' is not supported: a PCID is 0 to 4095");
  EXPECT_EQ(pages("INVPCID $0,$1,EAX"), "4:16: operand 'EAX' is not supported: it is no page");
  EXPECT_EQ(pages("MOV CR3,$8"), "4:10: '$8': address spaces have numbers 1 to 7");
}

TEST(Refuse, SizesThatAreMixedAtRunTimeAndOnPages) {
  EXPECT_TRUE(starts(words("MOV EAX,[x] ;\n MOV [EBX],CL", "exists (x=1)", "x=0; 0:EBX=x;"),
                     "5:2: 'MOV [EBX],CL': an access of another size than that of the location"));
  EXPECT_TRUE(
      starts(pages("MOV EAX,[x] ;\n MOV [x],CL"), "5:2: instruction 'MOV [x],CL' accesses 1"));
}

TEST(Refuse, BytesThatAreNoText) {
  EXPECT_EQ(refusal_of(std::string("X86 T\n{ x=0;\0 }", 15)),
            "2:7: a byte of value 0; a litmus test is text");
  EXPECT_EQ(words("MOV EAX,[\x7f]"), "4:11: a byte of value 127; a litmus test is text");
}

TEST(Refuse, WhatIsTooMuch) {
  const auto repeated = [](const std::string& text, std::size_t count) {
    std::string result;
    for (std::size_t i = 0; i < count; ++i) result += text;
    return result;
  };
  const auto condition = [](const std::string& text) {
    return words("MOV EAX,[x]", "exists " + text);
  };
  EXPECT_EQ(condition(repeated("(", 10000) + "x=1" + repeated(")", 10000)),
            "5:108: the condition is nested more than 100 deep");
  EXPECT_EQ(condition(repeated("~", 10000) + "x=1"),
            "5:108: the condition is nested more than 100 deep");
  for (const char* sign : {"/\\", "\\/", "=>"}) {
    EXPECT_TRUE(condition("x=1 " + repeated(std::string(sign) + " x=1 ", 5000))
                    .ends_with(": a condition compares 200 times at most"));
    EXPECT_EQ(condition("x=1 " + repeated(std::string(sign) + " x=1 ", 199)), "a verdict");
  }
  EXPECT_EQ(condition(repeated("(", 99) + "x=1" + repeated(")", 99)), "a verdict");
  EXPECT_EQ(words(repeated("NOP ;\n ", 1000) + "NOP"),
            "1004:2: a test has 1000 instructions at most");
  std::string many;
  for (int i = 0; i < 300; ++i) many += "x" + std::to_string(i) + "=0;";
  EXPECT_TRUE(starts(initial("x=0;" + many), "2:"));
  EXPECT_NE(initial("x=0;" + many).find("one location too many; a test has 200"),
            std::string::npos);
  EXPECT_TRUE(starts(words(std::string(70000, ' ')), "1:1: the file is too long"));
}

}  // namespace
}  // namespace shootdown::host::litmus
