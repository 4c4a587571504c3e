// What may happen on the modelled machine besides the next operation of the CPU that runs.
//
// The same kinds stand in a scenario's deviations (fuzz/scenario), in the actions of a schedule
// (schedule.h) and in the steps that a controller picks (control.h). Not every kind can stand in
// each of them: `is_deviation`, `is_action` and `is_step` say which.
#pragma once

#include <cstdint>

namespace shootdown::host {

enum class EventKind : std::uint8_t {
  // The order of these is that of a scenario's byte form.
  preempt,       // another CPU runs from here on
  hold,          // pending interrupts are kept away from the CPU for some of its operations
  fill,          // a speculative walk of the CPU's walker
  evict,         // the CPU drops something that it has cached
  drain,         // the oldest stores leave the CPU's store buffer
  deliver,       // a broadcast invalidation arrives at the CPU
  vcpu_preempt,  // the host takes the processor from a virtual CPU ...
  vcpu_resume,   // ... and begins to give it back
  fail,          // the CPU's next hypercall or message fails
  overtake,      // Memory::cxx: a store leaves the CPU's buffer before older ones
  stale,         // Memory::cxx: a load of the CPU returns an older value
  nmi,           // an NMI comes to the CPU
  device,        // a device walks
  lose,          // the next interrupt to the CPU gets lost
  duplicate,     // an interrupt arrives at the CPU that no CPU has sent
  aim,           // from here on a strategy of fuzz/schedule decides
  migrate,       // the threads of two CPUs change places

  // Under a controller: the CPU's own steps, of its program and of its handlers.
  run,        // the program's next visible operation
  interrupt,  // a pending interrupt is taken, up to the handler's first visible operation ...
  handle,     // ... the handler's next one ...
  leave,      // ... and the return from it
  handle_nmi,
  leave_nmi,
  kCount,
};

/// How many kinds a scenario's deviation may be of. They come first.
inline constexpr unsigned kDeviationKinds = static_cast<unsigned>(EventKind::run);

constexpr bool is_deviation(EventKind kind) { return kind < EventKind::run; }
/// What a schedule may have the machine do. `aim` is resolved before.
constexpr bool is_action(EventKind kind) { return is_deviation(kind) && kind != EventKind::aim; }
/// Whether a step of this kind is the CPU's own, of its program or a handler. An NMI is taken by
/// the CPU that it comes to.
constexpr bool is_of_cpu(EventKind kind) {
  return kind == EventKind::nmi || (kind >= EventKind::run && kind < EventKind::kCount);
}
/// What a controller may pick. That another CPU runs, and that interrupts are held back, are no
/// steps there but the order of the steps that are; hypercalls do not fail there.
constexpr bool is_step(EventKind kind) {
  return kind < EventKind::kCount && kind != EventKind::preempt && kind != EventKind::hold &&
         kind != EventKind::fail && kind != EventKind::aim;
}

}  // namespace shootdown::host
