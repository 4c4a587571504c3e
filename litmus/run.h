// All executions of a litmus test in one memory mode, and what they say.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hal/host/explore.h"
#include "hal/host/machine.h"
#include "litmus/test.h"

namespace shootdown::host::litmus {

/// Name and mode of each memory model of the machine.
struct MemoryName {
  std::string_view name;
  Memory memory;
};
inline constexpr MemoryName kMemories[] = {
    {"sc", Memory::sc}, {"tso", Memory::tso}, {"cxx", Memory::compiler_reordering}};

[[nodiscard]] std::optional<Memory> find_memory(std::string_view name);
[[nodiscard]] std::string_view name_of(Memory memory);

/// The name of each switch for a defect of processors in the line "Errata=".
struct ErratumName {
  std::string_view name;
  bool Errata::* is_on;
};
inline constexpr ErratumName kErrata[] = {
    {"invlpg_leaves_globals", &Errata::invlpg_leaves_globals},
    {"pge_toggle_flushes_nothing", &Errata::pge_toggle_flushes_nothing},
    {"walker_overwrites", &Errata::walker_overwrites},
    {"walker_is_late", &Errata::walker_is_late}};

/// The same for what some processors have or do, in the line "Hardware=".
struct LatitudeName {
  std::string_view name;
  bool Hardware::* is_on;
};
inline constexpr LatitudeName kLatitudes[] = {{"older_entries", &Hardware::older_entries},
                                              {"tce", &Hardware::tce},
                                              {"five_levels", &Hardware::five_levels}};

/// How often the condition's proposition held.
enum class Observation : std::uint8_t { never, sometimes, always };
[[nodiscard]] std::string_view name_of(Observation observation);

/// Final states that differ. So many fit into memory, and a list of more is of no use.
inline constexpr std::size_t kMostStates = 100'000;

struct RunOptions {
  Reduction reduction{Reduction::source_sets};
  std::uint64_t most_executions{~std::uint64_t{0}};
  /// How often a CPU may jump back in an execution. One in which it would more often is cut there
  /// and does not count; PAUSE in a loop that only reads waits for a change instead.
  unsigned most_repeats{4};
  /// Off: the part of Memory::cxx that the machine has by itself, see `CompilerOptions`.
  bool load_buffering{true};
  /// Called after every 1024th execution, with their number so far.
  std::function<void(std::uint64_t)> progress{};
};

struct Result {
  Memory memory{Memory::sc};
  std::map<State, std::uint64_t> states;  // of the terms shown, with their executions
  std::uint64_t positive{0};              // executions in which the proposition held
  std::uint64_t negative{0};
  std::uint64_t runs{0};    // of the machine, those that were given up included
  std::uint64_t cut{0};     // executions that stopped in a loop
  std::uint64_t orders{1};  // of the test's instructions, that executions are of
  RunOptions options;
  ExploreResult explored;
  std::string guarantee;
  std::string problem;  // not empty: the test itself is wrong, and the rest means nothing
  unsigned line{0};     // of the problem, if one instruction has it
  unsigned column{0};

  [[nodiscard]] Observation observation() const;
  /// What the test asks for in this mode.
  [[nodiscard]] Quantifier quantifier(const Test& test) const;
  /// Whether that is so.
  [[nodiscard]] bool validated(const Test& test) const;
};

[[nodiscard]] Result run(const Test& test, Memory memory, const RunOptions& options);

/// What a test expects of a mode, from its line "Expect=sc:Never tso:Sometimes".
struct Expectation {
  Memory memory;
  Observation observation;
};
/// Nothing and an error if the line is wrong. No line, no expectations.
[[nodiscard]] std::optional<std::vector<Expectation>> expectations(const Test& test,
                                                                   std::string& error);

/// Whether nothing was observed that a test does not expect of that mode.
[[nodiscard]] bool as_expected(const Result& result, const std::vector<Expectation>& expected);

/// Where the model is simpler than a processor in what the test does: its verdict may be another
/// one there. The README has the list.
[[nodiscard]] std::vector<std::string> limits_of_model(const Test& test, Memory memory);

/// As herd prints a test, with a line that says which executions were explored.
[[nodiscard]] std::string print(const Test& test, const Result& result);

}  // namespace shootdown::host::litmus
