#include "litmus/test.h"

#include <algorithm>

#include "litmus/text.h"

namespace shootdown::host::litmus {

namespace {

constexpr std::uint64_t kWritable = 2;
constexpr std::uint64_t kUser = 4;
constexpr std::uint64_t kNoExecute = std::uint64_t{1} << 63;

/// The rights that accesses to the page need, as bits of an entry that gives them or does not.
struct Needed {
  std::uint64_t set{0};
  std::uint64_t clear{0};
};

Needed needed_of(const Test& test, std::size_t page) {
  Needed needed;
  for (const Column& column : test.columns) {
    for (const Instruction& made : column.code) {
      const auto is_page = [&](const Operand& one) {
        return one.kind == OperandKind::memory &&
               (one.has_base || one.has_index || one.location == page);
      };
      const bool writes = is_page(made.operands[0]);
      const bool reads = is_page(made.operands[1]);
      if (writes || (reads && made.op == Op::xchg)) needed.set |= kWritable;
      if ((writes || reads) && column.role == Role::cpu) needed.set |= kUser;
      if (reads && made.executes) needed.clear |= kNoExecute;
    }
  }
  return needed;
}

/// Whether the instruction names one of these two bits of an entry.
bool names_user_or_nx(const Instruction& made, const Operand& from) {
  if (from.kind != OperandKind::immediate) return false;
  const auto value = static_cast<std::uint64_t>(from.value);
  const bool by_number = made.op == Op::bit_set || made.op == Op::bit_reset;
  const std::uint64_t mask = by_number ? std::uint64_t{1} << (value % 64) : value;
  return ((made.op == Op::bit_and ? ~mask : mask) & (kUser | kNoExecute)) != 0;
}

/// Whether an entry on the way to the page changes, and one is present without a right that is
/// needed.
bool may_gain_right(const Test& test, std::size_t page) {
  constexpr std::uint64_t kPresent = 1;
  const Needed needed = needed_of(test, page);
  const auto is_restricted = [&](std::uint64_t value) {
    return (value & kPresent) != 0 &&
           ((value & needed.set) != needed.set || (value & needed.clear) != 0);
  };
  const std::uint64_t region = test.locations[page].address / kRegionBytes;
  const auto is_on_way = [&](std::size_t entry) {
    const Entry& one = test.entries[entry];
    const bool same_region = test.locations[one.page].address / kRegionBytes == region;
    return one.page == page || (one.level == 2 && same_region) || one.level > 2;
  };
  bool restricted = false;
  bool changes = false;
  for (std::size_t i = 0; i < test.entries.size(); ++i) {
    restricted = restricted || (is_on_way(i) && is_restricted(test.entries[i].initial));
  }
  for (const Column& column : test.columns) {
    for (const Instruction& made : column.code) {
      const Operand& to = made.operands[made.operands[0].kind == OperandKind::entry ? 0 : 1];
      const Operand& from = made.operands[made.operands[0].kind == OperandKind::entry ? 1 : 0];
      const bool reads = made.op == Op::mov && made.operands[1].kind == OperandKind::entry;
      if (to.kind != OperandKind::entry || reads || !is_on_way(to.entry)) continue;
      changes = true;
      const bool known = made.op == Op::mov && from.kind == OperandKind::immediate;
      const bool may_write_less = !known && (needed.set & kWritable) != 0;
      restricted = restricted || may_write_less || (!known && names_user_or_nx(made, from)) ||
                   (known && is_restricted(static_cast<std::uint64_t>(from.value)));
    }
  }
  return restricted && changes && needed.set != 0;
}

}  // namespace

bool Test::lists(const std::string& key, std::string_view word) const {
  const std::string* line = find(key);
  if (line == nullptr) return false;
  const std::vector<Piece> listed = words({.text = *line});
  return std::any_of(listed.begin(), listed.end(),
                     [&](const Piece& one) { return one.text == word; });
}

bool Test::changes_level(unsigned level) const {
  const auto is_of_level = [&](const Operand& one) {
    return one.kind == OperandKind::entry && entries[one.entry].level == level;
  };
  return has_instruction([&](const Instruction& made) {
    return is_of_level(made.operands[0]) || (made.op == Op::xchg && is_of_level(made.operands[1]));
  });
}

bool Test::has_early_walks() const {
  if (find("Walks") != nullptr) return says("Walks", "early");
  for (unsigned level = 2; level <= kMostLevels; ++level) {
    if (changes_level(level)) return true;
  }
  return false;
}

std::vector<std::uint64_t> Test::evictions() const {
  std::vector<std::uint64_t> pages;
  if (says("Evictions", "off")) return pages;
  for (std::size_t i = 0; i < locations.size(); ++i) {
    if (locations[i].place != Place::page) continue;
    if (says("Evictions", "on") || may_gain_right(*this, i)) {
      pages.push_back(locations[i].address);
    }
  }
  return pages;
}

std::vector<std::pair<std::uint64_t, unsigned>> Test::speculative_walks() const {
  std::vector<std::pair<std::uint64_t, unsigned>> walks;
  if (says("Fills", "off")) return walks;
  std::vector<std::uint64_t> regions;
  for (const Location& location : locations) {
    if (location.place != Place::page) continue;
    walks.emplace_back(location.address, 1);
    const std::uint64_t region = location.address / kRegionBytes;
    if (std::find(regions.begin(), regions.end(), region) != regions.end()) continue;
    regions.push_back(region);
    if (has_early_walks()) walks.emplace_back(location.address, 2);
    // All pages lie in one GiB.
    for (unsigned level = 3; regions.size() == 1 && level <= kMostLevels; ++level) {
      if (changes_level(level) && has_early_walks()) walks.emplace_back(location.address, level);
    }
  }
  return walks;
}

}  // namespace shootdown::host::litmus
