// Focuses: switches, backends and operations that belong together. A search over all switches at
// once meets the few that a bug needs in one run of hundreds; half of its runs have a focus
// instead.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "fuzz/scenario/random.h"
#include "fuzz/scenario/scenario.h"

namespace shootdown::fuzz {

struct Focus {
  std::string_view name;
  /// Sets what belongs together in a header that has the defaults otherwise.
  void (*set)(Random& random, Header& header);
  /// The operations that it is about, a bit each: most of those of its runs. 0: any.
  std::uint64_t kinds{0};
};

/// All focuses. A new one is one line of the table in focus.cc.
[[nodiscard]] std::span<const Focus> focuses();

/// The one of that name, or null.
[[nodiscard]] const Focus* find_focus(std::string_view name);

}  // namespace shootdown::fuzz
