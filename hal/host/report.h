// What a run says when something is wrong.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace shootdown::host {

/// What kind of thing is wrong. The machine has the three below; its observers bring kinds of their
/// own, which are names and nothing else here. A kind is known by its address.
struct ReportKind {
  std::string_view name;     // one word
  std::string_view promise;  // what holds as long as no such report comes
};

inline constexpr ReportKind kCheck{.name = "CHECK", .promise = "a check inside the core failed"};
inline constexpr ReportKind kFault{.name = "FAULT", .promise = "no instruction faults in the core"};
/// No CPU can go on, one waits with interrupts off, or the run does not end.
inline constexpr ReportKind kStuck{.name = "STUCK", .promise = "every program comes to its end"};

/// One of the two accesses in conflict.
struct Event {
  std::uint64_t step{0};
  std::uint32_t cpu{0};
  std::string what;  // empty: no such event
};

struct Report {
  const ReportKind* kind{nullptr};  // null: nothing is wrong
  std::string title;                // one line, the same for the same kind of bug
  std::string detail;               // sentences with the values
  Event first;                      // what came first, e.g. the fill of the stale entry
  Event second;                     // what made it wrong, e.g. the flush that returned

  [[nodiscard]] bool failed() const { return kind != nullptr; }
  [[nodiscard]] std::string_view name() const { return failed() ? kind->name : "none"; }
};

/// The title of a `kStuck` report that does not mean that every CPU stands still.
inline constexpr const char* kWaitsWithInterruptsOff = "a CPU waits with interrupts off";

}  // namespace shootdown::host
