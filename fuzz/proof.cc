#include "fuzz/proof.h"

#include <charconv>
#include <chrono>
#include <unordered_set>
#include <utility>

#include "fuzz/files.h"
#include "fuzz/random.h"
#include "fuzz/story.h"

namespace shootdown::fuzz {

namespace {

using host::Controller;
using host::Footprint;
using host::Step;

constexpr std::string_view kTitleLine = "# title:";
constexpr std::string_view kExploreLine = "# explore:";

std::string_view trimmed(std::string_view text) {
  while (text.starts_with(' ')) text.remove_prefix(1);
  while (text.ends_with(' ') || text.ends_with('\r')) text.remove_suffix(1);
  return text;
}

/// Takes the next word off `text`.
std::string_view next_word(std::string_view& text) {
  text = trimmed(text);
  const std::string_view word = text.substr(0, text.find(' '));
  text.remove_prefix(word.size());
  return word;
}

/// One "name=number". Returns what is wrong, or nothing.
std::string set_option(std::string_view word, Proof& proof) {
  const std::size_t equals = word.find('=');
  const std::string_view key = word.substr(0, equals);
  unsigned value = 0;
  if (equals == std::string_view::npos) return "no value in '" + std::string(word) + "'";
  const std::string_view digits = word.substr(equals + 1);
  const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (parsed.ec != std::errc() || parsed.ptr != digits.data() + digits.size()) {
    return "'" + std::string(digits) + "' is no number";
  }
  if (key == "setup") {
    proof.run.setup = value;
  } else if (key == "fill") {
    if (value >= kPages + kKernelPages) return "there is no such page: " + std::string(digits);
    if (proof.run.fills.size() == 8) return "more than eight fills";
    proof.run.fills.push_back(value);
  } else if (key == "preemptions") {
    proof.run.preemptions = value;
  } else if (key == "deviations") {
    proof.deviations = value;
  } else {
    return "unknown word '" + std::string(key) +
           "'; setup, fill, preemptions and deviations are known";
  }
  return "";
}

/// Any enabled step is as likely as any other.
class RandomWalk final : public Controller {
 public:
  explicit RandomWalk(std::uint64_t seed) : random_(seed) {}
  std::size_t pick(const std::vector<Step>& enabled) override {
    choices_ *= static_cast<double>(enabled.size());
    return random_.below(static_cast<unsigned>(enabled.size()));
  }
  void done(Footprint& /*footprint*/) override {}
  /// The product of the numbers of alternatives on the way. Its mean over many walks is the number
  /// of all ways (Knuth: "Estimating the Efficiency of Backtrack Programs", 1975).
  [[nodiscard]] double choices() const { return choices_; }

 private:
  Random random_;
  double choices_{1};
};

}  // namespace

bool parse_proof(std::string_view text, const std::string& name, Proof& proof, std::string& error) {
  unsigned line_number = 0;
  bool explores = false;
  std::string_view rest = text;
  while (!rest.empty()) {
    ++line_number;
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(line.size() + (line.size() < rest.size() ? 1 : 0));
    if (line.starts_with(kTitleLine)) proof.title = trimmed(line.substr(kTitleLine.size()));
    if (!line.starts_with(kExploreLine)) continue;
    explores = true;
    std::string_view words = line.substr(kExploreLine.size());
    while (!trimmed(words).empty()) {
      const std::string wrong = set_option(next_word(words), proof);
      if (wrong.empty()) continue;
      error = name + ": line " + std::to_string(line_number) + ": " + wrong;
      return false;
    }
  }
  if (!explores) {
    error = name + ": no line says how to explore it; write, for example, '# explore: setup=1'";
    return false;
  }
  ParseError wrong;
  if (!parse(text, proof.scenario, wrong)) {
    error = name + ": " + print(wrong);
    return false;
  }
  return true;
}

std::string why_not_explored(const Proof& proof) {
  if (!proof.scenario.header.cxx || proof.deviations != host::kUnbounded) return "";
  return "with cxx=1 the exploration needs a bound, because its reduction knows the memory models "
         "of "
         "tso=0 and tso=1 only; write deviations=N in the line '# explore:', or give --deviations "
         "N";
}

bool load_proof(const std::string& path, Proof& proof, std::string& error) {
  std::string text;
  return load_text(path, text, error) && parse_proof(text, path, proof, error);
}

ProofResult prove(Runner& runner, const Proof& proof, const ProofOptions& options) {
  const auto begin = std::chrono::steady_clock::now();
  ProofResult result;
  const bool bounded = proof.deviations != host::kUnbounded;
  const host::ExploreOptions explore{
      .reduction = bounded ? host::Reduction::none : host::Reduction::source_sets,
      .deviations = proof.deviations,
      .most_executions = options.most_executions,
      .progress = options.progress};
  host::Explorer explorer(explore);
  ControlledRun run = proof.run;
  run.controller = &explorer;
  std::unordered_set<std::uint64_t> outcomes;
  result.explored =
      explorer.explore([&]() -> const host::Report& { return runner.run(proof.scenario, run); },
                       [&] { outcomes.insert(runner.machine().outcome_hash()); });
  result.guarantee = result.explored.guarantee(explore);
  result.outcomes = outcomes.size();
  if (result.explored.complete && !result.explored.failed) {
    for (unsigned i = 0; i < options.samples; ++i) {
      RandomWalk walk(i);
      run.controller = &walk;
      const host::Report& report = runner.run(proof.scenario, run);
      result.plain += walk.choices() / options.samples;
      if (bounded) continue;
      if (report.failed() || !outcomes.contains(runner.machine().outcome_hash())) {
        ++result.samples_missing;
      }
    }
  }
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return result;
}

std::string tell(Runner& runner, const Proof& proof, const std::vector<Step>& schedule) {
  host::Replay replay(schedule);
  ControlledRun run = proof.run;
  run.controller = &replay;
  return tell(runner, proof.scenario, {.control = &run});
}

}  // namespace shootdown::fuzz
