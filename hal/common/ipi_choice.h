// Which way an interrupt goes to a set of CPUs: a HAL that has several ways asks here.
#pragma once

#include <array>
#include <cstdint>

#include "core/types.h"

namespace shootdown {

/// The ways of an interrupt controller. A group is what one command can name a subset of, such as
/// an x2APIC cluster.
enum class IpiMethod : std::uint8_t { one_by_one, by_group, all_but_self };

/// The price of each, in accesses to the controller: what the sender pays before the first target
/// hears of it, and the only part of a shootdown that no other CPU can take over.
struct IpiCosts {
  std::uint32_t one{1};           // a command to one CPU
  std::uint32_t group{1};         // a command to any members of one group
  std::uint32_t all_but_self{1};  // the command that names no target
  /// A CPU that is interrupted for nothing: entry, no sender pending, end of interrupt, exit, and
  /// what it was doing has gone cold. Far more than an access, so it is never a good trade for few.
  std::uint32_t needless{1000};
};

/// Whom a send is for.
struct IpiTargets {
  CpuId targets;  // CPUs to interrupt, this one not among them
  CpuId groups;   // groups that they are in; 0 if the controller knows no groups
  CpuId others;   // CPUs that "all but self" would interrupt: all whose controller is on
};

/// What one way costs. Precondition: `by_group` only if there are groups.
[[nodiscard]] constexpr std::uint64_t ipi_cost(IpiMethod method, const IpiTargets& who,
                                               const IpiCosts& costs) {
  switch (method) {
    case IpiMethod::one_by_one:
      return std::uint64_t{who.targets} * costs.one;
    case IpiMethod::by_group:
      return std::uint64_t{who.groups} * costs.group;
    case IpiMethod::all_but_self:
      return costs.all_but_self + (std::uint64_t{who.others - who.targets} * costs.needless);
  }
  return 0;
}

/// The cheapest way; of equals the one that names its targets most exactly. Precondition: there are
/// targets, and they are among the others.
[[nodiscard]] constexpr IpiMethod choose_ipi(const IpiTargets& who, const IpiCosts& costs = {}) {
  IpiMethod best = IpiMethod::one_by_one;
  for (const IpiMethod method : std::array{IpiMethod::by_group, IpiMethod::all_but_self}) {
    if (method == IpiMethod::by_group && who.groups == 0) continue;
    if (ipi_cost(method, who, costs) < ipi_cost(best, who, costs)) best = method;
  }
  return best;
}

}  // namespace shootdown
