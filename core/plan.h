// How this machine flushes: what its configuration, its processor and its backend come to. Boot
// says it once; flushes ask.
#pragma once

#include <cstdint>

#include "core/config.h"
#include "core/hal.h"

namespace shootdown {

template <Hal H>
struct System;

/// How a flush goes.
enum class FlushWay : std::uint8_t {
  by_interrupt,  // the processor's own instructions, and interrupts for the other CPUs
  by_broadcast,  // of an mm that has a global ASID: INVLPGB; of others as the operations say
  by_hypercall,  // as the operations of a backend say
};

/// What becomes of the user PCID's entries when pages are flushed one by one (R9).
enum class UserHalf : std::uint8_t {
  none,      // there is no user PCID
  at_once,   // INVPCID, beside each INVLPG
  noted,     // the whole user PCID is flushed on the way to user mode: there is no INVPCID
  deferred,  // the pages are, if there is one range of them
};

/// Fixed at boot: what `plan_of` makes of the configuration and of the operations.
struct FlushPlan {
  FlushWay way{FlushWay::by_interrupt};
  UserHalf user_half{UserHalf::none};
  /// The initiator flushes while the others do. Not with a backend that can only flush others.
  bool concurrent{false};
  bool has_pcids{false};
};

[[nodiscard]] constexpr UserHalf user_half_of(const Config& config) {
  if (!config.isolation.enabled || !config.processor.pcid) return UserHalf::none;
  if (config.isolation.defer_user_pages) return UserHalf::deferred;
  return config.processor.invpcid ? UserHalf::at_once : UserHalf::noted;
}

/// `replaced`: the operations are a backend's. `flushes_all`: they can flush this CPU and others at
/// the same time.
[[nodiscard]] constexpr FlushPlan plan_of(const Config& config, bool replaced, bool flushes_all) {
  const FlushWay otherwise = replaced ? FlushWay::by_hypercall : FlushWay::by_interrupt;
  return {.way = config.broadcast.enabled ? FlushWay::by_broadcast : otherwise,
          .user_half = user_half_of(config),
          .concurrent = config.targets.concurrent && flushes_all,
          .has_pcids = config.processor.pcid};
}

/// The answer of a plan.
[[nodiscard]] constexpr bool answer(const FlushPlan& plan, Question question) {
  switch (question) {
    case Question::is_common:
      return plan.way == FlushWay::by_interrupt &&
             (plan.user_half == UserHalf::none || plan.user_half == UserHalf::at_once);
    case Question::concurrent:
      return plan.concurrent;
    case Question::has_pcids:
      return plan.has_pcids;
    case Question::one_half:
      break;
  }
  return plan.user_half == UserHalf::none;
}

namespace internal {

/// Whether this machine's plan says so: from the code where the HAL has static keys, else from
/// memory.
template <Question kQuestion, Hal H>
[[nodiscard, gnu::always_inline]] inline bool holds(const System<H>& system) {
  if constexpr (HalStaticKeys<H>) {
    return H::template key<kQuestion>();
  } else {
    return answer(system.plan(), kQuestion);
  }
}

}  // namespace internal

}  // namespace shootdown
