#include "litmus/builder.h"

#include <algorithm>
#include <utility>

#include "hal/host/machine.h"

namespace shootdown::host::litmus {

namespace {

struct Flag {
  std::string_view name;
  std::uint64_t bit;
};
constexpr std::array<Flag, 10> kFlags{{{"present", kPtePresent},
                                       {"writable", kPteWritable},
                                       {"accessed", kPteAccessed},
                                       {"dirty", kPteDirty},
                                       {"global", kPteGlobal},
                                       {"large", kPteLarge},
                                       {"user", kPteUser},
                                       {"supervisor", 0},
                                       {"nx", kPteNoExecute},
                                       {"readonly", 0}}};

std::string_view without_suffix(std::string_view text, std::string_view suffixes) {
  if (!text.empty() && suffixes.find(text.back()) != std::string_view::npos) text.remove_suffix(1);
  return text;
}

/// A name of so many digits behind `prefix`.
bool is_numbered(std::string_view name, std::string_view prefix) {
  if (!name.starts_with(prefix)) return false;
  name.remove_prefix(prefix.size());
  return !name.empty() && name.size() <= 2 &&
         std::all_of(name.begin(), name.end(), [](char c) { return c >= '0' && c <= '9'; });
}

/// R8 to R15, R8D, R8W, R8B.
std::optional<Register> numbered_register(const std::string& name) {
  const std::string_view plain = without_suffix(name, "dwbl");
  if (!is_numbered(plain, "r")) return {};
  const std::optional<std::int64_t> index = number(plain.substr(1));
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
  for (std::size_t position = 0; position < kNames.size(); ++position) {
    const auto i = static_cast<std::uint8_t>(position);
    if (low == kNames[i].word) return Register{.number = i, .width = 2};
    if (low == kNames[i].byte) return Register{.number = i, .width = 1};
    if (low.size() != 3 || low.substr(1) != kNames[i].word) continue;
    if (low[0] == 'e') return Register{.number = i, .width = 4};
    if (low[0] == 'r') return Register{.number = i, .width = 8};
  }
  return numbered_register(low);
}

bool is_register_name(std::string_view name) {
  if (find_register(name)) return true;
  if (name.starts_with("%")) name.remove_prefix(1);
  const std::string low = lower(name);
  static constexpr std::array<std::string_view, 12> kOthers{"ah", "bh", "ch", "dh", "cs",  "ds",
                                                            "es", "fs", "gs", "ss", "eip", "rip"};
  static constexpr std::array<std::string_view, 6> kNumbered{"cr", "dr", "tr", "xmm", "ymm", "zmm"};
  return std::find(kOthers.begin(), kOthers.end(), low) != kOthers.end() ||
         std::any_of(kNumbered.begin(), kNumbered.end(),
                     [&](std::string_view prefix) { return is_numbered(low, prefix); });
}

std::optional<std::size_t> Builder::find_location(std::string_view name) const {
  const auto found = location_by_name_.find(name);
  if (found == location_by_name_.end()) return {};
  return found->second;
}

std::size_t Builder::make_location(std::string_view name, std::size_t at) {
  const std::size_t index = test.locations.size();
  if (index == kMostLocations) {
    throw SyntaxError{.at = at,
                      .what = quoted(name) + " is one location too many; a test has " +
                              std::to_string(kMostLocations) + " at most"};
  }
  Location made;
  made.name = name;
  made.at = at;
  std::uint64_t& next = test.lists("Far", name) ? next_far_address_ : next_address_;
  made.address = std::exchange(next, next + kAddressStep);
  test.locations.push_back(made);
  location_by_name_.emplace(name, index);
  return index;
}

void Builder::mention(std::size_t index, Piece name) {
  Location& location = test.locations[index];
  if (location.mentions++ == 0) location.at = name.at;
}

std::size_t Builder::location(Piece name) {
  if (part_ == Part::final || name.text.find('[') != std::string_view::npos) return known(name);
  auto found = find_location(name.text);
  if (!found) {
    if (!is_name(name.text)) {
      throw SyntaxError{.at = name.at, .what = quoted(name.text) + " is no name of a location"};
    }
    const bool is_register = !test.is_c() && is_register_name(name.text);
    if (is_register || is_type_word(name.text)) {
      throw SyntaxError{.at = name.at,
                        .what = quoted(name.text) +
                                (is_register ? " is a register" : " is a type") +
                                ", and no name of a location"};
    }
    found = make_location(name.text, name.at);
  }
  mention(*found, name);
  return *found;
}

std::size_t Builder::known(Piece name) {
  std::string wanted(name.text);
  const std::size_t bracket = name.text.find('[');
  if (bracket != std::string_view::npos) {
    const std::size_t close = name.text.find(']', bracket);
    const auto index = close + 1 != name.text.size()
                           ? std::nullopt
                           : number(name.part(bracket + 1, close - bracket - 1).trimmed().text);
    if (!index) {
      throw SyntaxError{.at = name.at, .what = quoted(name.text) + ": an index is a number"};
    }
    wanted = std::string(name.part(0, bracket).trimmed().text) + "[" + std::to_string(*index) + "]";
  }
  const auto found = find_location(wanted);
  if (found) {
    mention(*found, name);
    return *found;
  }
  if (bracket != std::string_view::npos) {
    throw SyntaxError{.at = name.at,
                      .what = quoted(name.text) +
                              " is not an element of an array that the initial "
                              "state declares"};
  }
  if (!test.is_c() && is_register_name(name.text)) {
    throw SyntaxError{.at = name.at,
                      .what = quoted(name.text) + (part_ == Part::program
                                                       ? " is a register that cannot stand here"
                                                       : " is a register; say of which CPU, as in "
                                                         "0:EAX")};
  }
  throw SyntaxError{
      .at = name.at,
      .what = quoted(name.text) + (part_ == Part::program
                                       ? " is no register, and no location of the initial state"
                                       : " is named nowhere before")};
}

void Builder::set_place(std::size_t index, Place place, Piece text) {
  Location& location = test.locations[index];
  if (location.place == place) return;
  const auto name_of = [](Place one) {
    switch (one) {
      case Place::word:
        return "word";
      case Place::page:
        return "page";
      case Place::frame:
        return "frame";
      case Place::table:
        return "page table";
    }
    return "unknown";
  };
  if (location.place == Place::word && !location.element) {
    location.place = place;
    return;
  }
  throw SyntaxError{.at = text.at,
                    .what = quoted(location.name) + " is a " +
                            (location.element ? "part of an array" : name_of(location.place)) +
                            ", and cannot be a " + name_of(place)};
}

std::size_t Builder::stack_slot(std::uint32_t column, std::int64_t displacement) {
  const std::string name =
      "stack of P" + std::to_string(column) + " at " + std::to_string(displacement);
  const auto found = find_location(name);
  const std::size_t index = found ? *found : make_location(name, 0);
  test.locations[index].hidden = true;
  return index;
}

namespace {

/// Of "PTE" and the others, 0 of another word.
unsigned level_of_entry(std::string_view name) {
  static constexpr std::array<std::string_view, 5> kNames{"pte", "pde", "pdpte", "pml4e", "pml5e"};
  const auto* const found = std::find(kNames.begin(), kNames.end(), lower(name));
  return found == kNames.end() ? 0 : static_cast<unsigned>(found - kNames.begin()) + 1;
}

}  // namespace

bool Builder::is_entry(std::string_view text) {
  return level_of_entry(text.substr(0, std::min(text.find('('), text.size()))) != 0;
}

std::size_t Builder::entry(Piece text) {
  const std::size_t close = text.text.rfind(')');
  if (close == std::string_view::npos) {
    throw SyntaxError{.at = text.at, .what = quoted(text.text) + " has no ')'"};
  }
  if (close + 1 != text.text.size()) {
    throw SyntaxError{.at = text.part(close + 1).at,
                      .what = quoted(text.text) + ": nothing may follow the entry here"};
  }
  const std::size_t open = text.text.find('(');
  const std::vector<Piece> arguments = split(text.part(open + 1, close - open - 1), ',');
  if (arguments.empty() || arguments.size() > 2) {
    throw SyntaxError{.at = text.at,
                      .what = quoted(text.text) +
                              ": an entry is PTE(page), PTE(page,mm) or "
                              "PTE(page,table), and PDE likewise"};
  }
  Entry wanted;
  wanted.level = level_of_entry(text.text.substr(0, open));
  if (wanted.level == 5 && !test.lists("Hardware", "five_levels")) {
    throw SyntaxError{.at = text.at,
                      .what = quoted(text.text) + " needs the line 'Hardware=five_levels'"};
  }
  wanted.page = part_ == Part::initial ? location(arguments[0]) : known(arguments[0]);
  if (part_ != Part::initial && test.locations[wanted.page].place != Place::page) {
    throw SyntaxError{
        .at = arguments[0].at,
        .what = quoted(arguments[0].text) + " is no page; give it an entry in the initial state"};
  }
  set_place(wanted.page, Place::page, arguments[0]);
  if (arguments.size() == 2) {
    if (const auto mm = number(arguments[1].text)) {
      demand_mm(arguments[1], *mm);
      wanted.mm = static_cast<std::uint32_t>(*mm);
    } else if (wanted.is_upper()) {
      throw SyntaxError{.at = text.at,
                        .what = quoted(text.text) + ": a page table holds no upper entries"};
    } else {
      wanted.table = part_ == Part::initial ? location(arguments[1]) : known(arguments[1]);
      set_place(wanted.table, Place::table, arguments[1]);
    }
  }
  const auto found = std::find(test.entries.begin(), test.entries.end(), wanted);
  if (found != test.entries.end()) return static_cast<std::size_t>(found - test.entries.begin());
  test.entries.push_back(wanted);
  entry_has_value_.push_back(false);
  return test.entries.size() - 1;
}

std::uint64_t Builder::entry_value(Piece text, const Entry& of) {
  if (!text.text.starts_with("(") || !text.text.ends_with(")")) {
    if (number(text.text) == 0) return 0;
    throw SyntaxError{.at = text.at,
                      .what = quoted(text.text) + ": an entry's value is (frame, flags...), or 0"};
  }
  const std::vector<Piece> parts = split(text.part(1, text.text.size() - 2), ',');
  const auto find_flag = [](const Piece& part) {
    const std::string low = lower(part.text);
    return std::find_if(kFlags.begin(), kFlags.end(), [&](const Flag& f) { return f.name == low; });
  };
  const auto has = [&](std::string_view flag) {
    return std::any_of(parts.begin(), parts.end(),
                       [&](const Piece& part) { return lower(part.text) == flag; });
  };
  std::uint64_t result = 0;
  for (const Piece& part : parts) {
    const auto* const flag = find_flag(part);
    if (lower(part.text) == "absent") continue;
    if (flag == kFlags.end() && part.at != parts[0].at) {
      throw SyntaxError{
          .at = part.at,
          .what = quoted(part.text) +
                  " is no flag of an entry; they are present, absent, writable, "
                  "readonly, accessed, dirty, global, user, supervisor, nx, and large in a "
                  "PDE"};
    }
    result |= flag != kFlags.end() ? flag->bit
                                   : named_frame(part, of.maps_page(has("large") ? kPteLarge : 0));
  }
  const bool present = (result & kPtePresent) != 0;
  const bool contradicts = (present && has("absent")) || (has("readonly") && has("writable")) ||
                           (has("supervisor") && has("user")) ||
                           (has("large") && of.level != 2 && of.level != 3);
  if (contradicts) {
    throw SyntaxError{.at = text.at, .what = quoted(text.text) + " contradicts itself"};
  }
  if (present && (result & ~kEntryFlags) == 0) {
    throw SyntaxError{.at = text.at,
                      .what = quoted(text.text) + " is present, but names no " +
                              (of.maps_page(result) ? "frame" : "page table")};
  }
  return has("supervisor") ? result : result | kPteUser;
}

/// The address of what an entry leads to.
std::uint64_t Builder::named_frame(Piece name, bool is_leaf) {
  const std::size_t index = part_ == Part::initial ? location(name) : known(name);
  if (test.locations[index].place == Place::page) {
    throw SyntaxError{.at = name.at,
                      .what = quoted(name.text) + " is a page, and entries name frames"};
  }
  set_place(index, is_leaf ? Place::frame : Place::table, name);
  return test.locations[index].address;
}

void Builder::demand_mm(Piece text, std::int64_t mm) {
  if (mm >= 1 && mm <= kMostMms) return;
  throw SyntaxError{
      .at = text.at,
      .what = quoted(text.text) + ": address spaces have numbers 1 to " + std::to_string(kMostMms)};
}

void Builder::demand_fits(Piece text, std::int64_t value, std::uint8_t width) {
  if (width == 0 || width >= 8) return;
  const unsigned bits = 8U * width;
  const std::int64_t least = -(std::int64_t{1} << (bits - 1));
  if (value >= least && value < std::int64_t{1} << bits) return;
  throw SyntaxError{.at = text.at,
                    .what = quoted(text.text) + " does not fit into " + std::to_string(width) +
                            (width == 1 ? " byte" : " bytes")};
}

std::int64_t Builder::constant(Piece text) {
  const auto found = number(text.text);
  if (!found) throw SyntaxError{.at = text.at, .what = quoted(text.text) + " is no number"};
  return *found;
}

std::int64_t Builder::value(Piece text) {
  if (const auto plain = number(text.text)) return *plain;
  const Piece name = text.text.starts_with("&") ? text.part(1).trimmed() : text;
  const std::size_t index = part_ == Part::initial ? location(name) : known(name);
  test.locations[index].by_address = true;
  return static_cast<std::int64_t>(test.locations[index].address);
}

std::uint32_t Builder::cpu(Piece text) {
  std::string_view digits = text.text;
  if (!digits.empty() && (digits[0] == 'P' || digits[0] == 'p')) digits.remove_prefix(1);
  const auto found = digits.size() == 1 ? number(digits) : std::nullopt;
  if (!found || *found < 0 || *found >= kHostCpus) {
    throw SyntaxError{
        .at = text.at,
        .what = quoted(text.text) + " is no CPU; they are P0 to P" + std::to_string(kHostCpus - 1)};
  }
  return static_cast<std::uint32_t>(*found);
}

}  // namespace shootdown::host::litmus
