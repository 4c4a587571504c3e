// The chain of events that bounds a flush: what each of them waited for, from its end back to its
// beginning.
#pragma once

#include <string>
#include <vector>

#include "core/types.h"
#include "hal/timed/machine.h"

namespace shootdown::timed {

/// A stretch of time of one CPU, or of an interrupt on its way to that CPU. Each begins when the
/// one before it ends.
struct Step {
  CpuId cpu;
  Time start;
  Time end;
  Cause cause;
  CpuId other;       // the CPU whose cache a line comes from, or which sent an interrupt
  std::string line;  // the name of the line
};

/// Of what `cpu` did from `start` to `end`, where one of its events ends.
[[nodiscard]] std::vector<Step> critical_path(const Machine& machine, CpuId cpu, Time start,
                                              Time end);

}  // namespace shootdown::timed
