#include "fuzz/run/proof.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <unordered_set>
#include <utility>

#include "fuzz/run/trace_report.h"
#include "fuzz/scenario/files.h"
#include "fuzz/scenario/kinds.h"
#include "fuzz/scenario/random.h"

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

/// Returns what is wrong, or nothing.
std::string read_number(std::string_view digits, unsigned& value) {
  const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (parsed.ec == std::errc() && parsed.ptr == digits.data() + digits.size()) return "";
  return "'" + std::string(digits) + "' is no number";
}

struct Count {
  std::string_view name;
  unsigned* value;
};

/// What names a page. Only one of `walks` and `pages` is not null.
struct PageList {
  std::string_view name;
  unsigned pages_known;
  std::vector<ControlledRun::Walk>* walks;
  std::vector<unsigned>* pages;
};

/// "PAGE" or "PAGE:LEVEL". Returns what is wrong, or nothing.
std::string add_page(std::string_view text, const PageList& list) {
  constexpr unsigned kMost = 8;  // of a kind
  const std::size_t colon = list.walks != nullptr ? text.find(':') : std::string_view::npos;
  ControlledRun::Walk walk{.page = 0};
  std::string wrong = read_number(text.substr(0, colon), walk.page);
  if (wrong.empty() && colon != std::string_view::npos) {
    wrong = read_number(text.substr(colon + 1), walk.level);
  }
  if (!wrong.empty()) return wrong;
  if (walk.page >= list.pages_known) return "there is no such page: " + std::string(text);
  if (walk.level < 1 || walk.level > kWalkLevels)
    return "there is no such level: " + std::string(text);
  if ((list.walks != nullptr ? list.walks->size() : list.pages->size()) == kMost) {
    return "'" + std::string(list.name) + "' is there more than eight times";
  }
  if (list.walks != nullptr) {
    list.walks->push_back(walk);
  } else {
    list.pages->push_back(walk.page);
  }
  return "";
}

/// One "name=value". Returns what is wrong, or nothing.
std::string set_option(std::string_view word, Proof& proof) {
  ControlledRun& run = proof.run;
  const Count counts[] = {{"setup", &run.setup},
                          {"preemptions", &run.preemptions},
                          {"lose", &run.losses},
                          {"duplicate", &run.duplicates},
                          {"migrate", &run.migrations},
                          {"own", &run.own},
                          {"deviations", &proof.deviations}};
  const PageList lists[] = {{"fill", kWalkedPages, &run.fills, nullptr},
                            {"evict", kWalkedPages, nullptr, &run.evictions},
                            {"nmi", kPages, nullptr, &run.nmis},
                            {"device", kWalkedPages, &run.device_walks, nullptr}};
  const std::size_t equals = word.find('=');
  const std::string_view key = word.substr(0, equals);
  if (equals == std::string_view::npos) return "no value in '" + std::string(word) + "'";
  const std::string_view value = word.substr(equals + 1);
  std::string known;
  for (const Count& count : counts) {
    if (count.name == key) return read_number(value, *count.value);
    known += std::string(count.name) + ", ";
  }
  for (const PageList& list : lists) {
    if (list.name == key) return add_page(value, list);
    known += std::string(list.name) + ", ";
  }
  known.resize(known.size() - 2);
  return "unknown word '" + std::string(key) + "'; known are " + known;
}

/// What the proof asks for and the scenario's header does not switch on, or nothing.
std::string missing_switch(const Proof& proof) {
  const Header& header = proof.scenario.header;
  const ControlledRun& run = proof.run;
  const auto missing = [](std::string_view word, std::string_view config) {
    return "'" + std::string(word) + "' has no effect without 'config " + std::string(config) + "'";
  };
  if (!run.nmis.empty() && !header.nmi) return missing("nmi", "nmi=1");
  if (!run.device_walks.empty() && !header.device) return missing("device", "device=1");
  if (run.losses != 0 && !header.faults) return missing("lose", "faults=1");
  if (run.duplicates != 0 && !header.faults) return missing("duplicate", "faults=1");
  if (run.preemptions != 0 && header.backend != Backend::kvm) {
    return missing("preemptions", "backend=kvm");
  }
  return "";
}

/// Why there is nothing to explore, or nothing: a proof of nothing holds.
std::string nothing_left(const Proof& proof) {
  std::size_t most = 0;
  for (const auto& ops : proof.scenario.ops) most = std::max<std::size_t>(most, ops.size());
  if (most > proof.run.setup) return "";
  if (most == 0) return "no CPU has an operation, so there is nothing to explore";
  return "with setup=" + std::to_string(proof.run.setup) +
         " all operations run before, so there is nothing to explore; the longest CPU has " +
         std::to_string(most);
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
      error = name + ": line " + std::to_string(line_number) + ": ";
      error += wrong;
      return false;
    }
  }
  ParseError wrong;
  if (!parse(text, proof.scenario, wrong)) {
    error = name + ": " + print(wrong);
    return false;
  }
  if (!explores) {
    error = name + ": no line says how to explore it; write, for example, '# explore: setup=1'";
    return false;
  }
  std::string wrong_with_it = missing_switch(proof);
  if (wrong_with_it.empty()) wrong_with_it = nothing_left(proof);
  if (wrong_with_it.empty()) return true;
  error = name + ": " + wrong_with_it;
  return false;
}

std::string why_not_explored(const Proof& proof) {
  if (!proof.scenario.header.compiler_reordering || proof.deviations != host::kUnbounded) return "";
  return "with compiler_reordering=1 the exploration needs a bound, because its reduction knows "
         "the memory models "
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
                       [&] { outcomes.insert(runner.machine().controlled().outcome_hash()); });
  result.guarantee = result.explored.guarantee(explore);
  result.outcomes = outcomes.size();
  if (result.explored.complete && !result.explored.failed) {
    for (unsigned i = 0; i < options.samples; ++i) {
      RandomWalk walk(i);
      run.controller = &walk;
      const host::Report& report = runner.run(proof.scenario, run);
      result.plain += walk.choices() / options.samples;
      if (bounded) continue;
      if (report.failed() || !outcomes.contains(runner.machine().controlled().outcome_hash())) {
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
