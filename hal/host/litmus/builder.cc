#include "hal/host/litmus/builder.h"

#include <algorithm>
#include <utility>

#include "hal/host/machine.h"

namespace shootdown::host::litmus {

namespace {

struct Flag {
  std::string_view name;
  std::uint64_t bit;
};
constexpr std::array<Flag, 7> kFlags{{{"present", kPtePresent},
                                      {"writable", kPteWritable},
                                      {"accessed", kPteAccessed},
                                      {"dirty", kPteDirty},
                                      {"global", kPteGlobal},
                                      {"user", kPteUser},
                                      {"readonly", 0}}};

std::string_view without_suffix(std::string_view text, std::string_view suffixes) {
  if (!text.empty() && suffixes.find(text.back()) != std::string_view::npos) text.remove_suffix(1);
  return text;
}

/// R8 to R15, R8D, R8W, R8B.
std::optional<Register> numbered_register(const std::string& name) {
  if (name.size() < 2 || name[0] != 'r') return {};
  const std::optional<std::int64_t> index = number(without_suffix(name, "dwbl").substr(1));
  if (!index || *index < 8 || *index > 15) return {};
  std::uint8_t width = 8;
  if (name.back() == 'd') width = 4;
  if (name.back() == 'w') width = 2;
  if (name.back() == 'b' || name.back() == 'l') width = 1;
  return Register{.number = static_cast<std::uint8_t>(*index), .width = width};
}

}  // namespace

std::optional<Register> find_register(std::string_view name) {
  if (!name.empty() && name[0] == '%') name.remove_prefix(1);
  const std::string low = lower(name);
  struct Names {
    std::string_view word;  // the 16-bit name
    std::string_view byte;
  };
  static constexpr std::array<Names, 8> kNames{{{"ax", "al"},
                                                {"bx", "bl"},
                                                {"cx", "cl"},
                                                {"dx", "dl"},
                                                {"si", "sil"},
                                                {"di", "dil"},
                                                {"bp", "bpl"},
                                                {"sp", "spl"}}};
  static_assert(kNames[kStackPointer].word == "sp");
  for (std::uint8_t i = 0; i < kNames.size(); ++i) {
    if (low == kNames[i].word) return Register{.number = i, .width = 2};
    if (low == kNames[i].byte) return Register{.number = i, .width = 1};
    if (low.size() != 3 || low.substr(1) != kNames[i].word) continue;
    if (low[0] == 'e') return Register{.number = i, .width = 4};
    if (low[0] == 'r') return Register{.number = i, .width = 8};
  }
  return numbered_register(low);
}

std::optional<std::size_t> Builder::find_location(std::string_view name) const {
  const auto found = location_by_name_.find(name);
  if (found == location_by_name_.end()) return {};
  return found->second;
}

bool Builder::is_far(std::string_view name) const {
  const std::string* line = test.find("Far");
  if (line == nullptr) return false;
  const std::vector<Piece> names = words({.text = *line});
  return std::any_of(names.begin(), names.end(),
                     [&](const Piece& one) { return one.text == name; });
}

std::size_t Builder::location(std::string_view name) {
  if (const auto found = find_location(name)) return *found;
  const std::size_t index = test.locations.size();
  Location made;
  made.name = name;
  std::uint64_t& next = is_far(name) ? next_far_address_ : next_address_;
  made.address = std::exchange(next, next + kAddressStep);
  test.locations.push_back(made);
  location_by_name_.emplace(name, index);
  return index;
}

std::size_t Builder::location(Piece name) {
  const std::size_t bracket = name.text.find('[');
  if (bracket == std::string_view::npos) {
    if (!is_name(name.text)) {
      throw SyntaxError{.line = name.line, .what = quoted(name.text) + " is no name of a location"};
    }
    return location(name.text);
  }
  const std::string base(name.part(0, bracket).trimmed().text);
  const std::size_t close = name.text.find(']', bracket);
  const auto index = close == std::string_view::npos
                         ? std::nullopt
                         : number(name.part(bracket + 1, close - bracket - 1).trimmed().text);
  if (!index) {
    throw SyntaxError{.line = name.line, .what = quoted(name.text) + ": an index is a number"};
  }
  const auto found = find_location(base + "[" + std::to_string(*index) + "]");
  if (!found) {
    throw SyntaxError{.line = name.line,
                      .what = quoted(name.text) +
                              " is not an element of an array that the initial "
                              "state declares"};
  }
  return *found;
}

std::size_t Builder::stack_slot(std::uint32_t column, std::int64_t displacement) {
  const std::string name =
      "stack of P" + std::to_string(column) + " at " + std::to_string(displacement);
  const std::size_t index = location(std::string_view(name));
  test.locations[index].hidden = true;
  return index;
}

bool Builder::is_entry(std::string_view text) {
  const std::string low = lower(text.substr(0, 4));
  return low == "pte(" || low == "pde(";
}

std::size_t Builder::entry(Piece text) {
  const std::size_t close = text.text.rfind(')');
  if (close == std::string_view::npos) {
    throw SyntaxError{.line = text.line, .what = quoted(text.text) + " has no ')'"};
  }
  const std::vector<Piece> arguments = split(text.part(4, close - 4), ',');
  if (arguments.empty() || arguments.size() > 2) {
    throw SyntaxError{.line = text.line,
                      .what = quoted(text.text) +
                              ": an entry is PTE(page), PTE(page,space) or "
                              "PTE(page,table), and PDE likewise"};
  }
  Entry wanted;
  wanted.upper = lower(text.text.substr(0, 3)) == "pde";
  wanted.page = location(arguments[0]);
  test.locations[wanted.page].place = Place::page;
  if (arguments.size() == 2) {
    if (const auto space = number(arguments[1].text)) {
      if (*space < 1 || *space > 7) {
        throw SyntaxError{.line = text.line, .what = "address spaces have numbers 1 to 7"};
      }
      wanted.space = static_cast<std::uint32_t>(*space);
    } else {
      wanted.table = location(arguments[1]);
      test.locations[wanted.table].place = Place::table;
    }
  }
  const auto found = std::find(test.entries.begin(), test.entries.end(), wanted);
  if (found != test.entries.end()) return static_cast<std::size_t>(found - test.entries.begin());
  test.entries.push_back(wanted);
  return test.entries.size() - 1;
}

std::uint64_t Builder::entry_value(Piece text) {
  if (!text.text.starts_with("(") || !text.text.ends_with(")")) {
    if (const auto plain = number(text.text)) return static_cast<std::uint64_t>(*plain);
    throw SyntaxError{.line = text.line,
                      .what = quoted(text.text) + ": an entry's value is (frame, flags...)"};
  }
  std::uint64_t result = 0;
  bool first = true;
  for (const Piece& part : split(text.part(1, text.text.size() - 2), ',')) {
    const std::string low = lower(part.text);
    const auto* const flag =
        std::find_if(kFlags.begin(), kFlags.end(), [&](const Flag& f) { return f.name == low; });
    if (low == "absent") {
      // Says that no flag is set.
    } else if (flag != kFlags.end()) {
      result |= flag->bit;
    } else if (first) {
      const std::size_t index = location(part);
      Place& place = test.locations[index].place;
      if (place == Place::page) {
        throw SyntaxError{.line = part.line,
                          .what = quoted(part.text) + " is a page, and entries name frames"};
      }
      if (place == Place::word) place = low == "main" ? Place::table : Place::frame;
      result |= test.locations[index].address;
    } else {
      throw SyntaxError{.line = part.line,
                        .what = quoted(part.text) +
                                " is no flag of an entry; they are present, "
                                "absent, writable, accessed, dirty, global"};
    }
    first = false;
  }
  return result | kPteUser;
}

std::int64_t Builder::constant(Piece text) {
  const auto found = number(text.text);
  if (!found) throw SyntaxError{.line = text.line, .what = quoted(text.text) + " is no number"};
  return *found;
}

std::int64_t Builder::value(Piece text) {
  if (const auto plain = number(text.text)) return *plain;
  const Piece name = text.text.starts_with("&") ? text.part(1).trimmed() : text;
  return static_cast<std::int64_t>(test.locations[location(name)].address);
}

std::uint32_t Builder::cpu(Piece text) {
  std::string_view digits = text.text;
  if (!digits.empty() && (digits[0] == 'P' || digits[0] == 'p')) digits.remove_prefix(1);
  const auto found = number(digits);
  if (!found || *found < 0 || *found >= kHostCpus) {
    throw SyntaxError{
        .line = text.line,
        .what = quoted(text.text) + " is no CPU; they are P0 to P" + std::to_string(kHostCpus - 1)};
  }
  return static_cast<std::uint32_t>(*found);
}

}  // namespace shootdown::host::litmus
