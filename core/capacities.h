// How much the fixed lists hold. All sizes are here.
//
// A list that is full is an ordinary case with a path of its own. On a machine it comes once in a
// thousand operations and in no test, so a HAL may set smaller sizes: the model does, and then
// "full" comes in operations on a few pages.
#pragma once

#include <concepts>

namespace shootdown {

/// Each is at least 1.
struct Capacities {
  /// Pages and page tables that an operation takes out of entries before it flushes.
  unsigned gather_pages{32};
  unsigned gather_tables{8};
  /// Pages that a reclaimer takes out before it flushes.
  unsigned reclaim_pages{32};
  /// Entries of the list of a Hyper-V hypercall, as far as the input page has room, and 4 KiB pages
  /// that one of them names, at most 4096.
  unsigned hyperv_entries{512};
  unsigned hyperv_pages{4096};
};

/// The most: what the lists have room for.
inline constexpr Capacities kCapacities{};

/// A HAL that sets smaller sizes. Fixed while any list is in use.
template <class H>
concept HalCapacities = requires {
  { H::capacities() } -> std::same_as<const Capacities&>;
};

/// The sizes in force: constants, where the HAL sets none, and then a copy, because a reference
/// would make a variable of them that objects share.
template <class H>
[[nodiscard]] [[gnu::always_inline]] constexpr decltype(auto) capacities() {
  if constexpr (HalCapacities<H>) {
    return H::capacities();
  } else {
    return Capacities{};
  }
}

}  // namespace shootdown
