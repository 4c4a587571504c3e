#include "fuzz/run/plainest.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "fuzz/scenario/kinds.h"

namespace shootdown::fuzz {

namespace {

constexpr std::array<std::string_view, 5> kSecondary{"ORDER", "O19", "O22", "O29", "CHECK"};

std::uint8_t memory_of(const Header& header) {
  if (header.compiler_reordering) return 2;
  return header.tso ? 1 : 0;
}

/// Switches of memory are counted apart, and the numbers of CPUs and mms are sizes.
std::uint8_t turned(const Header& header) {
  constexpr Header kDefaults;
  unsigned count = header.backend != kDefaults.backend ? 1 : 0;
  if (header.ceiling != kDefaults.ceiling) ++count;
  for (const HeaderSwitch& one : kHeaderSwitches) {
    if (one.field == &Header::tso || one.field == &Header::compiler_reordering) continue;
    if (header.*one.field != kDefaults.*one.field) ++count;
  }
  return static_cast<std::uint8_t>(count);
}

}  // namespace

Plainness plainness_of(const host::Report& report, const Header& header) {
  const bool secondary =
      std::find(kSecondary.begin(), kSecondary.end(), report.name()) != kSecondary.end();
  return {.oracle = static_cast<std::uint8_t>(secondary ? 1 : 0),
          .memory = memory_of(header),
          .turned = turned(header)};
}

bool Plainest::offer(const host::Report& report, const Scenario& scenario) {
  if (!report.failed()) return false;
  const Plainness plainness = plainness_of(report, scenario.header);
  if (any_ && !(plainness < plainness_)) return false;
  any_ = true;
  plainness_ = plainness;
  scenario_ = scenario;
  report_ = report;
  return true;
}

std::uint64_t executions_after_find(std::uint64_t until_found) {
  constexpr std::uint64_t kLeast = 2000;
  constexpr std::uint64_t kMost = 40000;
  return std::clamp(until_found, kLeast, kMost);
}

}  // namespace shootdown::fuzz
