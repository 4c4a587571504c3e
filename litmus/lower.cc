// From instructions to operations: accesses to memory on their own, and registers renamed.
#include <algorithm>
#include <array>

#include "litmus/compiler.h"

namespace shootdown::host::litmus {

namespace {

/// What an instruction that computes with memory keeps its operand in.
constexpr std::uint8_t kTemporary = kRegisters;
constexpr std::uint8_t kFirstVirtual = kRegisters + 1;

bool is_memory(const Operand& one) {
  return one.kind == OperandKind::memory || one.kind == OperandKind::entry;
}

Instruction move(const Operand& to, const Operand& from, std::uint8_t width) {
  Instruction made{.op = Op::mov, .width = width};
  made.operands[0] = to;
  made.operands[1] = from;
  return made;
}

bool is_barrier(Op op) { return op == Op::cut || (op >= Op::full_fence && op <= Op::ipi); }

bool only_reads(Op op) { return op == Op::cmp || op == Op::test || op == Op::bit_test; }

bool reads_flags(Op op) { return op == Op::set_if || op == Op::move_if || op == Op::assume; }

bool keeps_flags(Op op) {
  return op == Op::inc || op == Op::dec || op == Op::bit_test || op == Op::bit_set ||
         op == Op::bit_reset;
}

bool writes_flags(Op op) {
  return only_reads(op) || op == Op::cmpxchg || op == Op::xadd || keeps_flags(op) ||
         (op >= Op::add && op <= Op::neg);
}

/// Whether the first operand is only written, and wholly so.
bool replaces(const Instruction& made) {
  if (made.op == Op::mov || made.op == Op::mov_sign_extended || made.op == Op::lea) {
    return made.width >= 4;
  }
  const Operand& to = made.operands[0];
  const Operand& from = made.operands[1];
  // What is always 0.
  return (made.op == Op::bit_xor || made.op == Op::subtract) && to.kind == OperandKind::reg &&
         from.kind == OperandKind::reg && from.reg.number == to.reg.number && made.width >= 4;
}

class Lowering {
 public:
  Lowering(const Test& test, const Column& column) : test_(test), column_(column) {
    for (std::size_t i = 0; i < current_.size(); ++i) current_[i] = static_cast<std::uint8_t>(i);
    producer_.fill(kNone);
    flags_producer_.fill(kNone);
    for (const InitialRegister& initial : test.registers) {
      if (column.role == Role::cpu && initial.cpu == column.cpu) {
        initial_[initial.number] = static_cast<std::uint64_t>(initial.value);
      }
    }
    for (const Location& location : test.locations) {
      has_pages_ = has_pages_ || location.place == Place::page;
    }
  }

  Lowered lower(const Code& path) {
    for (const Instruction& made : path) lower(made);
    std::vector<bool> used(made_.operations.size(), false);
    for (std::uint8_t i = 0; i < kRegisters; ++i) {
      if (current_[i] == i || !is_observed(i)) continue;
      made_.epilogue.push_back(
          move(register_operand({.number = i}), register_operand({.number = current_[i]}), 8));
      if (producer_[current_[i]] != kNone) used[producer_[current_[i]]] = true;
    }
    // PAUSE waits for what was read, used or not.
    const bool waits = std::any_of(path.begin(), path.end(),
                                   [](const Instruction& made) { return made.op == Op::pause; });
    if (!waits) drop_unused(used);
    return std::move(made_);
  }

 private:
  void lower(const Instruction& made);
  [[nodiscard]] bool is_observed(std::uint8_t number) const;
  void drop_unused(std::vector<bool> used);
  void split(const Instruction& made, std::size_t memory);
  void add(const Instruction& made, OperationKind kind);
  void rename_operands(Operation& operation, const Instruction& made);
  void rename_flags(Operation& operation);

  void need(Operation& operation, std::size_t producer) {
    if (producer != kNone) operation.needs.push_back(producer);
  }
  std::uint8_t read(std::uint8_t number, Operation& operation) {
    need(operation, producer_[current_[number]]);
    return current_[number];
  }
  /// A register of the operation's own for what it writes. `keeps`: it uses the old value, too.
  std::uint8_t write(std::uint8_t number, Operation& operation, bool keeps);
  std::uint8_t fresh(unsigned& next);
  [[nodiscard]] std::optional<std::uint64_t> known_address(const Operand& operand) const;
  [[nodiscard]] bool may_be_page(const Operand& operand) const;

  const Test& test_;
  const Column& column_;
  Lowered made_;
  bool has_pages_{false};
  std::array<std::uint8_t, kRegisters + 1> current_{};
  std::array<std::uint64_t, kRegisters + 1> initial_{};
  std::array<std::size_t, kVirtualRegisters> producer_{};  // by register
  std::vector<std::uint8_t> written_;                      // registers of the operation being made
  std::uint8_t flags_{0};
  std::array<std::size_t, kVirtualRegisters> flags_producer_{};
  unsigned next_{kFirstVirtual};
  unsigned next_flags_{1};
};

bool Lowering::is_observed(std::uint8_t number) const {
  return column_.role == Role::cpu &&
         std::any_of(test_.terms.begin(), test_.terms.end(), [&](const Term& term) {
           return term.kind == TermKind::reg && term.cpu == column_.cpu && term.number == number;
         });
}

/// A relaxed load whose value is not used has no effect, so it need not be tried in every place.
void Lowering::drop_unused(std::vector<bool> used) {
  for (std::size_t i = made_.operations.size(); i-- > 0;) {
    Operation& one = made_.operations[i];
    const bool vain = one.kind == OperationKind::load && one.address &&
                      one.made.order == std::memory_order_relaxed;
    if (!used[i] && (vain || one.kind == OperationKind::compute)) {
      one = {};
      continue;
    }
    for (const std::size_t needed : one.needs) used[needed] = true;
  }
}

std::uint8_t Lowering::fresh(unsigned& next) {
  if (next + 1 == kVirtualRegisters) {
    made_.problem = "a path is too long for memory cxx; a smaller --unroll helps";
    return static_cast<std::uint8_t>(next);
  }
  return static_cast<std::uint8_t>(next++);
}

std::uint8_t Lowering::write(std::uint8_t number, Operation& operation, bool keeps) {
  const std::uint8_t to = fresh(next_);
  if (keeps) {
    Operation copy;
    const std::uint8_t from = read(number, copy);
    copy.made = move(register_operand({.number = to}), register_operand({.number = from}), 8);
    operation.needs.push_back(made_.operations.size());
    made_.operations.push_back(std::move(copy));
  }
  current_[number] = to;
  written_.push_back(to);
  return to;
}

std::optional<std::uint64_t> Lowering::known_address(const Operand& operand) const {
  auto address = static_cast<std::uint64_t>(operand.value);
  if (operand.location != kNone) address += test_.locations[operand.location].address;
  if (operand.has_base) {
    if (current_[operand.base] != operand.base) return {};
    address += initial_[operand.base];
  }
  if (operand.has_index) {
    if (current_[operand.index] != operand.index) return {};
    address += initial_[operand.index] * operand.scale;
  }
  return address;
}

bool Lowering::may_be_page(const Operand& operand) const {
  if (operand.kind == OperandKind::entry) return true;
  const auto address = known_address(operand);
  if (!address) return has_pages_;
  return std::any_of(test_.locations.begin(), test_.locations.end(), [&](const Location& one) {
    return one.address == *address && one.place == Place::page;
  });
}

void Lowering::lower(const Instruction& made) {
  if (made.op == Op::nop) return;
  if (made.op == Op::assume) return add(made, OperationKind::branch);
  if (is_barrier(made.op)) return add(made, OperationKind::barrier);
  if (made.op == Op::lea) return add(made, OperationKind::compute);
  for (std::size_t i = 0; i < 2; ++i) {
    const Operand& operand = made.operands[i];
    if (!is_memory(operand)) continue;
    // A user's access, or what the machine does by a locked instruction.
    if (may_be_page(operand)) return add(made, OperationKind::barrier);
    if (made.locked || made.op == Op::xchg) return add(made, OperationKind::modify);
    if (made.op != Op::mov && made.op != Op::mov_sign_extended) return split(made, i);
    return add(made, i == 0 ? OperationKind::store : OperationKind::load);
  }
  add(made, OperationKind::compute);
}

void Lowering::split(const Instruction& made, std::size_t memory) {
  if (made.op == Op::cmpxchg) {
    made_.problem = "'" + made.text + "' is not supported in memory cxx: CMPXCHG without LOCK";
    return;
  }
  const Operand temporary = register_operand({.number = kTemporary, .width = made.width});
  Instruction computing = made;
  computing.operands[memory] = temporary;
  if (made.op != Op::set_if) lower(move(temporary, made.operands[memory], made.width));
  lower(computing);
  if (memory == 0 && !only_reads(made.op)) lower(move(made.operands[0], temporary, made.width));
}

void Lowering::add(const Instruction& made, OperationKind kind) {
  Operation operation{.made = made, .kind = kind};
  if (kind == OperationKind::load || kind == OperationKind::store ||
      kind == OperationKind::modify) {
    operation.address = known_address(made.operands[is_memory(made.operands[0]) ? 0 : 1]);
  }
  rename_operands(operation, made);
  rename_flags(operation);
  for (const std::uint8_t number : written_) producer_[number] = made_.operations.size();
  written_.clear();
  if (writes_flags(made.op)) {
    flags_ = operation.made.flags_out;
    flags_producer_[flags_] = made_.operations.size();
  }
  made_.operations.push_back(std::move(operation));
}

void Lowering::rename_operands(Operation& operation, const Instruction& made) {
  Instruction& renamed = operation.made;
  for (Operand& operand : renamed.operands) {
    if (operand.has_base) operand.base = read(operand.base, operation);
    if (operand.has_index) operand.index = read(operand.index, operation);
  }
  const Operand& to = made.operands[0];
  const Operand& from = made.operands[1];
  const bool swaps = made.op == Op::xchg || made.op == Op::xadd || made.fetches;
  const bool zeroes = replaces(made) && made.op >= Op::add;
  if (from.kind == OperandKind::reg && !swaps && !zeroes) {
    renamed.operands[1].reg.number = read(from.reg.number, operation);
  }
  // An access to a page may fault, and then leaves the register alone.
  const bool keeps = !replaces(made) || operation.kind == OperationKind::barrier;
  if (to.kind == OperandKind::reg) {
    renamed.operands[0].reg.number = only_reads(made.op) ? read(to.reg.number, operation)
                                                         : write(to.reg.number, operation, keeps);
  }
  if (zeroes) renamed.operands[1].reg.number = renamed.operands[0].reg.number;
  if (from.kind == OperandKind::reg && swaps) {
    renamed.operands[1].reg.number = write(from.reg.number, operation, true);
  }
  if (made.op == Op::cmpxchg) renamed.accumulator = write(0, operation, true);
}

void Lowering::rename_flags(Operation& operation) {
  Instruction& made = operation.made;
  if (reads_flags(made.op) || keeps_flags(made.op)) {
    made.flags_in = made.flags_out = flags_;
    need(operation, flags_producer_[flags_]);
  }
  if (writes_flags(made.op)) made.flags_out = fresh(next_flags_);
}

}  // namespace

Lowered lower(const Test& test, const Column& column, const Code& path) {
  return Lowering(test, column).lower(path);
}

}  // namespace shootdown::host::litmus
