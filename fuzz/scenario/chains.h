// Chains: operations that make sense one after another on one page of one mm, and duets: what two
// CPUs do to it at the same time.
#pragma once

#include "fuzz/scenario/generate.h"

namespace shootdown::fuzz {

using Program = BoundedList<Op, kMaxOpsPerCpu>;

/// The chains of a run.
class Chains {
 public:
  /// None.
  Chains() = default;
  /// Drawn: in half of the runs there are some, and in most of those whose focus has a theme a duet
  /// of that theme. Runs without a focus, null, know the first of the tables only.
  Chains(Random& random, const Swarm& common, const Focus* focus);

  /// Fills the program of a CPU. What belongs together is drawn from `other`.
  void fill(unsigned cpu, unsigned size, const Swarm& swarm, Random& random, Random& other,
            Program& program) const;

 private:
  void add_chain(Random& random, const Swarm& swarm, unsigned size, Program& program) const;

  bool any_{false};
  unsigned known_{0};
  Op meeting_{};
  unsigned duet_{0};  // one more than its place in the table, or 0
  bool is_themed_{false};
  bool repeats_{false};  // the duet is played until the programs are full
};

}  // namespace shootdown::fuzz
