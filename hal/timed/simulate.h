// One flush in modelled time.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "core/types.h"
#include "hal/timed/critical_path.h"
#include "hal/timed/kernel.h"
#include "hal/timed/prices.h"

namespace shootdown::timed {

struct Experiment {
  Setup setup{};
  CpuId cpus{2};
  CpuId capacity{0};    // the kernel is built for so many; 0: the smallest that there is
  CpuId loaded{0};      // CPUs that have the mm loaded, from CPU 0 on; 0: all
  CpuId initiators{1};  // CPUs that flush it at the same time, from CPU 0 on
  std::size_t line_bytes{kCacheLine};
  bool fetches_ahead{false};  // machine.h
};

/// Lines of one name.
struct LineCount {
  std::string name;
  std::uint64_t moves;  // from CPU to CPU
  unsigned lines;       // that moved
  unsigned initiator;   // that CPU 0 used
  unsigned target;      // that the last CPU which has the mm loaded used
};

struct Outcome {
  std::string failure;  // or empty, and then the rest is valid
  CpuId capacity;
  Time time;      // from the call of CPU 0 to its return
  Time longest;   // the same of the slowest initiator
  Time handlers;  // of all targets together, in handlers
  Time handlers_longest;
  Tally tally;
  Layout layout;
  std::vector<LineCount> lines;
  std::vector<Step> path;  // the critical path of CPU 0
};

/// Why there can be no such run, or nothing.
[[nodiscard]] std::string refusal(const Experiment& experiment);
[[nodiscard]] Outcome simulate(const Experiment& experiment, const Prices& prices);

}  // namespace shootdown::timed
