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

/// What two CPUs do at the same time that a focus is about (chains.cc has the duets).
enum class Theme : std::uint8_t {
  none,
  small_after_large,  // a lazy CPU keeps a large page while a small one comes in its place
  large_after_small,  // the other way round
  walkers,            // a lockless walker, and tables that come and go
  batches,            // a batch over two mms, which other CPUs run
  transitions,        // an mm gets a global ASID while a CPU changes to it
  endings,            // an mm ends while CPUs leave it
  switches,           // a CPU comes back to an mm from which pages have gone
  hotplug,            // a CPU goes and comes while others flush
  moves,              // a page moves while a page table goes, and comes, and goes
  moving_walkers,     // a lockless walker whose CPU goes on as another's, and tables that go
};

struct Focus {
  std::string_view name;
  /// Sets what belongs together in a header that has the defaults otherwise.
  void (*set)(Random& random, Header& header);
  /// The operations that it is about, a bit each: most of those of its runs. 0: any.
  std::uint64_t kinds{0};
  Theme theme{Theme::none};
  bool migrates{false};  // threads change CPUs in each of its runs
};

/// Of all focuses so many draw among each other, and the others among themselves in one of 16 of
/// those runs, so that seeds mean what they meant.
inline constexpr unsigned kFirstFocuses = 58;

/// All focuses. A new one is one line at the end of the table in focus.cc.
[[nodiscard]] std::span<const Focus> focuses();

/// The one of that name, or null. For lists of options the blanks of a name may be underscores and
/// its commas left out.
[[nodiscard]] const Focus* find_focus(std::string_view name);

}  // namespace shootdown::fuzz
