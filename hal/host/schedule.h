// Where a run's deviations from the default schedule come from.
#pragma once

#include <cstdint>

namespace shootdown::host {

enum class ActionKind : std::uint8_t {
  preempt,
  hold,
  fill,
  evict,
  deliver,
  drain,         // the oldest stores leave the CPU's store buffer
  vcpu_preempt,  // the host takes the processor away from a virtual CPU
  vcpu_resume,   // ... and lets it run again
  fail,          // the CPU's next hypercall or message fails
  nmi,           // the CPU takes an NMI, also with interrupts off
  lose,          // the next call-function interrupt to the CPU does not arrive
  duplicate,     // a call-function interrupt arrives at the CPU that no CPU has sent
  device,        // a device walks for the address; `cpu` is the context that it does so in
  overtake,      // a store leaves the CPU's buffer before older ones, as if a compiler had moved it
  stale,         // the CPU's next load that may return an older value does
};

/// One thing that hardware or the scheduler may do and does not do by default.
struct Action {
  std::uint64_t delay{0};  // visible operations after the previous action
  ActionKind kind{ActionKind::preempt};
  std::uint32_t cpu{0};
  /// hold: operations; drain: stores; fill, nmi, device: virtual address; evict, deliver, overtake:
  /// choice; fail: how; stale: how many values older
  std::uint64_t argument{0};
  /// fill, device: level of the last entry that the walk reads
  std::uint8_t level{1};
};

/// What an action came to. Collected on demand only, with the timeline.
struct Effect {
  ActionKind kind;
  std::uint32_t cpu;
  /// Why it did nothing; null if it did something.
  const char* nothing{nullptr};
  /// It is to change something that has not come yet.
  bool waits{false};
  /// hold: how many interrupts had been held back at the CPU before.
  std::uint64_t held{0};
};

/// A strategy of exploration. Replay, fuzzing, random and exhaustive search differ in this only.
class ScheduleSource {
 public:
  virtual ~ScheduleSource() = default;
  /// The next action, or false if the rest of the run follows the default schedule.
  virtual bool next(Action& action) = 0;
};

}  // namespace shootdown::host
