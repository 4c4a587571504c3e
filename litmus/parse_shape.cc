// Which operands an instruction may have.
#include "litmus/builder.h"

namespace shootdown::host::litmus {

namespace {

bool is_memory(const Operand& one) {
  return one.kind == OperandKind::memory || one.kind == OperandKind::entry;
}
bool is_register(const Operand& one) { return one.kind == OperandKind::reg; }
bool is_entry_operand(const Operand& one) { return one.kind == OperandKind::entry; }

/// Whether the first operand is one of those that are computed from or compared with.
bool has_destination(Op op) {
  return op == Op::mov || op == Op::set_if || (op >= Op::add && op <= Op::test);
}

bool writes_first(Op op) {
  const bool only_reads = op == Op::cmp || op == Op::test || op == Op::bit_test;
  return !only_reads &&
         ((op >= Op::mov && op <= Op::bit_reset) || op == Op::set_if || op == Op::move_if);
}

const char* wrong_shape(const Instruction& made) {
  const Operand& to = made.operands[0];
  const Operand& from = made.operands[1];
  const Op op = made.op;
  if (is_memory(to) && is_memory(from)) return "two operands in memory";
  if (has_destination(op) && to.kind == OperandKind::immediate) {
    return "an immediate cannot be written";
  }
  if ((op == Op::lea || op == Op::move_if || op == Op::mov_sign_extended ||
       (op == Op::mov && made.source_width != 0)) &&
      !is_register(to)) {
    return "the destination must be a register";
  }
  if (made.executes && (!is_register(to) || from.kind != OperandKind::memory)) {
    return "FETCH reads a page into a register";
  }
  if (op == Op::lea && from.kind != OperandKind::memory) return "the source must be in memory";
  if ((op == Op::xadd || op == Op::cmpxchg) && !is_register(from)) {
    return "the source must be a register";
  }
  if (op == Op::xchg && !is_register(to) && !is_register(from)) {
    return "one operand must be a register";
  }
  if (op == Op::xchg &&
      (to.kind == OperandKind::immediate || from.kind == OperandKind::immediate)) {
    return "an immediate cannot be exchanged";
  }
  if ((op == Op::move_if || op == Op::mov_sign_extended ||
       (op == Op::mov && made.source_width != 0)) &&
      from.kind == OperandKind::immediate) {
    return "the source cannot be an immediate";
  }
  // A register may name a bit of another word.
  const bool by_bit = op == Op::bit_test || op == Op::bit_set || op == Op::bit_reset;
  if (by_bit && is_memory(to) && is_register(from)) return "a bit in memory needs an immediate";
  if (op == Op::move_if && made.width == 1) return "it has no form of one byte";
  if (made.locked && !is_memory(to) && !(op == Op::xchg && is_memory(from))) {
    return "LOCK without an operand in memory";
  }
  // A stack slot is known by the displacement alone.
  const bool swaps = op == Op::xchg || op == Op::xadd;
  const auto moves_stack = [](const Operand& one) {
    return is_register(one) && one.reg.number == kStackPointer;
  };
  if ((writes_first(op) && moves_stack(to)) || (swaps && moves_stack(from))) {
    return "the stack pointer keeps its value here";
  }
  if (op == Op::invlpg && to.kind != OperandKind::memory) return "the operand must be a page";
  return nullptr;
}

const char* wrong_entry(const Instruction& made) {
  const bool bits = made.op == Op::bit_set || made.op == Op::bit_reset || made.op == Op::bit_and ||
                    made.op == Op::bit_or;
  if (made.op == Op::mov || made.op == Op::xchg || (bits && made.locked)) return nullptr;
  return "page-table entries take MOV, XCHG, and LOCK with BTS, BTR, AND, OR";
}

}  // namespace

void Builder::check_shape(const Instruction& made, Piece text) {
  const char* why = wrong_shape(made);
  const bool with_entry = is_entry_operand(made.operands[0]) || is_entry_operand(made.operands[1]);
  if (why == nullptr && with_entry) why = wrong_entry(made);
  if (why == nullptr) return;
  throw SyntaxError{.at = text.at,
                    .what = "instruction " + quoted(text.text) + " is not supported: " + why};
}

}  // namespace shootdown::host::litmus
