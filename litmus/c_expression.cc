// Expressions of C tests.
#include <algorithm>
#include <array>

#include "litmus/alu.h"
#include "litmus/c_program.h"

namespace shootdown::host::litmus {

namespace {

struct Sign {
  std::string_view text;
  unsigned precedence;
  Op op;                   // arithmetic
  std::uint8_t condition;  // comparisons: the number in the opcode, of signed numbers ...
  std::uint8_t below;      // ... and of unsigned ones
};
constexpr unsigned kAnd = 2;
constexpr std::array<Sign, 13> kSigns{{{"||", 1, Op::nop, 0, 0},
                                       {"&&", kAnd, Op::nop, 0, 0},
                                       {"|", 3, Op::bit_or, 0, 0},
                                       {"^", 4, Op::bit_xor, 0, 0},
                                       {"&", 5, Op::bit_and, 0, 0},
                                       {"==", 6, Op::cmp, kEqual, kEqual},
                                       {"!=", 6, Op::cmp, kNotEqual, kNotEqual},
                                       {"<", 7, Op::cmp, 12, 2},
                                       {">=", 7, Op::cmp, 13, 3},
                                       {"<=", 7, Op::cmp, 14, 6},
                                       {">", 7, Op::cmp, 15, 7},
                                       {"+", 8, Op::add, 0, 0},
                                       {"-", 8, Op::subtract, 0, 0}}};

const Sign* find_sign(const CToken& token) {
  for (const Sign& sign : kSigns) {
    if (token.is(sign.text)) return &sign;
  }
  return nullptr;
}

}  // namespace

CProgram::Value CProgram::expression(unsigned least_precedence) {
  if (++depth_ > kMostNesting) {
    throw SyntaxError{
        .at = lexer_.peek().piece.at,
        .what = "the expression is nested more than " + std::to_string(kMostNesting) + " deep"};
  }
  Value left = unary();
  for (;;) {
    const CToken token = lexer_.peek();
    const Sign* const sign = find_sign(token);
    if (token.is("*") || token.is("/") || token.is("%") || token.is("?")) {
      throw SyntaxError{.at = token.piece.at,
                        .what = quoted(token.piece.text) +
                                " is not supported; + - & | ^ == != < <= > >= && and || are"};
    }
    if (sign == nullptr || sign->precedence < least_precedence) break;
    lexer_.take();
    if (sign->precedence <= kAnd) {
      left = lazy(token, left, sign->precedence + 1);
    } else {
      left = binary(token, left, expression(sign->precedence + 1));
    }
  }
  --depth_;
  return left;
}

/// The right side of && and || is evaluated if the left one does not decide.
CProgram::Value CProgram::lazy(const CToken& sign, const Value& left, unsigned precedence) {
  demand_number(left, sign);
  const bool both = sign.is("&&");
  const Register result = copy(truth_of(left), kInt);
  const Value decides = both ? in(result) : comparison(kEqual, in(result), constant(0));
  const std::size_t jump = jump_if_zero(decides, sign);
  const CToken where = lexer_.peek();
  const Value right = expression(precedence);
  demand_number(right, where);
  move(result, operand(truth_of(right), kInt));
  code()[jump].target = code().size();
  return in(result);
}

CProgram::Value CProgram::truth_of(const Value& value) {
  if (value.kind == ValueKind::constant) return constant(value.number != 0 ? 1 : 0);
  return comparison(kNotEqual, value, constant(0));
}

std::uint8_t CProgram::width_of_number(const Value& value) {
  if (value.kind == ValueKind::reg) return value.reg.width;
  return value.number >= INT32_MIN && value.number <= INT32_MAX ? kInt : std::uint8_t{8};
}

std::size_t CProgram::jump_if_zero(const Value& value, const CToken& where) {
  demand_number(value, where);
  const Register reg = value.kind == ValueKind::reg ? value.reg : copy(value, kInt);
  Instruction test{.op = Op::cmp, .width = reg.width};
  test.operands[0] = register_operand(reg);
  test.operands[1] = operand(constant(0), reg.width);
  emit(test);
  emit({.op = Op::jump_if, .condition = kEqual});
  return code().size() - 1;
}

CProgram::Value CProgram::binary(const CToken& sign, Value left, const Value& right) {
  const Sign& found = *find_sign(sign);
  if (left.kind == ValueKind::pointer && found.op == Op::add && !left.has_index) {
    demand_number(right, sign);
    left.has_index = true;
    left.index = copy(right, 8).number;
    return left;
  }
  demand_number(left, sign);
  demand_number(right, sign);
  if (found.op != Op::cmp) return arithmetic(sign, left, right);
  const bool is_unsigned = left.is_unsigned || right.is_unsigned;
  return comparison(is_unsigned ? found.below : found.condition, left, right);
}

CProgram::Value CProgram::arithmetic(const CToken& sign, const Value& left, const Value& right) {
  const Op op = find_sign(sign)->op;
  Flags unused;
  if (left.kind == ValueKind::constant && right.kind == ValueKind::constant) {
    return constant(
        static_cast<std::int64_t>(compute(op, 8, static_cast<std::uint64_t>(left.number),
                                          static_cast<std::uint64_t>(right.number), unused)));
  }
  const bool same = left.kind == right.kind && left.reg.number == right.reg.number;
  // What a compiler knows is 0 depends on nothing.
  if (same && (op == Op::bit_xor || op == Op::subtract)) return constant(0);
  const std::uint8_t wide = std::max(width_of_number(left), width_of_number(right));
  const Register result = copy(left, wide);
  Instruction made{.op = op, .width = wide};
  made.operands[0] = register_operand(result);
  made.operands[1] = operand(right, wide);
  emit(std::move(made));
  return in(result, left.is_unsigned || right.is_unsigned);
}

CProgram::Value CProgram::comparison(std::uint8_t condition, const Value& left,
                                     const Value& right) {
  const bool constants = left.kind == ValueKind::constant && right.kind == ValueKind::constant;
  const bool same = left.kind == ValueKind::reg && right.kind == ValueKind::reg &&
                    left.reg.number == right.reg.number;
  if (constants || same) {
    Flags flags;
    compute(Op::cmp, 8, static_cast<std::uint64_t>(left.number),
            static_cast<std::uint64_t>(right.number), flags);
    return constant(satisfied(condition, flags) ? 1 : 0);
  }
  const std::uint8_t wide = std::max(width_of_number(left), width_of_number(right));
  Instruction compare{.op = Op::cmp, .width = wide};
  compare.operands[0] =
      left.kind == ValueKind::constant ? register_operand(copy(left, wide)) : operand(left, wide);
  compare.operands[1] = operand(right, wide);
  emit(std::move(compare));
  return truth_of(condition);
}

CProgram::Value CProgram::unary() {
  const CToken token = lexer_.peek();
  const bool is_unary =
      token.is("*") || token.is("!") || token.is("~") || token.is("-") || token.is("+");
  if (!is_unary) return primary();
  lexer_.take();
  if (++depth_ > kMostNesting) {
    throw SyntaxError{.at = token.piece.at, .what = "the expression is nested too deep"};
  }
  const Value value = unary();
  --depth_;
  if (token.is("*")) {
    demand_pointer(value, token);
    return load(value, plain_order(value));
  }
  demand_number(value, token);
  if (token.is("!")) return comparison(kEqual, value, constant(0));
  if (token.is("+")) return value;
  const Op op = token.is("~") ? Op::bit_not : Op::neg;
  if (value.kind == ValueKind::constant) {
    return constant(op == Op::neg
                        ? static_cast<std::int64_t>(0 - static_cast<std::uint64_t>(value.number))
                        : ~value.number);
  }
  Instruction made{.op = op, .width = value.reg.width};
  const Register result = copy(value, value.reg.width);
  made.operands[0] = register_operand(result);
  emit(std::move(made));
  return in(result, value.is_unsigned);
}

CProgram::Value CProgram::primary() {
  if (lexer_.take_if("(")) {
    const bool is_cast =
        Builder::is_type_word(lexer_.peek().piece.text) && lexer_.peek().kind == CTokenKind::name;
    if (is_cast) {
      const CToken where = lexer_.peek();
      const Type wanted = type();
      lexer_.expect(")");
      const Value value = unary();
      if (wanted.is_pointer) {
        throw SyntaxError{.at = where.piece.at, .what = "a cast to a pointer is not supported"};
      }
      demand_number(value, where);
      if (value.kind == ValueKind::constant) return value;
      const Operand narrow = operand(value, wanted.width);
      return in(narrow.reg, wanted.is_unsigned);
    }
    const Value value = expression();
    lexer_.expect(")");
    return value;
  }
  const CToken token = lexer_.take();
  if (token.kind == CTokenKind::number) return literal(token);
  if (token.kind == CTokenKind::name && lexer_.peek().is("(")) return call(token);
  return name_value(token);
}

CProgram::Value CProgram::literal(const CToken& token) {
  std::string_view text = token.piece.text;
  while (!text.empty() && std::string_view("uUlL").find(text.back()) != std::string_view::npos) {
    text.remove_suffix(1);
  }
  const auto found = number(text);
  const bool is_octal = text.size() > 1 && text[0] == '0' && text[1] != 'x' && text[1] != 'X';
  if (found && !is_octal) return constant(*found);
  throw SyntaxError{.at = token.piece.at, .what = quoted(token.piece.text) + " is no number"};
}

CProgram::Value CProgram::name_value(const CToken& name) {
  const auto& variables = builder_.variables_.back();
  if (const auto found = variables.find(name.piece.text); found != variables.end()) {
    return in(found->second, unsigned_.find(name.piece.text)->second);
  }
  const auto found = parameters_.find(name.piece.text);
  if (found == parameters_.end()) {
    throw SyntaxError{.at = name.piece.at,
                      .what = name.kind == CTokenKind::end
                                  ? "the function ends in the middle of an expression"
                                  : quoted(name.piece.text) +
                                        (name.kind == CTokenKind::name
                                             ? " is no variable that is declared and no parameter"
                                             : " stands where a value is expected")};
  }
  Value made;
  made.kind = ValueKind::pointer;
  made.location = found->second.location;
  made.is_atomic = found->second.is_atomic;
  builder_.mention(made.location, name.piece);
  return made;
}

}  // namespace shootdown::host::litmus
