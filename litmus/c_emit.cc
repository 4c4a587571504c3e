// The instructions of C tests.
#include "litmus/c_program.h"

namespace shootdown::host::litmus {

namespace {

/// Behind the accumulator and the variables.
constexpr std::uint8_t kFirstTemporary = 1 + kMostVariables;

}  // namespace

std::vector<Instruction>& CProgram::code() const { return builder_.test.columns[column_].code; }

void CProgram::emit(Instruction made) {
  made.at = statement_.at;
  made.text = statement_.text;
  if (++builder_.instructions_ > kMostInstructions) {
    throw SyntaxError{
        .at = statement_.at,
        .what = "a test has " + std::to_string(kMostInstructions) + " instructions at most"};
  }
  code().push_back(std::move(made));
}

void CProgram::move(Register to, const Operand& from, std::memory_order order) {
  Instruction made{.op = Op::mov, .width = to.width, .order = order};
  made.operands[0] = register_operand(to);
  made.operands[1] = from;
  emit(std::move(made));
}

Register CProgram::temporary(std::uint8_t width) {
  const unsigned number = kFirstTemporary + temporaries_++;
  if (number >= kRegisters) {
    throw SyntaxError{.at = statement_.at, .what = "this statement has too many operations"};
  }
  return {.number = static_cast<std::uint8_t>(number), .width = width};
}

Operand CProgram::operand(const Value& value, std::uint8_t width) {
  if (value.kind == ValueKind::constant) {
    return immediate_operand(value.number);
  }
  if (value.reg.width >= width) {
    return register_operand({.number = value.reg.number, .width = width});
  }
  const Register wide = temporary(width);
  if (value.is_unsigned) {
    // Writing 4 bytes of a register clears the others.
    move({.number = wide.number, .width = value.reg.width}, register_operand(value.reg));
    return register_operand(wide);
  }
  Instruction made{.op = Op::mov_sign_extended, .width = width, .source_width = value.reg.width};
  made.operands[0] = register_operand(wide);
  made.operands[1] = register_operand(value.reg);
  emit(std::move(made));
  return register_operand(wide);
}

Register CProgram::copy(const Value& value, std::uint8_t width) {
  const Operand from = operand(value, width);
  const Register to = temporary(width);
  move(to, from);
  return to;
}

std::uint8_t CProgram::width_of(const Value& pointer) const {
  return builder_.test.locations[pointer.location].width;
}

Operand CProgram::memory(const Value& pointer) const {
  Operand made;
  made.kind = OperandKind::memory;
  made.location = pointer.location;
  made.has_index = pointer.has_index;
  made.index = pointer.index;
  made.scale = width_of(pointer);
  return made;
}

CProgram::Value CProgram::load(const Value& pointer, std::memory_order order) {
  const Register to = temporary(width_of(pointer));
  move(to, memory(pointer), order);
  return in(to);
}

void CProgram::store(const Value& pointer, const Value& value, std::memory_order order) {
  if (order == std::memory_order_seq_cst) {
    exchange(pointer, value, order, /*stores_only=*/true);
    return;
  }
  const std::uint8_t width = width_of(pointer);
  Instruction made{.op = Op::mov, .width = width, .order = order};
  made.operands[0] = memory(pointer);
  made.operands[1] = operand(value, width);
  emit(std::move(made));
}

/// MOV changes no flags.
CProgram::Value CProgram::truth_of(std::uint8_t condition) {
  const Register result = temporary(kInt);
  move(result, operand(constant(0), kInt));
  Instruction set{.op = Op::set_if, .width = 1, .condition = condition};
  set.operands[0] = register_operand({.number = result.number, .width = 1});
  emit(std::move(set));
  return in(result);
}

CProgram::Value CProgram::exchange(const Value& pointer, const Value& value,
                                   std::memory_order order, bool stores_only) {
  const Register reg = copy(value, width_of(pointer));
  Instruction made{.op = Op::xchg, .width = reg.width, .order = order};
  made.stores_only = stores_only;
  made.operands[0] = memory(pointer);
  made.operands[1] = register_operand(reg);
  emit(std::move(made));
  return in(reg);
}

std::memory_order CProgram::plain_order(const Value& pointer) {
  if (pointer.is_atomic) return std::memory_order_seq_cst;
  builder_.test.has_plain_accesses = true;
  return kPlain;
}

CProgram::Value CProgram::constant(std::int64_t number) {
  Value made;
  made.kind = ValueKind::constant;
  made.number = number;
  return made;
}

CProgram::Value CProgram::in(Register reg, bool is_unsigned) {
  Value made;
  made.kind = ValueKind::reg;
  made.reg = reg;
  made.is_unsigned = is_unsigned;
  return made;
}

void CProgram::demand_number(const Value& value, const CToken& where) {
  if (value.kind == ValueKind::constant || value.kind == ValueKind::reg) return;
  throw SyntaxError{
      .at = where.piece.at,
      .what = quoted(where.piece.text) + (value.kind == ValueKind::pointer
                                              ? ": an address is no number here; '*' loads from it"
                                              : ": there is no value")};
}

void CProgram::demand_pointer(const Value& value, const CToken& where) {
  if (value.kind == ValueKind::pointer) return;
  throw SyntaxError{.at = where.piece.at,
                    .what = quoted(where.piece.text) + " is no address of a parameter"};
}

}  // namespace shootdown::host::litmus
