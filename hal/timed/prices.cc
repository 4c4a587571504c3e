#include "hal/timed/prices.h"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <set>

namespace shootdown::timed {
namespace {

/// Takes the next word off the line.
std::string_view next_word(std::string_view& line) {
  const std::size_t begin = std::min(line.find_first_not_of(' '), line.size());
  line.remove_prefix(begin);
  const std::string_view word = line.substr(0, line.find(' '));
  line.remove_prefix(word.size());
  return word;
}

std::optional<std::uint64_t> number(std::string_view text) {
  std::uint64_t value = 0;
  if (text.empty() || text.size() > 9) return {};
  for (const char digit : text) {
    if (digit < '0' || digit > '9') return {};
    value = (value * 10) + static_cast<std::uint64_t>(digit - '0');
  }
  return value;
}

/// Nanoseconds with up to three decimals.
std::optional<Time> nanoseconds(std::string_view text) {
  const std::size_t point = text.find('.');
  const auto whole = number(text.substr(0, point));
  if (!whole) return {};
  if (point == std::string_view::npos) return *whole * 1000;
  std::string decimals(text.substr(point + 1));
  if (decimals.size() > 3) return {};
  decimals.resize(3, '0');
  const auto rest = number(decimals);
  if (!rest || point + 1 == text.size()) return {};
  return (*whole * 1000) + *rest;
}

struct Reader {
  Prices prices{};
  std::set<std::string_view> seen{};

  std::string level(std::string_view line) {
    const std::string_view name = next_word(line);
    const std::string_view cpus = next_word(line);
    const auto size = cpus == "all" ? std::optional<std::uint64_t>(0) : number(cpus);
    const auto price = nanoseconds(next_word(line));
    if (name.empty() || !size || (*size == 0 && cpus != "all") || !price) {
      return "a level is: level NAME CPUS|all NANOSECONDS SOURCE";
    }
    if (next_word(line).empty()) return "level " + std::string(name) + " has no source";
    if (!prices.levels.empty()) {
      const Level& last = prices.levels.back();
      if (last.cpus == 0) return "a level behind that of all CPUs";
      if (*size != 0 && (*size <= last.cpus || *size % last.cpus != 0)) {
        return "level " + std::string(name) + " is no multiple of " + last.name;
      }
    }
    prices.levels.push_back(
        {.name = std::string(name), .cpus = static_cast<CpuId>(*size), .line = *price});
    return "";
  }

  std::string price(std::string_view line) {
    const std::string_view name = next_word(line);
    const auto& names = price_names();
    const auto found =
        std::ranges::find_if(names, [&](const PriceName& known) { return known.name == name; });
    if (found == names.end()) return "there is no price " + std::string(name);
    if (!seen.insert(found->name).second) return std::string(name) + " has two prices";
    const auto value = nanoseconds(next_word(line));
    if (!value) return std::string(name) + " needs nanoseconds, with up to three decimals";
    if (next_word(line).empty()) return std::string(name) + " has no source";
    prices.*found->price = *value;
    return "";
  }

  std::string count(std::string_view line) {
    if (next_word(line) != "loads") return "a count is: count loads NUMBER SOURCE";
    const auto loads = number(next_word(line));
    if (!loads || *loads == 0 || next_word(line).empty()) {
      return "count loads needs a number that is not 0, and a source";
    }
    if (!seen.insert("loads").second) return "loads has two counts";
    prices.loads = static_cast<unsigned>(*loads);
    return "";
  }

  std::string line(std::string_view line) {
    const std::string_view kind = next_word(line);
    if (kind.empty() || kind.starts_with("#")) return "";
    if (kind == "level") return level(line);
    if (kind == "count") return count(line);
    if (kind == "price") return price(line);
    return "a line begins with level, count, price or #";
  }

  std::string end() const {
    if (prices.levels.empty() || prices.levels.back().cpus != 0) {
      return "the last level is that of all CPUs";
    }
    if (!seen.contains("loads")) return "loads has no count";
    for (const PriceName& name : price_names()) {
      if (!seen.contains(name.name)) return std::string(name.name) + " has no price";
    }
    return "";
  }
};

}  // namespace

const Level& Prices::between(CpuId one, CpuId other) const {
  return *std::ranges::find_if(levels, [&](const Level& level) {
    return level.cpus == 0 || one / level.cpus == other / level.cpus;
  });
}

const std::vector<PriceName>& price_names() {
  static const std::vector<PriceName> kNames{
      {"block", &Prices::block},       {"access", &Prices::access},
      {"locked", &Prices::locked},     {"fence", &Prices::fence},
      {"pause", &Prices::pause},       {"clock", &Prices::clock},
      {"memory", &Prices::memory},     {"reader", &Prices::reader},
      {"sharer", &Prices::sharer},     {"command", &Prices::command},
      {"delivery", &Prices::delivery}, {"next-delivery", &Prices::next_delivery},
      {"entry", &Prices::entry},       {"exit", &Prices::exit},
      {"invlpg", &Prices::invlpg},     {"invpcid", &Prices::invpcid},
      {"cr3", &Prices::cr3},           {"cr4", &Prices::cr4},
      {"invlpgb", &Prices::invlpgb},   {"next-broadcast", &Prices::next_broadcast},
      {"tlbsync", &Prices::tlbsync}};
  return kNames;
}

ParsedPrices parse_prices(std::string_view text) {
  Reader reader;
  std::size_t number = 0;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    ++number;
    if (const std::string problem = reader.line(line); !problem.empty()) {
      return {.prices = {}, .problem = "line " + std::to_string(number) + ": " + problem};
    }
  }
  return {.prices = reader.prices, .problem = reader.end()};
}

}  // namespace shootdown::timed
