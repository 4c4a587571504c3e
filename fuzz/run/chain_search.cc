#include "fuzz/run/chain_search.h"

#include <array>
#include <span>

namespace shootdown::fuzz {

namespace {

/// Where a chain happens: a region that begins with nothing mapped, so that a chain begins with a
/// large page, or small pages that are there.
struct Region {
  unsigned page;
  bool is_empty;
  std::span<const OpKind> kinds;
};

constexpr auto kLarge = [] {
  using enum OpKind;
  return std::to_array<OpKind>({map, read, write, split, collapse, unmap, free_table,
                                reclaim_tables, reclaim, batch_flush, clean, walk});
}();
constexpr auto kSmall = [] {
  using enum OpKind;
  return std::to_array<OpKind>(
      {read, write, unmap, map, reclaim, batch_flush, reclaim_tables, move, fork, cow, idle});
}();
constexpr std::array kRegions{Region{kSmallPages, true, kLarge}, Region{0, false, kSmall}};

/// What decides how a flush is done.
using Configure = void (*)(Header& header);
constexpr Configure kConfigurations[] = {
    [](Header&) {},
    [](Header& header) { header.backend = Backend::kvm; },
    [](Header& header) { header.backend = Backend::hyperv; },
    [](Header& header) { header.backend = Backend::xen; },
    [](Header& header) { header.backend = Backend::uv_bau; },
    [](Header& header) { header.broadcast = true; },
    [](Header& header) { header.pti = header.defer_user_pages = true; },
    [](Header& header) { header.tso = header.defer_tables = true; },
    [](Header& header) { header.lazy_masks = header.by_loaded_mm = true; },
};

/// How many operations each CPU has, in order. A chain on one CPU has no other to be in conflict
/// with.
constexpr std::array<std::array<std::uint8_t, 3>, 10> kShares{{
    {1, 1, 0},
    {2, 1, 0},
    {1, 2, 0},
    {1, 1, 1},
    {3, 1, 0},
    {2, 2, 0},
    {1, 3, 0},
    {2, 1, 1},
    {1, 2, 1},
    {1, 1, 2},
}};

unsigned length_of(const std::array<std::uint8_t, 3>& shares) {
  return shares[0] + shares[1] + shares[2];
}

/// Chains of one region and one way to share them out. The first operation in an empty region is
/// `map`.
std::uint64_t chains(const Region& region, const std::array<std::uint8_t, 3>& shares) {
  std::uint64_t count = 1;
  for (unsigned i = region.is_empty ? 1 : 0; i < length_of(shares); ++i)
    count *= region.kinds.size();
  return count;
}

std::uint64_t families_of(const Region& region) {
  std::uint64_t count = 0;
  for (const auto& shares : kShares) count += chains(region, shares);
  return count * std::size(kConfigurations);
}

Op operation(const Region& region, OpKind kind) {
  Op op{.kind = kind};
  op.page = static_cast<std::uint8_t>(region.page);
  // To the next page, or to the other mm, which is a child then.
  if (kind == OpKind::move || kind == OpKind::fork) op.count = 2;
  return op;
}

void fill(const Region& region, const std::array<std::uint8_t, 3>& shares, std::uint64_t chain,
          Scenario& scenario) {
  scenario.header.cpus = shares[2] == 0 ? 2 : 3;
  bool is_first = region.is_empty;
  for (unsigned cpu = 0; cpu < shares.size(); ++cpu) {
    for (unsigned i = 0; i < shares[cpu]; ++i) {
      const std::size_t kinds = region.kinds.size();
      const OpKind kind = is_first ? OpKind::map : region.kinds[chain % kinds];
      if (!is_first) chain /= kinds;
      is_first = false;
      scenario.ops[cpu].push_back(operation(region, kind));
    }
  }
}

/// A prime larger than all factors of the numbers of families.
constexpr std::uint64_t kStride = 2'654'435'761;

constexpr unsigned kLongestDelay = 255;

}  // namespace

std::uint64_t ChainSearch::families() {
  return families_of(kRegions[0]) + families_of(kRegions[1]);
}

/// The regions take turns until the one with fewer families has no more.
void ChainSearch::make(std::uint64_t number, Scenario& scenario) {
  const std::uint64_t large = families_of(kRegions[0]);
  const bool turns = number < 2 * large;
  const Region& region = kRegions[turns ? number % 2 : 1];
  number = turns ? number / 2 : number - large;
  // Families that follow each other differ in everything.
  const std::uint64_t all = families_of(region);
  number = number % all * kStride % all;
  scenario = Scenario{};
  kConfigurations[number % std::size(kConfigurations)](scenario.header);
  number /= std::size(kConfigurations);
  for (const auto& shares : kShares) {
    const std::uint64_t here = chains(region, shares);
    if (number < here) {
      fill(region, shares, number, scenario);
      break;
    }
    number -= here;
  }
  normalise(scenario);
}

bool ChainSearch::run(std::uint64_t number, const std::function<bool()>& each) {
  make(number, scenario_);
  return run_with(0, each);
}

/// Runs the scenario as it is, and then with one more preemption, at every later step of the run.
bool ChainSearch::run_with(unsigned preemptions, const std::function<bool()>& each) {
  runner_.run(scenario_);
  const std::uint64_t steps = runner_.machine().step();
  if (!each()) return false;
  if (preemptions == most_) return true;
  std::uint64_t begun = 0;
  for (const Deviation& one : scenario_.deviations) begun += one.delay;
  for (std::uint64_t delay = preemptions == 0 ? 0 : 1;
       begun + delay < steps && delay <= kLongestDelay; ++delay) {
    for (unsigned cpu = 0; cpu < scenario_.header.cpus; ++cpu) {
      // CPU 0 runs first, and after the first preemption the one that it was for.
      const unsigned self = preemptions == 0 ? 0 : scenario_.deviations[preemptions - 1].cpu;
      if (cpu == self) continue;
      scenario_.deviations.push_back({.delay = static_cast<std::uint8_t>(delay),
                                      .kind = EventKind::preempt,
                                      .cpu = static_cast<std::uint8_t>(cpu)});
      if (!run_with(preemptions + 1, each)) return false;
      scenario_.deviations.erase(scenario_.deviations.size() - 1);
    }
  }
  return true;
}

}  // namespace shootdown::fuzz
