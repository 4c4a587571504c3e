// What a run says when something is wrong.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace shootdown::host {

/// The oracles, numbered as in the catalogue of invariants. `check` is a check inside the core
/// itself, `order` is about the C++ memory model.
enum class Oracle : std::uint8_t {
  none = 0,
  o1 = 1,
  o2,
  o3,
  o4,
  o5,
  o6,
  o7,
  o8,
  o9,
  o10,
  o11,
  o12,
  o13,
  o14,
  o15,
  o16,
  o17,
  o18,
  o19,
  o20,
  o21,
  o22,
  o23,
  o24,
  o25,
  o26,
  o27,
  o28,
  o29,
  o30,
  o31,
  o32,
  o33,
  o34,
  check = 64,
  fault,
  order,
};

/// "O1" and so on; "CHECK" for a check of the core, "FAULT" for a hardware fault, "ORDER"
/// for a missing happens-before, "none".
[[nodiscard]] std::string oracle_name(Oracle oracle);

/// What the oracle promises, in a few words, and the design rule it guards.
[[nodiscard]] std::string_view oracle_meaning(Oracle oracle);

/// One of the two accesses in conflict.
struct Event {
  std::uint64_t step{0};
  std::uint32_t cpu{0};
  std::string what;  // empty: no such event
};

struct Report {
  Oracle oracle{Oracle::none};
  std::string title;   // one line, the same for the same kind of bug
  std::string detail;  // sentences with the values
  Event first;         // what came first, e.g. the fill of the stale entry
  Event second;        // what made it wrong, e.g. the flush that returned

  [[nodiscard]] bool failed() const { return oracle != Oracle::none; }
};

/// Of a report of O18 that does not mean that everything stands still.
inline constexpr const char* kWaitsWithInterruptsOff = "a CPU waits with interrupts off";

}  // namespace shootdown::host
