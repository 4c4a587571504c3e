#include "litmus/run.h"

#include <algorithm>

#include "litmus/bench.h"
#include "litmus/compiler.h"
#include "litmus/text.h"

namespace shootdown::host::litmus {

std::optional<Memory> find_memory(std::string_view name) {
  for (const MemoryName& known : kMemories) {
    if (lower(name) == known.name) return known.memory;
  }
  return {};
}

std::string_view name_of(Memory memory) {
  for (const MemoryName& known : kMemories) {
    if (known.memory == memory) return known.name;
  }
  return "";
}

std::string_view name_of(Observation observation) {
  switch (observation) {
    case Observation::never:
      return "Never";
    case Observation::sometimes:
      return "Sometimes";
    case Observation::always:
      return "Always";
  }
  return "";
}

Observation Result::observation() const {
  if (positive == 0) return Observation::never;
  return negative == 0 ? Observation::always : Observation::sometimes;
}

Quantifier Result::quantifier(const Test& test) const {
  for (const auto& [model, quantifier] : test.kinds) {
    if (find_memory(model) == memory) return quantifier;
  }
  return test.quantifier;
}

bool Result::validated(const Test& test) const {
  switch (quantifier(test)) {
    case Quantifier::exists:
      return positive != 0;
    case Quantifier::not_exists:
      return positive == 0;
    case Quantifier::forall:
      return negative == 0;
  }
  return false;
}

namespace {

void count(const Test& test, State state, Result& result) {
  if (!holds(test, test.filter, state)) return;
  ++(holds(test, test.condition, state) ? result.positive : result.negative);
  state.resize(test.shown);
  ++result.states[state];
  if (result.states.size() <= kMostStates) return;
  result.problem = "more than " + std::to_string(kMostStates) + " final states that differ";
}

/// Ends an exploration whose test turned out to be wrong.
struct Refused {};

void note_failure(const Bench& bench, const Report& report, Result& result) {
  result.problem = report.title + (report.detail.empty() ? "" : ": " + report.detail);
  if (bench.gave_up_at() == nullptr || bench.gave_up_at()->line == 0) return;
  result.problem = quoted(bench.gave_up_at()->text) + ": " + result.problem;
  result.line = bench.gave_up_at()->line;
  result.column = bench.gave_up_at()->column;
}

/// All interleavings of the columns as they are now.
void explore(Bench& bench, const Test& test, Memory memory, Result& result) {
  // Far more than a litmus test has whose loops are bounded.
  constexpr std::uint64_t kMostSteps = 5000;
  constexpr std::uint64_t kProgressRuns = 1024;
  const std::uint64_t before = result.explored.executions + result.explored.redundant;
  Explorer explorer({.reduction = result.options.reduction,
                     .most_executions = result.options.most_executions - before,
                     .stop_at_failure = false});
  const auto once = [&]() -> const Report& {
    Setup setup;
    setup.memory = memory;
    setup.exploration.step_limit = kMostSteps;
    setup.exploration.controller = &explorer;
    bench.prepare(std::move(setup));
    if (++result.runs % kProgressRuns == 0 && result.options.progress) {
      result.options.progress(result.runs);
    }
    return bench.machine().run();
  };
  const auto visit = [&] {
    const Report& report = bench.machine().report();
    if (bench.took_other_path()) return;
    if (bench.cut()) {
      ++result.cut;
    } else if (report.failed()) {
      note_failure(bench, report, result);
    } else {
      count(test, bench.state(), result);
    }
    if (!result.problem.empty()) throw Refused();
  };
  ExploreResult explored;
  try {
    explored = explorer.explore(once, visit);
  } catch (const Refused&) {
    return;
  }
  result.explored.executions += explored.executions;
  result.explored.redundant += explored.redundant;
  result.explored.complete = result.explored.complete && explored.complete;
}

/// All interleavings of every choice of an order for each column.
void run_compiled(const Test& test, Result& result) {
  constexpr std::uint64_t kMostChoices = 1'000'000;
  std::vector<Compiled> compiled;
  result.orders = 1;
  for (const Column& column : test.columns) {
    compiled.push_back(compile(test, column,
                               {.most_repeats = result.options.most_repeats,
                                .load_buffering = result.options.load_buffering}));
    result.problem = compiled.back().problem;
    if (!result.problem.empty()) return;
    result.orders *= compiled.back().orders.size();
    if (result.orders > kMostChoices) {
      result.problem = "too many orders for memory cxx, of all CPUs together";
      return;
    }
  }
  Test chosen = test;
  Bench bench(chosen, result.options.most_repeats);
  for (std::uint64_t choice = 0; choice < result.orders; ++choice) {
    std::uint64_t rest = choice;
    for (std::size_t i = 0; i < compiled.size(); ++i) {
      const std::vector<Code>& orders = compiled[i].orders;
      chosen.columns[i].code = orders[rest % orders.size()];
      rest /= orders.size();
    }
    explore(bench, test, Memory::tso, result);
    if (!result.explored.complete || !result.problem.empty()) return;
  }
}

}  // namespace

Result run(const Test& test, Memory memory, const RunOptions& options) {
  Result result;
  result.memory = memory;
  result.options = options;
  result.explored.complete = true;
  if (memory == Memory::compiler_reordering) {
    run_compiled(test, result);
  } else {
    Bench bench(test, options.most_repeats);
    explore(bench, test, memory, result);
  }
  if (result.problem.empty() && result.explored.complete &&
      result.positive + result.negative == 0) {
    result.problem = result.cut != 0
                         ? "no execution ends: in each, a CPU jumps back more than " +
                               std::to_string(options.most_repeats) + " times; --unroll allows more"
                         : "no execution counts: the filter lets none through";
  }
  const ExploreOptions how{.reduction = options.reduction};
  result.guarantee = result.explored.guarantee(how);
  if (memory == Memory::compiler_reordering) {
    result.guarantee += ", of each of " + std::to_string(result.orders) +
                        " orders that stand for all that a compiler may choose";
  }
  if (result.cut != 0) {
    result.guarantee += ", each CPU jumping back at most " + std::to_string(options.most_repeats) +
                        " times (" + std::to_string(result.cut) + " executions cut)";
  }
  return result;
}

std::optional<std::vector<Expectation>> expectations(const Test& test, std::string& error) {
  std::vector<Expectation> found;
  const std::string* line = test.find("Expect");
  if (line == nullptr) return found;
  if (words({.text = *line}).empty()) {
    error = "Expect= says nothing; as in Expect=sc:Never tso:Sometimes";
    return {};
  }
  for (const Piece& word : words({.text = *line})) {
    const std::size_t colon = word.text.find(':');
    const auto memory = find_memory(word.text.substr(0, colon));
    const std::string wanted =
        colon == std::string_view::npos ? "" : lower(word.text.substr(colon + 1));
    std::optional<Observation> observation;
    for (const Observation one :
         {Observation::never, Observation::sometimes, Observation::always}) {
      if (lower(name_of(one)) == wanted) observation = one;
    }
    if (!memory || !observation) {
      error = "Expect=" + *line + ": " + quoted(word.text) +
              " is not MODE:OBSERVATION; modes are sc, tso and cxx, observations Never, Sometimes "
              "and Always";
      return {};
    }
    if (std::any_of(found.begin(), found.end(),
                    [&](const Expectation& one) { return one.memory == *memory; })) {
      error = "Expect=" + *line + ": " + std::string(name_of(*memory)) + " is there twice";
      return {};
    }
    found.push_back({.memory = *memory, .observation = *observation});
  }
  return found;
}

bool as_expected(const Result& result, const std::vector<Expectation>& expected) {
  return std::all_of(expected.begin(), expected.end(), [&](const Expectation& one) {
    return one.memory != result.memory || one.observation == result.observation();
  });
}

namespace {

std::string print_state(const Test& test, const State& state) {
  std::string text;
  for (std::size_t i = 0; i < state.size(); ++i) {
    const Term& term = test.terms[i];
    text += (i == 0 ? "" : " ") + term.text + "=" + print_value(test, term, state[i]) + ";";
  }
  return text;
}

std::string_view kind_of(Quantifier quantifier) {
  switch (quantifier) {
    case Quantifier::exists:
      return "Allowed";
    case Quantifier::not_exists:
      return "Forbidden";
    case Quantifier::forall:
      return "Required";
  }
  return "";
}

std::string_view word_of(Quantifier quantifier) {
  switch (quantifier) {
    case Quantifier::exists:
      return "exists";
    case Quantifier::not_exists:
      return "~exists";
    case Quantifier::forall:
      return "forall";
  }
  return "";
}

}  // namespace

std::string print(const Test& test, const Result& result) {
  std::string text =
      "Test " + test.name + " " + std::string(kind_of(result.quantifier(test))) + "\n";
  text += "States " + std::to_string(result.states.size()) + "\n";
  for (const auto& [state, count] : result.states) {
    std::string number = std::to_string(count);
    number.resize(std::max<std::size_t>(number.size(), 8), ' ');
    // What is shown decides the proposition: every term that it has is shown.
    text += number + (holds(test, test.condition, state) ? "*>" : ":>") + print_state(test, state);
    text += "\n";
  }
  text += result.validated(test) ? "Ok\n" : "No\n";
  text += "Witnesses\nPositive: " + std::to_string(result.positive) +
          " Negative: " + std::to_string(result.negative) + "\n";
  text += "Condition " + std::string(word_of(result.quantifier(test))) + " (" +
          print(test, test.condition) + ")\n";
  text += "Observation " + test.name + " " + std::string(name_of(result.observation())) + " " +
          std::to_string(result.positive) + " " + std::to_string(result.negative) + "\n";
  text += "Explored memory " + std::string(name_of(result.memory)) + ", " +
          std::to_string(result.explored.executions) + " executions (" +
          std::to_string(result.explored.redundant) +
          " more given up as redundant): " + result.guarantee + "\n";
  for (const std::string& limit : limits_of_model(test, result.memory)) {
    text += "Model " + limit + "\n";
  }
  return text;
}

}  // namespace shootdown::host::litmus
