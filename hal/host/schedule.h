// Where a run's deviations from the default schedule come from.
#pragma once

#include <cstdint>

#include "hal/host/event_kind.h"

namespace shootdown::host {

/// One thing that hardware or the scheduler may do and does not do by default.
struct Action {
  std::uint64_t delay{0};              // visible operations after the previous action
  EventKind kind{EventKind::preempt};  // an action
  std::uint32_t cpu{0};                // device: the context that it walks in
  /// hold: operations; drain: stores; fill, nmi, device: virtual address; evict, deliver, overtake:
  /// choice; fail: how; stale: how many values older; migrate: the other CPU
  std::uint64_t argument{0};
  /// fill, device: level of the last entry that the walk reads; nmi: the access of the CPU before
  /// which it arrives, its own words included, counted from 1
  std::uint8_t level{1};
};

/// What an action came to. Collected on demand only, with the timeline.
struct Effect {
  EventKind kind;
  std::uint32_t cpu;
  /// Why it did nothing; null if it did something.
  const char* nothing{nullptr};
  /// It is to change something that has not come yet.
  bool waits{false};
  /// hold: how many interrupts had been held back at the CPU before; migrate: exchanges there.
  std::uint64_t before{0};
};

/// A strategy of exploration. Replay, fuzzing, random and exhaustive search differ in this only.
class ScheduleSource {
 public:
  virtual ~ScheduleSource() = default;
  /// The next action, or false if the rest of the run follows the default schedule.
  virtual bool next(Action& action) = 0;
};

}  // namespace shootdown::host
