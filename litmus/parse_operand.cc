// Operands, in Intel's notation and in AT&T's.
#include <algorithm>

#include "hal/host/machine.h"
#include "litmus/builder.h"

namespace shootdown::host::litmus {

namespace {

constexpr std::int64_t kLastPcid = 4095;

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
  return texts.size() == 2 && (texts[0].text.starts_with("$") || number(texts[0].text)) &&
         !texts[1].text.starts_with("$");
}

std::optional<std::int64_t> bit_number(std::string_view name) {
  if (name == "present") return 0;
  if (name == "writable") return 1;
  if (name == "accessed") return 5;
  if (name == "dirty") return 6;
  if (name == "large") return 7;
  if (name == "global") return 8;
  if (name == "user") return 2;
  if (name == "nx") return 63;
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

/// CR3 or CR4, by its number; 0 is none.
unsigned control_register(std::string_view text) {
  if (text.starts_with("%")) text.remove_prefix(1);
  if (lower(text) == "cr3") return 3;
  return lower(text) == "cr4" ? 4 : 0;
}

bool is_special(Op op) {
  return op == Op::ipi || op == Op::invpcid || op == Op::invlpgb || op == Op::tlbsync;
}

[[noreturn]] void unsupported(Piece text, const char* why) {
  throw SyntaxError{.at = text.at,
                    .what = "operand " + quoted(text.text) + " is not supported: " + why};
}

void demand_address_register(Piece text, Register reg) {
  if (reg.width < 4) unsupported(text, "an address is in a register of 4 or 8 bytes");
}

std::uint8_t scale_of(Piece text) {
  const std::int64_t scale = Builder::constant(text);
  if (scale != 1 && scale != 2 && scale != 4 && scale != 8) {
    unsupported(text, "a scale is 1, 2, 4 or 8");
  }
  return static_cast<std::uint8_t>(scale);
}

}  // namespace

void Builder::operands(std::size_t column, Instruction& made, Piece text, bool extends) {
  std::vector<Piece> texts = split(text, ',');
  if (is_special(made.op) || std::any_of(texts.begin(), texts.end(), [](const Piece& one) {
        return control_register(one.text) != 0;
      })) {
    special(column, made, text);
    return;
  }
  const auto entry_text =
      std::find_if(texts.begin(), texts.end(), [](const Piece& one) { return is_entry(one.text); });
  const bool with_entry = entry_text != texts.end();
  if (texts.size() > 2) unsupported(text, "two operands at most");
  const Entry of = with_entry ? test.entries[entry(*entry_text)] : Entry();
  if (is_at_and_t(texts, with_entry)) std::reverse(texts.begin(), texts.end());
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const std::uint8_t size = take_size(texts[i]);
    Operand& one = made.operands[i];
    if (with_entry && texts[i].text.starts_with("(")) {
      one.kind = OperandKind::immediate;
      one.value = static_cast<std::int64_t>(entry_value(texts[i], of));
    } else {
      one = operand(column, texts[i]);
    }
    if (size == 0) continue;
    std::uint8_t& width = extends && i == 1 ? made.source_width : made.width;
    if (width != 0 && width != size) unsupported(texts[i], "the mnemonic says another size");
    width = size;
  }
  if (with_entry) {
    made.width = 8;
  } else {
    operand_sizes(made, text, extends);
  }
}

/// The registers say how wide an access is, and must agree.
void Builder::operand_sizes(Instruction& made, Piece text, bool extends) {
  const auto demand = [&](bool good) {
    if (!good) unsupported(text, "the operands have sizes that do not go together");
  };
  for (std::size_t i = 0; i < made.operands.size(); ++i) {
    const Operand& one = made.operands[i];
    if (one.kind != OperandKind::reg) continue;
    std::uint8_t& width = extends && i == 1 ? made.source_width : made.width;
    if (width == 0) width = one.reg.width;
    demand(width == one.reg.width);
  }
  if (!extends) return;
  if (made.source_width == 0) unsupported(text, "say 'byte ptr' or 'word ptr'");
  demand(made.source_width < made.width);
}

std::int64_t Builder::immediate(Piece text) {
  return constant(text.text.starts_with("$") ? text.part(1) : text);
}

/// IPI P1; INVPCID; INVLPGB; MOV CR3,$2,keep; MOV CR4,$pge+pcide.
void Builder::special(std::size_t column, Instruction& made, Piece text) {
  const std::vector<Piece> texts = split(text, ',');
  if (made.op == Op::tlbsync) return;
  if (made.op == Op::ipi) {
    const std::uint32_t target = cpu(texts[0]);
    if (target >= test.cpus) unsupported(texts[0], "there is no such column");
    made.operands[0] = immediate_operand(target);
    return;
  }
  if (made.op == Op::invpcid || made.op == Op::invlpgb) return invalidation(column, made, text);
  const bool last = texts.size() == 2 && control_register(texts[1].text) != 0;
  const unsigned number = control_register(texts[last ? 1 : 0].text);
  const Piece value = texts[last ? 0 : 1];
  const bool constant_value = value.text.starts_with("$") || litmus::number(value.text);
  if (made.op != Op::mov || made.locked || number == 0 || !constant_value) {
    unsupported(text, "control registers are loaded by 'MOV CR3,$mm' and 'MOV CR4,$pge+pcide'");
  }
  number == 3 ? load_cr3(made, text, value) : load_cr4(made, text, value);
}

void Builder::load_cr3(Instruction& made, Piece text, Piece value) {
  const std::vector<Piece> texts = split(text, ',');
  const bool keep = texts.size() == 3 && lower(texts[2].text) == "keep";
  if (texts.size() == 3 && !keep) {
    unsupported(text, "CR3 is loaded by 'MOV CR3,$mm' or 'MOV CR3,$mm,keep'");
  }
  const std::int64_t mm = immediate(value);
  demand_mm(value, mm);
  made.op = Op::load_cr3;
  made.keep = keep;
  made.operands[0] = immediate_operand(mm);
}

/// The bits are those of the model that are on behind it.
void Builder::load_cr4(Instruction& made, Piece text, Piece value) {
  std::uint64_t bits = 0;
  Piece names = value.text.starts_with("$") ? value.part(1).trimmed() : value;
  if (split(text, ',').size() != 2) unsupported(text, "CR4 is loaded by 'MOV CR4,$pge+pcide'");
  for (const Piece& name : split(names, '+')) {
    const std::string low = lower(name.text);
    if (low != "pge" && low != "pcide" && names.text != "0") {
      unsupported(name, "the bits of CR4 are pge and pcide, as in $pge+pcide, or $0");
    }
    if (low == "pge") bits |= kCr4GlobalPages;
    if (low == "pcide") bits |= kCr4Pcid;
  }
  made.op = Op::load_cr4;
  made.operands[0] = immediate_operand(static_cast<std::int64_t>(bits));
}

void Builder::invalidation(std::size_t column, Instruction& made, Piece text) {
  const std::vector<Piece> texts = split(text, ',');
  const bool broadcast = made.op == Op::invlpgb;
  const std::int64_t most = broadcast ? 4 : 3;
  const std::int64_t type = texts[0].text.starts_with("[") ? std::int64_t{-1} : immediate(texts[0]);
  const std::array<std::size_t, 5> wanted{3, 2, 1, 1, 2};
  if (type < 0 || type > most || texts.size() != wanted[static_cast<std::size_t>(type)]) {
    unsupported(text, broadcast
                          ? "INVLPGB is '$0,pcid,[page]', '$1,pcid', '$2', '$3' or '$4,[page]'"
                          : "INVPCID is '$0,pcid,[page]', '$1,pcid', '$2' or '$3'");
  }
  made.operands[0] = immediate_operand(type);
  if (type <= 1) {
    const std::int64_t pcid = immediate(texts[1]);
    if (pcid < 0 || pcid > kLastPcid) unsupported(texts[1], "a PCID is 0 to 4095");
    made.operands[1] = immediate_operand(pcid);
  }
  if (type != 0 && type != 4) return;
  made.operands[2] = operand(column, texts.back());
  if (made.operands[2].kind != OperandKind::memory) unsupported(texts.back(), "it is no page");
}

Operand Builder::operand(std::size_t column, Piece text) {
  Operand made;
  if (text.empty()) unsupported(text, "there is nothing");
  if (text.text.starts_with("$")) {
    const Piece rest = text.part(1).trimmed();
    const auto bit = bit_number(lower(rest.text));
    return immediate_operand(bit ? *bit : value(rest));
  }
  if (const auto plain = number(text.text)) return immediate_operand(*plain);
  if (const auto reg = find_register(text.text)) return register_operand(*reg);
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
  // Without brackets it is more often a typo of a register than a new location.
  if (find_location(inside.text) || !bracketed) {
    made.location = known(inside);
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
    // Only the first part may have a sign of its own.
    if (part.empty() && (i != 0 || end)) unsupported(sum, "there is nothing");
    if (!part.empty()) add_to_address(made, part, negative);
    if (end) break;
    negative = sum.text[i] == '-';
    start = i + 1;
  }
}

void Builder::add_to_address(Operand& made, Piece part, bool negative) {
  if (const auto plain = number(part.text)) {
    const auto sum = static_cast<std::uint64_t>(made.value);
    const auto term = static_cast<std::uint64_t>(*plain);
    made.value = static_cast<std::int64_t>(negative ? sum - term : sum + term);
    return;
  }
  std::uint8_t scale = 1;
  Piece name = part;
  if (const std::size_t star = part.text.find('*'); star != std::string_view::npos) {
    Piece factor = part.part(star + 1).trimmed();
    name = part.part(0, star).trimmed();
    if (number(name.text)) std::swap(name, factor);
    scale = scale_of(factor);
  }
  if (const auto reg = find_register(name.text)) {
    demand_address_register(name, *reg);
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
  if (close + 1 != text.text.size()) unsupported(text, "something follows the bracket");
  const Piece displacement = text.part(0, open).trimmed();
  if (!displacement.empty()) {
    // "x+4" and "-8" are sums too.
    add_sum(made, displacement);
  }
  const std::vector<Piece> parts = split(text.part(open + 1, close - open - 1), ',');
  if (parts.size() > 3) unsupported(text, "an address has a base, an index and a scale");
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (parts[i].empty()) continue;
    if (i == 2) {
      made.scale = scale_of(parts[2]);
      continue;
    }
    const auto reg = find_register(parts[i].text);
    if (reg) demand_address_register(parts[i], *reg);
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

}  // namespace shootdown::host::litmus
