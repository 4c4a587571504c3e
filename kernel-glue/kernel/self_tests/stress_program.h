// User programs that use their memory at random and know what must be in it.
//
// Each CPU has a few pages that only its program maps, unmaps and writes. Everything else may
// happen to them at any time: other CPUs migrate and clean them, forks share them.
#pragma once

#include "kernel-glue/kernel/user_programs.h"

namespace shootdown::kernel {

inline constexpr std::uint64_t kStressPages = 4;

/// Where the pages are: two CPUs share a page table.
inline constexpr VirtAddr kStressBase = 0x42'0000'0000;
inline constexpr std::uint64_t kStressDistance = std::uint64_t{1} << 20;

/// System calls; the first argument is an address, and where two are needed the second as well.
enum class StressCall : std::uint64_t {
  unmap = 1,
  unmap_all,  // all pages of this CPU, empty page tables as well
  protect,
  protect_early,
  move,     // from the first address to the second; the answer is 1 if it did
  migrate,  // a page of any program
  clean,    // a page of any program
  reclaim,
};

/// How `stress` exits.
enum class StressExit : std::uint64_t {
  done = 0,
  wants_fork = 1,
  wrong_data = 2,
  wants_away = 3,  // from the mm for a while
};

/// What a program remembers; at the start of its CPU's page.
struct StressState {
  std::uint64_t random;
  std::uint64_t steps_left;
  std::uint64_t cpus;
  std::uint64_t expected[kStressPages];
};

/// The argument of `begin_stress`.
[[nodiscard]] inline std::uint64_t stress_argument(std::uint64_t cpus, std::uint64_t steps,
                                                   std::uint64_t seed) {
  return seed << 40 | steps << 8 | cpus;
}

/// Prepares the state.
void begin_stress(UserPage* page, std::uint64_t argument);

/// Goes on until the steps are done, or the kernel is to do something: then it is to be run again.
void stress(UserPage* page, std::uint64_t argument);

/// What the child of a fork does: finds its parent's data, and writes over it.
void check_child(UserPage* page, std::uint64_t argument);

}  // namespace shootdown::kernel
