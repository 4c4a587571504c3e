// The initial state: "x=1; int64_t 0:rax=y; t[2]={1,2}; PTE(p)=(a,present);".
#include <algorithm>
#include <map>

#include "litmus/builder.h"

namespace shootdown::host::litmus {

namespace {

constexpr std::uint8_t kDefaultInt = 4;
/// A word of a type: its bytes, and 0 of one that leaves the size to others.
const std::map<std::string, std::uint8_t, std::less<>>& type_words() {
  static const std::map<std::string, std::uint8_t, std::less<>> kTypes{
      {"char", 1},     {"int8_t", 1},      {"uint8_t", 1},      {"bool", 1},
      {"_bool", 1},    {"atomic_bool", 1}, {"atomic_char", 1},  {"short", 2},
      {"int16_t", 2},  {"uint16_t", 2},    {"int32_t", 4},      {"uint32_t", 4},
      {"atomic_t", 4}, {"atomic_int", 4},  {"atomic_uint", 4},  {"long", 8},
      {"int64_t", 8},  {"uint64_t", 8},    {"intptr_t", 8},     {"uintptr_t", 8},
      {"size_t", 8},   {"atomic_long", 8}, {"atomic_ulong", 8}, {"int", 0},
      {"unsigned", 0}, {"signed", 0},      {"volatile", 0},     {"const", 0},
      {"_atomic", 0}};
  return kTypes;
}

void demand_first(bool first, Piece name) {
  if (first) return;
  throw SyntaxError{.at = name.at, .what = quoted(name.text) + " has an initial value already"};
}

/// "int t[2]={1,2}", and neither "[x]=1" nor "x=1".
bool is_array(Piece item) {
  const Piece left = item.part(0, std::min(item.text.find('='), item.text.size())).trimmed();
  return left.text.ends_with("]") && !left.text.starts_with("[");
}

/// "ATOMIC_INIT(1)" is 1.
Piece without_macro(Piece value) {
  constexpr std::string_view kMacro = "ATOMIC_INIT(";
  if (!value.text.starts_with(kMacro) || !value.text.ends_with(")")) return value;
  return value.part(kMacro.size(), value.text.size() - kMacro.size() - 1).trimmed();
}

}  // namespace

bool Builder::is_type_word(std::string_view word) {
  while (word.ends_with("*")) word.remove_suffix(1);
  return word.empty() || type_words().contains(lower(word));
}

std::uint8_t Builder::type_width(Piece type) {
  std::uint8_t width = 0;
  bool is_int = false;
  for (const Piece& word : words(type)) {
    std::string_view name = word.text;
    while (name.ends_with("*")) name.remove_suffix(1);
    if (name.empty()) continue;
    const std::string low = lower(name);
    const auto found = type_words().find(low);
    if (found == type_words().end()) {
      throw SyntaxError{.at = word.at,
                        .what = quoted(word.text) + (low.find("int128") != std::string::npos
                                                         ? " has 16 bytes; 1 to 8 are supported"
                                                         : " is no type of C")};
    }
    width = std::max(width, found->second);
    is_int = is_int || low == "int" || low == "unsigned" || low == "signed" || low == "_atomic";
  }
  return width == 0 && is_int ? kDefaultInt : width;
}

void Builder::initial_state(Piece block) {
  // Arrays first, because other items may name their addresses.
  const std::vector<Piece> items = split(block, ';');
  for (const bool arrays : {true, false}) {
    for (const Piece& item : items) {
      if (!item.empty() && is_array(item) == arrays) initial_item(item);
    }
  }
}

void Builder::initial_item(Piece item) {
  if (test.is_c() &&
      item.text.substr(0, item.text.find('=')).find_first_of(":(") != std::string_view::npos) {
    throw SyntaxError{
        .at = item.at,
        .what = quoted(item.text) + ": the initial state of a C test is of locations only"};
  }
  const std::size_t equals = item.text.find('=');
  const bool has_value = equals != std::string_view::npos;
  Piece left = item.part(0, equals).trimmed();
  const Piece right =
      has_value ? without_macro(item.part(equals + 1).trimmed()) : Piece{.text = {}, .at = item.at};
  if (has_value && right.empty()) {
    throw SyntaxError{.at = item.at, .what = quoted(item.text) + " has no value"};
  }
  if (is_entry(left.text)) {
    const std::size_t index = entry(left);
    demand_first(!entry_has_value_[index], left);
    entry_has_value_[index] = true;
    if (has_value) test.entries[index].initial = entry_value(right, test.entries[index]);
    return;
  }
  // What stands before the last word is a type.
  std::uint8_t width = 0;
  const std::size_t owner_end = std::min(left.text.find(':'), left.text.size());
  const std::size_t last = left.part(0, owner_end).trimmed().text.find_last_of(" \t\n*");
  if (last != std::string_view::npos) {
    const Piece type = left.part(0, last + 1);
    width = type_width(type);
    const bool named = std::any_of(type.text.begin(), type.text.end(), is_name_part);
    if (named && type.text.find('*') != std::string_view::npos) width = 8;
    left = left.part(last + 1);
  }
  const std::size_t colon = left.text.find(':');
  if (colon != std::string_view::npos) {
    initial_register(left.part(0, colon).trimmed(), left.part(colon + 1).trimmed(), right);
    return;
  }
  if (left.text.starts_with("[") && left.text.ends_with("]")) {
    left = left.part(1, left.text.size() - 2).trimmed();
  }
  if (left.text.ends_with("]") && !find_location(left.text)) {
    initial_array(left, right, width);
    return;
  }
  const std::size_t index = location(left);
  Location& made = test.locations[index];
  demand_first(!made.named, left);
  made.named = true;
  if (width != 0) {
    made.width = width;
    made.declared = true;
  }
  if (!has_value) return;
  const std::int64_t initial = value(right);
  // `value` may have made a location, so the reference is stale.
  test.locations[index].initial = initial;
  values_.emplace_back(index, right);
}

void Builder::initial_register(Piece cpu_name, Piece name, Piece right) {
  const std::uint32_t owner = cpu(cpu_name);
  cpus_.emplace_back(cpu_name, owner);
  if (lower(name.text) == "cr3") {
    const std::int64_t mm = constant(right);
    demand_mm(right, mm);
    for (const auto& [other, known_mm] : test.initial_mms) demand_first(other != owner, name);
    test.initial_mms.emplace_back(owner, static_cast<std::uint32_t>(mm));
    return;
  }
  const auto found = find_register(name.text);
  if (!found) {
    throw SyntaxError{.at = name.at, .what = quoted(name.text) + " is no register"};
  }
  if (found->number == kStackPointer) {
    throw SyntaxError{
        .at = name.at,
        .what = quoted(name.text) + ": the stack pointer has no value of its own here"};
  }
  for (const InitialRegister& other : test.registers) {
    demand_first(other.cpu != owner || other.number != found->number, name);
  }
  const std::int64_t initial = right.empty() ? 0 : value(right);
  demand_fits(right, initial, found->width);
  test.registers.push_back({.cpu = owner, .number = found->number, .value = initial});
}

void Builder::initial_array(Piece name, Piece values, std::uint8_t width) {
  constexpr std::int64_t kMost = 64;
  const std::size_t bracket = name.text.find('[');
  if (bracket == std::string_view::npos) {
    throw SyntaxError{.at = name.at, .what = quoted(name.text) + " is no name of a location"};
  }
  const std::string base(name.part(0, bracket).trimmed().text);
  const std::int64_t count =
      constant(name.part(bracket + 1, name.text.size() - bracket - 2).trimmed());
  if (count < 1 || count > kMost || !is_name(base) || is_register_name(base)) {
    throw SyntaxError{.at = name.at,
                      .what = quoted(name.text) + ": an array has a name and 1 to 64 elements"};
  }
  demand_first(!find_location(base) && !find_location(base + "[0]"), name);
  std::vector<Piece> initial;
  if (values.text.starts_with("{") && values.text.ends_with("}")) {
    initial = split(values.part(1, values.text.size() - 2), ',');
  } else if (!values.empty()) {
    throw SyntaxError{.at = values.at,
                      .what = quoted(values.text) + ": an array's values are {1, 2, ...}"};
  }
  if (initial.size() > static_cast<std::size_t>(count)) {
    throw SyntaxError{.at = values.at, .what = quoted(values.text) + " has too many values"};
  }
  const std::uint64_t first = next_address_;
  const std::uint8_t step = width == 0 ? 4 : width;
  for (std::int64_t i = 0; i < count; ++i) {
    const auto at = static_cast<std::size_t>(i);
    const std::int64_t element = at < initial.size() ? value(initial[at]) : 0;
    if (at < initial.size()) demand_fits(initial[at], element, step);
    const std::size_t index = make_location(base + "[" + std::to_string(i) + "]", name.at);
    Location& made = test.locations[index];
    made.address = first + (at * step);
    made.width = step;
    made.declared = true;
    made.named = at < initial.size();
    made.element = true;
    made.initial = element;
    if (i == 0) location_by_name_.emplace(base, index);
  }
  next_address_ = std::max(next_address_, first + kAddressStep);
}

}  // namespace shootdown::host::litmus
