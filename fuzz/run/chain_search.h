// The exhaustive small search beside the random one: all chains of up to four operations on one
// region, on two and three CPUs, in the configurations that decide how a flush is done, each under
// the default schedule and with every one or two preemptions. What it has passed over is clean, as
// far as these chains go.
#pragma once

#include <cstdint>
#include <functional>

#include "fuzz/run/runner.h"
#include "fuzz/scenario/scenario.h"

namespace shootdown::fuzz {

/// A family: one configuration and one chain, dealt out to CPUs. CPU 0 has its first operations and
/// begins.
class ChainSearch {
 public:
  /// `preemptions`: at most so many, 0 to 2.
  ChainSearch(Runner& runner, unsigned preemptions) : runner_(runner), most_(preemptions) {}

  /// How many families there are. Their numbers are below it, in an order in which the first of
  /// them are of all kinds.
  [[nodiscard]] static std::uint64_t families();
  /// The scenario of a family, without deviations.
  static void make(std::uint64_t number, Scenario& scenario);

  /// Runs the family under all its schedules. `each` is told after every run and says whether to go
  /// on. Returns whether all were run.
  bool run(std::uint64_t number, const std::function<bool()>& each);
  /// What was run last.
  [[nodiscard]] const Scenario& scenario() const { return scenario_; }

 private:
  bool run_with(unsigned preemptions, const std::function<bool()>& each);

  Runner& runner_;
  unsigned most_;
  Scenario scenario_;
};

}  // namespace shootdown::fuzz
