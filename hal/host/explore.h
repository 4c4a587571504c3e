// Bounded-exhaustive exploration: runs a program on the modelled machine again and again until
// every interleaving that can make a difference has been seen.
//
// Two steps of different processes conflict if their footprints share a place that one of them
// writes. Runs that differ only in the order of steps that do not conflict are one class, and all
// runs of a class end alike. `Reduction::source_sets` visits at least one run of each class:
// dynamic partial-order reduction with source sets and sleep sets (Abdulla, Aronis, Jonsson,
// Sagonas: "Optimal Dynamic Partial Order Reduction", POPL 2014). `Reduction::none` visits every
// run; it is what the reduction is checked against, and what a bound on deviations works with,
// because sleep sets and such a bound together would lose runs.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <functional>
#include <string>
#include <unordered_map>
#include <vector>

#include "hal/host/control.h"
#include "hal/host/cpus.h"
#include "hal/host/report.h"

namespace shootdown::host {

enum class Reduction : std::uint8_t { source_sets, none };

inline constexpr unsigned kUnbounded = ~0U;

struct ExploreOptions {
  Reduction reduction{Reduction::source_sets};
  /// With Reduction::none: how many steps of a run may differ from what the default schedule would
  /// do there.
  unsigned deviations{kUnbounded};
  /// The exploration stops, incomplete, after this number of executions.
  std::uint64_t most_executions{~std::uint64_t{0}};
  /// Off: a run that fails counts as one that ends, and is visited.
  bool stop_at_failure{true};
  /// Called now and then with the result so far.
  std::function<void(const struct ExploreResult&)> progress{};
};

struct ExploreResult {
  std::uint64_t executions{0};  // complete ones
  std::uint64_t redundant{0};   // given up, because everything left was explored elsewhere
  std::uint64_t steps{0};       // of all of them
  std::uint64_t longest{0};     // steps of the longest
  bool complete{false};         // all there is was explored, or a failure was found
  bool failed{false};
  std::vector<Step> schedule;  // of the failure

  /// What is known after a clean, complete exploration, in one sentence.
  [[nodiscard]] std::string guarantee(const ExploreOptions& options) const;
};

/// Plays a fixed sequence of steps, then the default schedule.
class Replay final : public Controller {
 public:
  explicit Replay(std::vector<Step> steps) : steps_(std::move(steps)) {}
  std::size_t pick(const std::vector<Step>& enabled) override;
  void done(Footprint& /*footprint*/) override {}
  void restart() { index_ = 0; }

 private:
  std::vector<Step> steps_;
  std::size_t index_{0};
};

/// Explores one program. Not for reuse.
class Explorer final : public Controller {
 public:
  /// Prepares the machine with this controller and runs it. Must do the same each time.
  using Run = std::function<const Report&()>;
  /// Called after each complete run.
  using Visit = std::function<void()>;

  explicit Explorer(const ExploreOptions& options) : options_(options) {}

  ExploreResult explore(const Run& run, const Visit& visit = {});

  std::size_t pick(const std::vector<Step>& enabled) override;
  void done(Footprint& footprint) override;

 private:
  /// Of each CPU a handful, and as many again for all that may happen.
  static constexpr unsigned kProcesses = 64 + (5 * (kHostCpus - 8));
  using ProcessSet = std::bitset<kProcesses>;
  /// How many events of each process come before an event, itself included.
  using Clock = std::array<std::uint16_t, kProcesses>;

  /// A process that need not go first here: the runs in which it does are explored already.
  struct Sleeper {
    unsigned process;
    Footprint footprint;
  };
  /// The state before an event, and what is known about exploring from it.
  struct Node {
    std::vector<Step> enabled;
    std::vector<unsigned> processes;  // of `enabled`
    ProcessSet may;                   // enabled ones
    ProcessSet backtrack;             // to be explored from here
    ProcessSet explored;
    std::vector<Sleeper> asleep;
    ProcessSet sleeping;
    unsigned chosen{0};      // process
    unsigned deviations{0};  // on the way here
  };
  struct Event {
    unsigned process;
    unsigned number;  // of its process, from 1
    Step step;
    Footprint footprint;
    std::vector<std::uint32_t> places;  // of `footprint`, numbered densely
    Clock clock;
  };
  /// The last uses of a place, as indices of events plus 1.
  struct Use {
    std::uint32_t written{0};
    std::vector<std::uint32_t> read;  // since then
  };

  [[nodiscard]] static ProcessSet only(unsigned process) { return ProcessSet().set(process); }
  [[nodiscard]] unsigned process_of(const Step& step);
  [[nodiscard]] std::size_t start_node(const std::vector<Step>& enabled);
  void inherit_sleepers(Node& node);
  void note_disabled(ProcessSet enabled);
  [[nodiscard]] std::size_t replayed(const std::vector<Step>& enabled);
  /// Orders the newest event after what it conflicts with, and notes what could be reversed.
  void order(bool look_for_races);
  void note_race(std::size_t first);
  void note_brackets(const Event& event);
  void note_uses(const Event& event);
  [[nodiscard]] bool before(const Event& first, const Event& second) const {
    return second.clock[first.process] >= first.number;
  }
  [[nodiscard]] bool backtrack();
  void begin_execution();

  ExploreOptions options_;
  ExploreResult result_;
  std::vector<Node> nodes_;
  std::vector<Event> events_;
  std::size_t depth_{0};   // events of this execution so far
  std::size_t replay_{0};  // how many of them repeat the execution before
  bool gave_up_{false};
  std::array<std::uint16_t, kProcesses> numbers_{};  // events of each process so far
  std::array<std::uint32_t, kProcesses> last_{};     // its last event plus 1
  std::unordered_map<Location, std::uint32_t> place_numbers_;
  std::vector<Use> uses_;
  std::vector<std::uint64_t> process_keys_;
};

}  // namespace shootdown::host
