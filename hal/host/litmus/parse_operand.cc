// Operands, in Intel's notation and in AT&T's.
#include <algorithm>

#include "hal/host/litmus/builder.h"
#include "hal/host/machine.h"

namespace shootdown::host::litmus {

namespace {

bool has_at_and_t_memory(std::string_view text) {
  return text.find('(') != std::string_view::npos && !Builder::is_entry(text);
}

/// AT&T's order has the destination last.
bool is_at_and_t(const std::vector<Piece>& texts, bool with_entry) {
  for (const Piece& one : texts) {
    if (one.text.find('%') != std::string_view::npos) return true;
    if (!with_entry && has_at_and_t_memory(one.text)) return true;
  }
  // No immediate is a destination.
  return texts.size() == 2 && (texts[0].text.starts_with("$") || number(texts[0].text));
}

std::optional<std::int64_t> bit_number(std::string_view name) {
  if (name == "present") return 0;
  if (name == "writable") return 1;
  if (name == "accessed") return 5;
  if (name == "dirty") return 6;
  if (name == "global") return 8;
  return {};
}

/// Removes "dword ptr" and returns the bytes, 0 if it was not there.
std::uint8_t take_size(Piece& text) {
  const std::size_t bracket = text.text.find('[');
  if (bracket == std::string_view::npos || bracket == 0) return 0;
  const std::string low = lower(text.part(0, bracket).trimmed().text);
  std::uint8_t width = 0;
  if (low == "byte ptr") width = 1;
  if (low == "word ptr") width = 2;
  if (low == "dword ptr") width = 4;
  if (low == "qword ptr") width = 8;
  if (width != 0) text = text.part(bracket);
  return width;
}

bool is_control_register(std::string_view text) {
  return lower(text) == "cr3" || lower(text) == "%cr3";
}

bool is_special(Op op) { return op == Op::ipi || op == Op::invpcid; }

Operand immediate_operand(std::int64_t value) {
  Operand made;
  made.kind = OperandKind::immediate;
  made.value = value;
  return made;
}

[[noreturn]] void unsupported(Piece text, const char* why) {
  throw SyntaxError{.line = text.line,
                    .what = "operand " + quoted(text.text) + " is not supported: " + why};
}

}  // namespace

void Builder::operands(std::size_t column, Instruction& made, Piece text) {
  std::vector<Piece> texts = split(text, ',');
  if (is_special(made.op) || std::any_of(texts.begin(), texts.end(), [](const Piece& one) {
        return is_control_register(one.text);
      })) {
    special(column, made, text);
    return;
  }
  const bool with_entry =
      std::any_of(texts.begin(), texts.end(), [](const Piece& one) { return is_entry(one.text); });
  if (texts.size() > 2) unsupported(text, "two operands at most");
  if (is_at_and_t(texts, with_entry)) std::reverse(texts.begin(), texts.end());
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const std::uint8_t size = take_size(texts[i]);
    Operand& one = made.operands[i];
    if (with_entry && texts[i].text.starts_with("(")) {
      one.kind = OperandKind::immediate;
      one.value = static_cast<std::int64_t>(entry_value(texts[i]));
    } else {
      one = operand(column, texts[i]);
    }
    if (size != 0) made.width = size;
  }
  if (with_entry) made.width = 8;
  if ((made.op == Op::mov || made.op == Op::mov_sign_extended) && made.source_width == 0 &&
      made.operands[1].kind == OperandKind::reg && made.width == 0) {
    // MOVZX EAX,BL and plain MOV alike.
    const bool to_register = made.operands[0].kind == OperandKind::reg;
    if (to_register && made.operands[0].reg.width > made.operands[1].reg.width) {
      made.source_width = made.operands[1].reg.width;
    }
  }
  for (const Operand& one : made.operands) {
    if (one.kind == OperandKind::reg && made.width == 0) made.width = one.reg.width;
  }
}

/// IPI P1; INVPCID; MOV CR3,$2,keep.
void Builder::special(std::size_t column, Instruction& made, Piece text) {
  const std::vector<Piece> texts = split(text, ',');
  const auto immediate = [](Piece one) {
    return constant(one.text.starts_with("$") ? one.part(1) : one);
  };
  if (made.op == Op::ipi) {
    const std::uint32_t target = cpu(texts[0]);
    if (target >= test.cpus) unsupported(texts[0], "there is no such column");
    made.operands[0] = immediate_operand(target);
    return;
  }
  if (made.op == Op::invpcid) {
    const std::int64_t type = immediate(texts[0]);
    const std::array<std::size_t, 4> wanted{3, 2, 1, 1};
    if (type < 0 || type > 3 || texts.size() != wanted[static_cast<std::size_t>(type)]) {
      unsupported(text, "INVPCID is '$0,pcid,[page]', '$1,pcid', '$2' or '$3'");
    }
    made.operands[0] = immediate_operand(type);
    if (type <= 1) made.operands[1] = immediate_operand(immediate(texts[1]));
    if (type == 0) made.operands[2] = operand(column, texts[2]);
    return;
  }
  const bool last = is_control_register(texts.back().text);
  const bool keep = texts.size() == 3 && lower(texts[2].text) == "keep";
  if (made.op != Op::mov || made.locked || (texts.size() == 3 && !keep) ||
      (!last && !is_control_register(texts[0].text))) {
    unsupported(text, "CR3 is loaded by 'MOV CR3,$space' or 'MOV CR3,$space,keep'");
  }
  const Piece value = texts[last ? 0 : 1];
  if (!value.text.starts_with("$") && !number(value.text)) {
    unsupported(text, "CR3 is loaded by 'MOV CR3,$space' or 'MOV CR3,$space,keep'");
  }
  const std::int64_t space = immediate(value);
  if (space < 1 || space > 7) unsupported(text, "address spaces have numbers 1 to 7");
  made.op = Op::load_cr3;
  made.keep = keep;
  made.operands[0] = immediate_operand(space);
}

Operand Builder::operand(std::size_t column, Piece text) {
  Operand made;
  if (text.empty()) unsupported(text, "there is nothing");
  if (text.text.starts_with("$")) {
    made.kind = OperandKind::immediate;
    const Piece rest = text.part(1).trimmed();
    const auto bit = bit_number(lower(rest.text));
    made.value = bit ? *bit : value(rest);
    return made;
  }
  if (const auto plain = number(text.text)) {
    made.kind = OperandKind::immediate;
    made.value = *plain;
    return made;
  }
  if (const auto reg = find_register(text.text)) {
    made.kind = OperandKind::reg;
    made.reg = *reg;
    return made;
  }
  if (text.text.starts_with("%")) unsupported(text, "no such register");
  if (is_entry(text.text)) {
    made.kind = OperandKind::entry;
    made.entry = entry(text);
    return made;
  }
  return memory(column, text);
}

Operand Builder::memory(std::size_t column, Piece text) {
  if (text.text.find('(') != std::string_view::npos) return at_and_t_memory(column, text);
  Operand made;
  made.kind = OperandKind::memory;
  const bool bracketed = text.text.starts_with("[") && text.text.ends_with("]");
  const Piece inside = bracketed ? text.part(1, text.text.size() - 2).trimmed() : text;
  if (find_location(inside.text) || (!bracketed && inside.text.ends_with("]"))) {
    made.location = location(inside);
    return made;
  }
  add_sum(made, inside);
  finish_memory(column, made, text);
  return made;
}

/// A sum of names, registers and numbers.
void Builder::add_sum(Operand& made, Piece sum) {
  std::size_t start = 0;
  bool negative = false;
  for (std::size_t i = 0; i <= sum.text.size(); ++i) {
    const bool end = i == sum.text.size();
    if (!end && sum.text[i] != '+' && sum.text[i] != '-') continue;
    const Piece part = sum.part(start, i - start).trimmed();
    if (!part.empty()) add_to_address(made, part, negative);
    if (end) break;
    negative = sum.text[i] == '-';
    start = i + 1;
  }
}

void Builder::add_to_address(Operand& made, Piece part, bool negative) {
  if (const auto plain = number(part.text)) {
    made.value += negative ? -*plain : *plain;
    return;
  }
  std::uint8_t scale = 1;
  Piece name = part;
  if (const std::size_t star = part.text.find('*'); star != std::string_view::npos) {
    Piece factor = part.part(star + 1).trimmed();
    name = part.part(0, star).trimmed();
    if (number(name.text)) std::swap(name, factor);
    scale = static_cast<std::uint8_t>(constant(factor));
  }
  if (const auto reg = find_register(name.text)) {
    if (negative) unsupported(part, "a register cannot be subtracted");
    if (scale == 1 && !made.has_base) {
      made.has_base = true;
      made.base = reg->number;
    } else if (!made.has_index) {
      made.has_index = true;
      made.index = reg->number;
      made.scale = scale;
    } else {
      unsupported(part, "an address has two registers at most");
    }
    return;
  }
  if (scale != 1 || negative || made.location != kNone) unsupported(part, "no such address");
  made.location = location(name);
}

/// disp(base,index,scale); what x86 programs write as x(%rip) is x.
Operand Builder::at_and_t_memory(std::size_t column, Piece text) {
  Operand made;
  made.kind = OperandKind::memory;
  const std::size_t open = text.text.find('(');
  const std::size_t close = text.text.rfind(')');
  if (close == std::string_view::npos || close < open) unsupported(text, "a bracket is missing");
  const Piece displacement = text.part(0, open).trimmed();
  if (!displacement.empty()) {
    // "x+4" and "-8" are sums too.
    add_sum(made, displacement);
  }
  const std::vector<Piece> parts = split(text.part(open + 1, close - open - 1), ',');
  for (std::size_t i = 0; i < parts.size() && i < 3; ++i) {
    if (parts[i].empty()) continue;
    if (i == 2) {
      made.scale = static_cast<std::uint8_t>(constant(parts[2]));
      continue;
    }
    const auto reg = find_register(parts[i].text);
    if (reg && i == 0) {
      made.has_base = true;
      made.base = reg->number;
    } else if (reg) {
      made.has_index = true;
      made.index = reg->number;
    } else if (lower(parts[i].text) != "%rip") {
      if (made.location != kNone || parts[i].text.starts_with("%")) {
        unsupported(text, "no such address");
      }
      made.location = location(parts[i]);
    }
  }
  finish_memory(column, made, text);
  return made;
}

void Builder::finish_memory(std::size_t column, Operand& made, Piece text) {
  if (made.has_base && made.base == kStackPointer) {
    if (made.has_index || made.location != kNone) unsupported(text, "an array on the stack");
    const std::int64_t displacement = made.value;
    made = Operand();
    made.kind = OperandKind::memory;
    made.location = stack_slot(static_cast<std::uint32_t>(column), displacement);
    return;
  }
  if (made.location == kNone && !made.has_base && !made.has_index) {
    unsupported(text, "an absolute address");
  }
}

void Builder::check_shape(const Instruction& made, Piece text) const {
  const Operand& to = made.operands[0];
  const Operand& from = made.operands[1];
  const auto is_memory = [](const Operand& one) {
    return one.kind == OperandKind::memory || one.kind == OperandKind::entry;
  };
  const auto demand = [&](bool good, const char* why) {
    if (!good) {
      throw SyntaxError{.line = text.line,
                        .what = "instruction " + quoted(text.text) + " is not supported: " + why};
    }
  };
  demand(!(is_memory(to) && is_memory(from)), "two operands in memory");
  const bool writes = made.op == Op::mov || made.op == Op::set_if || made.op == Op::inc ||
                      made.op == Op::dec || made.op == Op::xadd || made.op == Op::cmpxchg ||
                      (made.op >= Op::add && made.op <= Op::bit_xor);
  demand(!writes || to.kind != OperandKind::immediate, "an immediate cannot be written");
  if (made.op == Op::lea || made.op == Op::move_if || made.op == Op::mov_sign_extended) {
    demand(to.kind == OperandKind::reg, "the destination must be a register");
  }
  if (made.op == Op::lea) demand(from.kind == OperandKind::memory, "the source must be in memory");
  if (made.op == Op::xadd || made.op == Op::cmpxchg) {
    demand(from.kind == OperandKind::reg, "the source must be a register");
  }
  if (made.locked) demand(is_memory(to) || is_memory(from), "LOCK without an operand in memory");
  if (made.op == Op::invlpg) demand(to.kind == OperandKind::memory, "the operand must be a page");
  if (to.kind == OperandKind::entry || from.kind == OperandKind::entry) {
    const bool bits = made.op == Op::bit_set || made.op == Op::bit_reset ||
                      made.op == Op::bit_and || made.op == Op::bit_or;
    demand(made.op == Op::mov || made.op == Op::xchg || (bits && made.locked),
           "page-table entries take MOV, XCHG, and LOCK with BTS, BTR, AND, OR");
  }
}

}  // namespace shootdown::host::litmus
