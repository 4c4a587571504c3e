// What flushes and switches ask about hardware broadcast, and the functions that they call where
// there is any.
//
// Broadcast is optional. A HAL chooses it by having the instructions (`HalBroadcast`); a file that
// uses the core over such a HAL includes broadcast.h, which defines what is only declared here. For
// any other HAL nothing of it is compiled.
#pragma once

#include <atomic>
#include <cstdint>
#include <type_traits>

#include "core/hal.h"
#include "core/mm.h"
#include "core/plan.h"
#include "core/range.h"
#include "core/request.h"
#include "core/types.h"

namespace shootdown {

template <Hal H>
struct System;
template <Hal H>
struct CpuState;
template <Hal H>
class GlobalAsids;
enum class Waiting : std::uint8_t;

namespace internal {

/// Set by broadcast.h. `System` refuses a HAL that broadcasts without it.
template <class H>
inline constexpr bool kBroadcastIsIncluded = false;

struct NoGlobalAsids {};

/// The pool of global ASIDs, for a HAL that broadcasts.
template <Hal H>
using GlobalAsidPool = std::conditional_t<HalBroadcast<H>, GlobalAsids<H>, NoGlobalAsids>;

/// Whether this system broadcasts. A HAL without the instructions compiles to "no".
template <Hal H>
[[nodiscard]] constexpr bool broadcasts(const System<H>& system) {
  if constexpr (HalBroadcast<H>) {
    return system.plan().way == FlushWay::by_broadcast;
  } else {
    return false;
  }
}

/// The ASID that `mm` has on every CPU, or kNoGlobalAsid. M14: acquire, so that the transition
/// flag, which was set before, is seen with it.
template <Hal H>
[[nodiscard]] Asid global_asid_of(const System<H>& system, const Mm<H>& mm) {
  if (!broadcasts(system)) return kNoGlobalAsid;
  return mm.global_asid.load(std::memory_order_acquire);
}

// Defined in broadcast.h.
template <HalBroadcast H>
void broadcast(System<H>& system, const Invlpgb& what);
template <HalBroadcast H>
void await_broadcasts();
template <HalBroadcast H>
void grant_global_asid(System<H>& system, Mm<H>& mm);
template <HalBroadcast H>
void return_global_asid(System<H>& system, Mm<H>& mm);
template <Waiting kWaiting, HalBroadcast H>
std::uint64_t flush_by_broadcast(System<H>& system, CpuState<H>& self, Mm<H>& mm,
                                 FlushRequest<H>& request, Asid asid, bool retires);
template <HalBroadcast H>
std::uint64_t broadcast_kernel(System<H>& system, const FlushRange& range);

}  // namespace internal

}  // namespace shootdown
