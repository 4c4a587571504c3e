// Tests in C: what functions become, and what is refused.
#include <gtest/gtest.h>

#include <string>

#include "tests/litmus/litmus_text.h"

namespace shootdown::host::litmus {
namespace {

/// One function with one statement, which begins at 5:3.
std::string function(const std::string& statement, const std::string& final = "exists (x=1)") {
  return "C T\n{ x=0; }\n\nP0 (atomic_int* x, int* y) {\n  " + statement + "\n}\n\n" + final;
}

std::string error_of(const std::string& text) {
  return refusal_of(text, Memory::compiler_reordering);
}

std::string error_in(const std::string& statement) { return error_of(function(statement)); }

/// The accesses to memory and fences of a statement: letters, and numbers of memory orders.
std::string shape(const std::string& statement) {
  const litmus::Test test = parsed(function(statement));
  std::string text;
  for (const Instruction& made : test.columns.at(0).code) {
    const bool stores = made.operands[0].kind == OperandKind::memory;
    const bool loads = made.operands[1].kind == OperandKind::memory;
    const bool fence = made.op == Op::full_fence || made.op == Op::light_fence;
    if (!stores && !loads && !fence) continue;
    text += fence ? "F" : made.locked ? "M" : made.op == Op::xchg ? "X" : stores ? "W" : "R";
    if (made.stores_only) text += "s";
    text += std::to_string(static_cast<int>(made.order));
  }
  return text;
}

TEST(C, AccessesKeepTheirMemoryOrders) {
  static_assert(static_cast<int>(std::memory_order_relaxed) == 0);
  static_assert(static_cast<int>(std::memory_order_acquire) == 2);
  static_assert(static_cast<int>(std::memory_order_seq_cst) == 5);
  EXPECT_EQ(shape("int r0 = atomic_load_explicit(x, memory_order_relaxed);"), "R0");
  EXPECT_EQ(shape("int r0 = atomic_load_explicit(x, memory_order_consume);"), "R2");
  EXPECT_EQ(shape("int r0 = atomic_load(x);"), "R5");
  EXPECT_EQ(shape("atomic_store_explicit(x, 1, memory_order_release);"), "W3");
  EXPECT_EQ(shape("atomic_store(x, 1);"), "Xs5") << "an exchange, but it acquires nothing";
  EXPECT_EQ(shape("int r0 = atomic_exchange(x, 1);"), "X5");
  EXPECT_EQ(shape("atomic_fetch_add_explicit(x, 1, memory_order_acq_rel);"), "M4");
  EXPECT_EQ(shape("*x = 1;"), "Xs5") << "an atomic object";
  EXPECT_EQ(shape("int r0 = *x;"), "R5");
  EXPECT_EQ(shape("*y = *y + 1;"), "R0W0") << "no atomic object";
  EXPECT_EQ(shape("atomic_thread_fence(memory_order_seq_cst);"), "F0") << "MFENCE";
  EXPECT_EQ(shape("atomic_thread_fence(memory_order_acquire);"), "F2");
  EXPECT_EQ(shape("*y = 1; atomic_thread_fence(memory_order_relaxed);"), "W0");
}

TEST(C, ACompareExchangeIsAsStrongAsBothOrders) {
  const auto orders = [](const std::string& success, const std::string& failure) {
    return shape("int r0 = 0; atomic_compare_exchange_strong_explicit(x, &r0, 1, memory_order_" +
                 success + ", memory_order_" + failure + ");");
  };
  EXPECT_EQ(orders("relaxed", "relaxed"), "M0");
  EXPECT_EQ(orders("release", "relaxed"), "M3");
  EXPECT_EQ(orders("release", "acquire"), "M4");
  EXPECT_EQ(orders("relaxed", "acquire"), "M2");
  EXPECT_EQ(orders("acquire", "seq_cst"), "M5");
  EXPECT_EQ(shape("int r0 = atomic_compare_exchange_weak(x, y, 1);"), "R0M5W0")
      << "what was found comes to the expected value's place";
}

TEST(C, PlainAccessesAreTold) {
  EXPECT_TRUE(parsed(function("*y = 1;")).has_plain_accesses);
  EXPECT_FALSE(parsed(function("*x = 1;")).has_plain_accesses);
  const auto limits = limits_of_model(parsed(function("*y = 1;")), Memory::compiler_reordering);
  ASSERT_EQ(limits.size(), 1U);
  EXPECT_EQ(limits[0], "takes plain accesses for relaxed ones, but C++ leaves races undefined");
}

TEST(C, WhatIsNoTestInCIsRefused) {
  EXPECT_EQ(error_in("int r0 = READ_ONCE(*x);").substr(0, 50),
            "5:12: 'READ_ONCE' is no function that is known her");
  EXPECT_EQ(error_in("int r0 = atomic_load_explicit(x, memory_order_release);"),
            "5:36: 'memory_order_release' is no order for a load, in 'atomic_load_explicit'");
  EXPECT_EQ(error_in("atomic_store_explicit(x, 1, memory_order_acq_rel);"),
            "5:31: 'memory_order_acq_rel' is no order for a store, in 'atomic_store_explicit'");
  EXPECT_EQ(error_in("atomic_store_explicit(x, 1);"), "5:29: ',' is expected, not ')'");
  EXPECT_EQ(error_in("int r0 = atomic_load(z);"),
            "5:24: 'z' is no variable that is declared and no parameter");
  EXPECT_EQ(error_in("int r0 = x;"), "5:12: 'x': an address is no number here; '*' loads from it");
  EXPECT_EQ(error_in("x = 1;"), "5:3: 'x' is a location; '*' stores to it");
  EXPECT_EQ(error_in("r0 = 1;"), "5:3: 'r0' is no variable that is declared and no parameter");
  EXPECT_EQ(error_in("int r0; int r0;"), "5:15: 'r0' is declared already");
  EXPECT_EQ(error_in("int r0 = 2 * 3;"),
            "5:14: '*' is not supported; + - & | ^ == != < <= > >= && and || are");
  EXPECT_EQ(error_in("for (;;) ;"),
            "5:3: 'for' is not supported here; declarations, assignments, calls, if, else and "
            "while are");
  EXPECT_EQ(error_in("int r0 = 010;"), "5:12: '010' is no number");
  EXPECT_EQ(error_in("char r0;"), "5:3: 'char' has 1 byte; C tests have 4 and 8");
  EXPECT_EQ(error_in("int* r0;"), "5:8: 'r0': a variable is of a plain integer type");
  EXPECT_EQ(error_in("**x = 1;"), "5:4: '*' is no address of a parameter");
  EXPECT_EQ(error_in("int r0 = 1; /* a"), "5:15: this comment has no end");
  EXPECT_EQ(error_in("int r0 = 4294967296;"),
            "5:3: 'int r0 = 4294967296' does not fit into 4 bytes");
  EXPECT_EQ(error_in("*(y + 1) = 1;").substr(0, 5), "5:3: ") << "found when it runs";
  EXPECT_EQ(error_in("long r0; atomic_compare_exchange_strong(x, &r0, 1);"),
            "5:47: 'r0' has another size than the object");
}

TEST(C, FunctionsAndConditionsThatDoNotFit) {
  const auto with = [](const std::string& program, const std::string& final = "exists (x=1)",
                       const std::string& init = "") {
    return error_of("C T\n{ " + init + " }\n" + program + "\n" + final);
  };
  EXPECT_EQ(with("P0 (int x) { }"),
            "3:5: 'int': a parameter is a pointer to a location and its name, as in atomic_int* x");
  EXPECT_EQ(with("P1 (int* x) { }"), "3:1: 'P1': the functions must be P0, P1 and so on");
  EXPECT_EQ(with("int x;").substr(0, 5), "3:1: ");
  EXPECT_EQ(with(" P0 | P1 ;\n MOV [x],$1 | ;"), "3:5: '(' is expected, not '|'");
  EXPECT_EQ(with("P0 (int* x) { }"), "3:1: there are no instructions");
  EXPECT_EQ(with("P0 (int* x) { *x = 1;", ""), "3:22: '}' is expected, not the end of the file");
  EXPECT_EQ(with("P0 (int* x, int* x) { *x = 1; }"), "3:18: 'x' is there twice");
  EXPECT_EQ(with("P0 (int* x) { *x = 1; }", "exists (x=1)", "long x;"),
            "3:10: 'x' has 8 bytes elsewhere");
  EXPECT_EQ(with("P0 (int* x) { *x = 1; }", "exists (0:r0=1)"),
            "4:11: 'r0' is no variable of that function");
  EXPECT_EQ(with("P0 (int* x) { *x = 1; }", "exists (0:EAX=1)"),
            "4:11: 'EAX' is no variable of that function");
  EXPECT_EQ(with("P0 (int* x) { *x = 1; }", "exists (x=1)", "0:r0=1;"),
            "2:3: '0:r0=1': the initial state of a C test is of locations only");
  EXPECT_EQ(with("P0 (int* x) { *x = 1; }", "regions: x:PROP\nforall (x=1)"),
            "4:1: 'regions: x:PROP forall (x=1)': exists, ~exists or forall is expected");
  EXPECT_EQ(with("P0 (int* ax) { *ax = 1; }", "exists (ax=1)"), "a verdict") << "no register here";
}

TEST(C, NestingHasAnEnd) {
  const auto repeated = [](const std::string& text, int count) {
    std::string result;
    for (int i = 0; i < count; ++i) result += text;
    return result;
  };
  for (const std::string& statement :
       {"int r0 = " + repeated("(", 5000) + "1" + repeated(")", 5000) + ";",
        "int r0 = " + repeated("!", 5000) + "1;", repeated("{", 5000) + repeated("}", 5000),
        repeated("if (1) ", 5000) + ";"}) {
    EXPECT_NE(error_in(statement).find("nested"), std::string::npos) << error_in(statement);
  }
}

}  // namespace
}  // namespace shootdown::host::litmus
