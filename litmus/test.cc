#include "litmus/test.h"

#include <algorithm>

namespace shootdown::host::litmus {

namespace {

/// The level of an entry that links a page table.
constexpr unsigned kUpperLevel = 2;

}  // namespace

bool Test::has_early_walks() const {
  if (find("Walks") != nullptr) return says("Walks", "early");
  const auto is_upper = [&](const Operand& one) {
    return one.kind == OperandKind::entry && entries[one.entry].upper;
  };
  return std::any_of(columns.begin(), columns.end(), [&](const Column& column) {
    return std::any_of(column.code.begin(), column.code.end(), [&](const Instruction& made) {
      return is_upper(made.operands[0]) || (made.op == Op::xchg && is_upper(made.operands[1]));
    });
  });
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
    if (has_early_walks()) walks.emplace_back(location.address, kUpperLevel);
  }
  return walks;
}

}  // namespace shootdown::host::litmus
