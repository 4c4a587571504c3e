// Herd's tests in C: each function becomes a column of instructions.
//
// An atomic operation is the instruction that a compiler for x86-64 makes of it, with its memory
// order on it, so that mode `cxx` reorders it as the C++ model allows. Variables are registers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "litmus/builder.h"
#include "litmus/c_lexer.h"

namespace shootdown::host::litmus {

class CProgram {
 public:
  CProgram(Builder& builder, Piece text) : builder_(builder), lexer_(text) {}

  /// Reads all functions. Returns what follows them.
  Piece parse();

 private:
  struct Type {
    std::uint8_t width{0};
    bool is_unsigned{false};
    bool is_atomic{false};
    bool is_pointer{false};
  };
  struct Parameter {
    std::size_t location;
    bool is_atomic;
  };
  enum class ValueKind : std::uint8_t { nothing, constant, reg, pointer };
  struct Value {
    ValueKind kind{ValueKind::nothing};
    std::int64_t number{0};  // a constant
    Register reg{};
    bool is_unsigned{false};
    // A pointer: the location, and a register that counts elements from there on.
    std::size_t location{kNone};
    bool is_atomic{false};
    bool has_index{false};
    std::uint8_t index{0};
  };
  enum class CallKind : std::uint8_t { load, store, exchange, fetch, compare_exchange, fence };
  struct Call {
    CallKind kind;
    Op op{Op::nop};
    bool is_explicit{false};
    bool subtracts{false};
  };

  // Functions and statements.
  void function();
  void parameter();
  Type type();
  void block();
  void statement();
  void declaration();
  void assignment();
  void store_statement();
  void if_statement();
  void while_statement();
  Register declare(const CToken& name, const Type& type);

  // Expressions; each leaves its value in a constant or a register.
  Value expression(unsigned least_precedence = 0);
  Value binary(const CToken& sign, Value left, const Value& right);
  Value arithmetic(const CToken& sign, const Value& left, const Value& right);
  Value comparison(std::uint8_t condition, const Value& left, const Value& right);
  Value lazy(const CToken& sign, const Value& left, unsigned precedence);
  Value unary();
  Value primary();
  Value literal(const CToken& token);
  Value name_value(const CToken& name);
  Value truth_of(const Value& value);
  /// Bytes of a constant or a register.
  static std::uint8_t width_of_number(const Value& value);
  /// Jumps if the value is 0. Returns the jump, whose target is to be set, or `kNone`.
  std::size_t jump_if_zero(const Value& value, const CToken& where);

  // Calls; c_calls.cc.
  Value call(const CToken& name);
  Value fetch(const Call& call, const Value& object, const CToken& where);
  Value compare_exchange(const Call& call, const Value& object, const CToken& where);
  void fence(std::memory_order order);
  std::memory_order order_argument(const Call& call, const CToken& name);
  std::memory_order memory_order();
  static const Call* find_call(std::string_view name);

  // Emitting; c_emit.cc.
  [[nodiscard]] std::vector<Instruction>& code() const;
  void emit(Instruction made);
  void move(Register to, const Operand& from, std::memory_order order = kPlain);
  Register temporary(std::uint8_t width);
  /// As an operand of so many bytes, extended in a register if need be.
  Operand operand(const Value& value, std::uint8_t width);
  /// In a register that may be changed.
  Register copy(const Value& value, std::uint8_t width);
  [[nodiscard]] Operand memory(const Value& pointer) const;
  [[nodiscard]] std::uint8_t width_of(const Value& pointer) const;
  Value load(const Value& pointer, std::memory_order order);
  void store(const Value& pointer, const Value& value, std::memory_order order);
  Value exchange(const Value& pointer, const Value& value, std::memory_order order,
                 bool stores_only);
  /// 1 if the condition holds of the flags, else 0.
  Value truth_of(std::uint8_t condition);
  /// The order of an access without a call.
  std::memory_order plain_order(const Value& pointer);

  static Value constant(std::int64_t number);
  static Value in(Register reg, bool is_unsigned = false);
  static void demand_number(const Value& value, const CToken& where);
  static void demand_pointer(const Value& value, const CToken& where);

  static constexpr std::memory_order kPlain = std::memory_order_relaxed;
  static constexpr std::uint8_t kInt = 4;  // bytes

  Builder& builder_;
  CLexer lexer_;
  std::size_t column_{0};
  std::map<std::string, Parameter, std::less<>> parameters_;
  std::map<std::string, bool, std::less<>> unsigned_;  // variables
  std::uint8_t temporaries_{0};                        // that the statement has used
  std::size_t depth_{0};                               // of statements and expressions
  Piece statement_;                                    // that is being read
};

}  // namespace shootdown::host::litmus
