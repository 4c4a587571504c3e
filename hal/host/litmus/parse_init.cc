// The initial state: "x=1; int64_t 0:rax=y; t[2]={1,2}; PTE(p)=(a,present);".
#include <algorithm>
#include <map>

#include "hal/host/litmus/builder.h"

namespace shootdown::host::litmus {

namespace {

/// Bytes of a C type's name; 0 if it is none.
std::uint8_t type_width(const std::string& word) {
  static const std::map<std::string, std::uint8_t> kTypes{
      {"char", 1},     {"int8_t", 1},   {"uint8_t", 1},  {"short", 2},     {"int16_t", 2},
      {"uint16_t", 2}, {"int", 4},      {"int32_t", 4},  {"uint32_t", 4},  {"unsigned", 4},
      {"long", 8},     {"int64_t", 8},  {"uint64_t", 8}, {"intptr_t", 8},  {"uintptr_t", 8},
      {"size_t", 8},   {"volatile", 0}, {"const", 0},    {"atomic_int", 4}};
  const auto found = kTypes.find(word);
  return found == kTypes.end() ? 0 : found->second;
}

std::string_view without_stars(std::string_view word) {
  while (!word.empty() && word.back() == '*') word.remove_suffix(1);
  return word;
}

/// "int t[2]={1,2}", and neither "[x]=1" nor "x=1".
bool is_array(Piece item) {
  const Piece left = item.part(0, std::min(item.text.find('='), item.text.size())).trimmed();
  return left.text.ends_with("]") && !left.text.starts_with("[");
}

}  // namespace

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
  const std::size_t equals = item.text.find('=');
  const bool has_value = equals != std::string_view::npos;
  Piece left = item.part(0, equals).trimmed();
  const Piece right =
      has_value ? item.part(equals + 1).trimmed() : Piece{.text = {}, .line = item.line};
  if (has_value && right.empty()) {
    throw SyntaxError{.line = item.line, .what = quoted(item.text) + " has no value"};
  }
  if (is_entry(left.text)) {
    const std::size_t index = entry(left);
    test.entries[index].initial = has_value ? entry_value(right) : 0;
    return;
  }
  // What stands before the last word is a type.
  std::uint8_t width = 0;
  const std::size_t last = left.text.find_last_of(" \t\n*");
  if (last != std::string_view::npos) {
    const Piece type = left.part(0, last + 1);
    for (const Piece& word : words(type)) {
      width = std::max(width, type_width(lower(without_stars(word.text))));
    }
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
  Location& made = test.locations[location(left)];
  made.named = true;
  if (width != 0) {
    made.width = width;
    made.declared = true;
  }
  if (has_value) {
    const std::int64_t initial = value(right);
    // `value` may have made a location, so the reference is stale.
    test.locations[location(left)].initial = initial;
  }
}

void Builder::initial_register(Piece cpu_name, Piece name, Piece right) {
  const std::uint32_t owner = cpu(cpu_name);
  if (lower(name.text) == "cr3") {
    test.initial_spaces.emplace_back(owner, static_cast<std::uint32_t>(constant(right)));
    return;
  }
  const auto found = find_register(name.text);
  if (!found) {
    throw SyntaxError{.line = name.line, .what = quoted(name.text) + " is no register"};
  }
  const std::int64_t initial = right.empty() ? 0 : value(right);
  test.registers.push_back({.cpu = owner, .number = found->number, .value = initial});
}

void Builder::initial_array(Piece name, Piece values, std::uint8_t width) {
  constexpr std::int64_t kMost = 64;
  const std::size_t bracket = name.text.find('[');
  const std::string base(name.part(0, bracket).trimmed().text);
  const std::int64_t count =
      constant(name.part(bracket + 1, name.text.size() - bracket - 2).trimmed());
  if (count < 1 || count > kMost || !is_name(base)) {
    throw SyntaxError{.line = name.line,
                      .what = quoted(name.text) + ": an array has a name and 1 to 64 elements"};
  }
  std::vector<Piece> initial;
  if (values.text.starts_with("{") && values.text.ends_with("}")) {
    initial = split(values.part(1, values.text.size() - 2), ',');
  }
  const std::uint64_t first = next_address_;
  const std::uint8_t step = width == 0 ? 4 : width;
  for (std::int64_t i = 0; i < count; ++i) {
    const auto at = static_cast<std::size_t>(i);
    const std::int64_t element = at < initial.size() ? value(initial[at]) : 0;
    const std::size_t index = location(base + "[" + std::to_string(i) + "]");
    Location& made = test.locations[index];
    made.address = first + (at * step);
    made.width = step;
    made.declared = true;
    made.named = true;
    made.initial = element;
    if (i == 0) location_by_name_.emplace(base, index);
  }
  next_address_ = std::max(next_address_, first + kAddressStep);
}

}  // namespace shootdown::host::litmus
