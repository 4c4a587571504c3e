// How many CPUs a modelled machine can have.
#pragma once

#include <cstdint>

namespace shootdown::host {

/// Eight, so that what is kept for each CPU stays small and a set of them is one word. Programs
/// that are built with the flag //hal/host:wide have more, and sets of several words.
#ifdef SHOOTDOWN_WIDE
inline constexpr std::uint32_t kHostCpus = 72;
#else
inline constexpr std::uint32_t kHostCpus = 8;
#endif

}  // namespace shootdown::host
