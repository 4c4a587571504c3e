#include "litmus/condition.h"

#include "hal/host/machine.h"
#include "litmus/test.h"

namespace shootdown::host::litmus {

namespace {

/// The value as a signed number of so many bytes, so that -1 and 0xffffffff are one.
std::int64_t narrowed(std::int64_t value, std::uint8_t width) {
  if (width == 0 || width >= 8) return value;
  const unsigned unused = 64U - (8U * width);
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(value) << unused) >> unused;
}

std::uint8_t width_of(const Test& test, const Term& term) {
  if (term.field != Field::whole) return 8;
  if (term.kind == TermKind::reg) return term.width;
  if (term.kind == TermKind::location) return test.locations[term.index].width;
  return 8;
}

bool equal(const Test& test, const Condition& condition, const State& state) {
  const std::uint8_t width = width_of(test, test.terms[condition.left]);
  const std::int64_t right = condition.right_is_term ? state[condition.right] : condition.value;
  const auto differing =
      static_cast<std::uint64_t>(narrowed(state[condition.left], width) ^ narrowed(right, width));
  return (differing & condition.mask) == 0;
}

const Location* location_at(const Test& test, std::uint64_t address) {
  for (const Location& location : test.locations) {
    if (location.address == address) return &location;
  }
  return nullptr;
}

std::string print_entry(const Test& test, std::uint64_t entry) {
  struct Flag {
    std::uint64_t bit;
    const char* name;
  };
  static constexpr Flag kFlags[] = {{kPtePresent, "present"},   {kPteWritable, "writable"},
                                    {kPteAccessed, "accessed"}, {kPteDirty, "dirty"},
                                    {kPteLarge, "large"},       {kPteGlobal, "global"},
                                    {kPteNoExecute, "nx"}};
  const Location* frame = location_at(test, entry & ~kEntryFlags);
  std::string text = "(" + (frame == nullptr ? std::string() : frame->name);
  for (const Flag& flag : kFlags) {
    if ((entry & flag.bit) == 0) continue;
    text += (text.size() > 1 ? "," : "") + std::string(flag.name);
  }
  if ((entry & (kPtePresent | kPteUser)) == kPtePresent) text += ",supervisor";
  if ((entry & kPtePresent) == 0) text += text.size() > 1 ? ",absent" : "absent";
  return text + ")";
}

/// Brackets where the grammar needs them.
std::string operand_text(const Test& test, const Condition& condition, Connective around) {
  const std::string text = print(test, condition);
  const bool atom = condition.connective <= Connective::negation;
  return atom || condition.connective == around ? text : "(" + text + ")";
}

}  // namespace

bool holds(const Test& test, const Condition& condition, const State& state) {
  const auto operand = [&](std::size_t i) { return holds(test, condition.operands[i], state); };
  switch (condition.connective) {
    case Connective::truth:
      return true;
    case Connective::equal:
      return equal(test, condition, state);
    case Connective::unequal:
      return !equal(test, condition, state);
    case Connective::negation:
      return !operand(0);
    case Connective::both:
      return operand(0) && operand(1);
    case Connective::either:
      return operand(0) || operand(1);
    case Connective::implies:
      return !operand(0) || operand(1);
  }
  return false;
}

std::string print(const Test& test, const Condition& condition) {
  const auto joined = [&](const char* sign) {
    return operand_text(test, condition.operands[0], condition.connective) + sign +
           operand_text(test, condition.operands[1], condition.connective);
  };
  switch (condition.connective) {
    case Connective::truth:
      return "true";
    case Connective::equal:
    case Connective::unequal: {
      const Term& left = test.terms[condition.left];
      const bool is_entry = condition.mask != ~std::uint64_t{0};
      const std::string right = condition.right_is_term ? test.terms[condition.right].text
                                : is_entry
                                    ? print_entry(test, static_cast<std::uint64_t>(condition.value))
                                    : print_value(test, left, condition.value);
      return left.text + (condition.connective == Connective::equal ? "=" : "!=") + right;
    }
    case Connective::negation:
      return "~" + operand_text(test, condition.operands[0], Connective::negation);
    case Connective::both:
      return joined(" /\\ ");
    case Connective::either:
      return joined(" \\/ ");
    case Connective::implies:
      return joined(" => ");
  }
  return {};
}

std::string print_value(const Test& test, const Term& term, std::int64_t value) {
  if (term.kind == TermKind::entry && term.field == Field::whole) {
    return print_entry(test, static_cast<std::uint64_t>(value));
  }
  const Location* location = location_at(test, static_cast<std::uint64_t>(value));
  if (location != nullptr) return location->name;
  return std::to_string(narrowed(value, width_of(test, term)));
}

}  // namespace shootdown::host::litmus
