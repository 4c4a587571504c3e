#include "ports/harness/search.h"

#include <chrono>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "fuzz/run/limit_tally.h"
#include "fuzz/run/proof.h"
#include "fuzz/run/timeline.h"
#include "fuzz/scenario/files.h"
#include "hal/host/command_line.h"
#include "ports/harness/crash.h"
#include "ports/runtime/code.h"

namespace shootdown::port {

namespace {

using host::parse_number;

constexpr int kClean = 0;
constexpr int kFound = 1;
constexpr int kCouldNot = host::kCouldNot;
constexpr std::uint64_t kMost = std::uint64_t{1} << 63;
constexpr const char* kShared = "# shared:";

struct Options {
  std::string code;
  std::string names;
  std::string replay;
  std::string explore;
  std::string out;
  std::string sites;
  std::uint64_t seed{1};
  std::uint64_t executions{20000};
  std::uint64_t seconds{0};  // 0: executions are what is counted
  TrialOptions trial;
  bool progress{false};
};

constexpr const char* kUsage =
    "usage: search --code FILE.so [--names FILE] [--seed N] [--executions N] [--seconds N]\n"
    "              [--cpus 2..4] [--memory sc|tso] [--replay FILE] [--explore FILE] [--out FILE]\n"
    "              [--sites FILE] [--progress]\n";
constexpr const char* kConfigurations =
    "              [--pti on|off] [--pcid on|off] [--tables direct|deferred]\n";

/// `text` is the one or the other.
bool parse_choice(const char* text, std::string_view off, std::string_view on, Choice& choice) {
  const std::string_view name = text == nullptr ? "" : text;
  choice = name == on ? Choice::on : Choice::off;
  return name == on || name == off;
}

bool parse_configuration(std::string_view word, const char* value, TrialOptions& trial) {
  if (word == "--pti") return parse_choice(value, "off", "on", trial.pti);
  if (word == "--pcid") return parse_choice(value, "off", "on", trial.pcid);
  return word == "--tables" && parse_choice(value, "direct", "deferred", trial.deferred_tables);
}

bool parse_option(std::string_view word, const char* value, Options& options) {
  std::uint64_t cpus = 0;
  if (word == "--seed") return parse_number(value, 0, kMost, options.seed);
  if (word == "--executions") return parse_number(value, 1, kMost, options.executions);
  if (word == "--seconds") return parse_number(value, 1, kMost, options.seconds);
  if (word == "--memory") return parse_choice(value, "sc", "tso", options.trial.tso);
  if (word == "--cpus") {
    const bool good = parse_number(value, 2, 4, cpus);
    options.trial.cpus = static_cast<unsigned>(cpus);
    return good;
  }
  std::string* const text = word == "--code"      ? &options.code
                            : word == "--names"   ? &options.names
                            : word == "--replay"  ? &options.replay
                            : word == "--explore" ? &options.explore
                            : word == "--sites"   ? &options.sites
                            : word == "--out"     ? &options.out
                                                  : nullptr;
  if (text == nullptr || value == nullptr) return false;
  *text = value;
  return true;
}

bool parse(int argc, char** argv, bool has_configurations, Options& options) {
  for (int i = 1; i < argc; ++i) {
    const char* const value = i + 1 < argc ? argv[i + 1] : nullptr;
    if (std::string_view(argv[i]) == "--progress") {
      options.progress = true;
    } else if (parse_option(argv[i], value, options) ||
               (has_configurations && parse_configuration(argv[i], value, options.trial))) {
      ++i;
    } else {
      std::fprintf(stderr, "search: '%s' has no good value here\n%s%s", argv[i], kUsage,
                   has_configurations ? kConfigurations : "");
      return false;
    }
  }
  return true;
}

/// The scenario, and in a comment the words that its schedule counts as shared. Bytes have none.
bool keep(const std::string& path, const fuzz::Scenario& scenario,
          const std::vector<std::size_t>& shared, std::string& error) {
  if (shared.empty()) return fuzz::save(path, scenario, error);
  std::string text = print(scenario) + kShared;
  for (const std::size_t word : shared) text += " " + std::to_string(word);
  return fuzz::save(path, text + "\n", error);
}

std::vector<std::size_t> shared_words(const std::string& path) {
  std::vector<std::size_t> words;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(kShared)) continue;
    std::istringstream numbers(line.substr(std::string_view(kShared).size()));
    for (std::size_t word = 0; numbers >> word;) words.push_back(word);
  }
  return words;
}

/// Prints the execution as small as it becomes.
int report(Trial& trial, const fuzz::Scenario& scenario, const Options& options,
           const std::vector<std::size_t>& shared, std::uint64_t number) {
  const std::string title = fuzz::title(trial.machine().report());
  std::printf("found %s after %" PRIu64 " executions (seed %" PRIu64 ")\n\n", title.c_str(), number,
              options.seed + number - 1);
  std::fflush(stdout);
  const fuzz::Scenario small = trial.minimised(scenario);
  std::fputs(trial.story(small).c_str(), stdout);
  if (fuzz::title(trial.machine().report()) != title) {
    std::fputs("search: the scenario did not fail again; its seed with --executions 1 may\n",
               stderr);
  }
  std::string error;
  if (!options.out.empty() && !keep(options.out, small, shared, error)) {
    std::fprintf(stderr, "search: %s\n", error.c_str());
  }
  return kFound;
}

class Search {
 public:
  Search(Trial& trial, const Options& options) : trial_(trial), options_(options) {}

  int run() {
    for (; goes_on(); ++done_) {
      note_seed(options_.seed + done_);
      const bool failed = trial_.run(options_.seed + done_).failed();
      operations_ += trial_.machine().step();
      limits_.add(trial_.machine().limits());
      if (failed && comes_again()) {
        return report(trial_, scenario_, options_, shared_, done_ + 1);
      }
      show_progress();
    }
    return finish();
  }

 private:
  [[nodiscard]] bool goes_on() const {
    if (is_stopped()) return false;
    return options_.seconds != 0 ? std::time(nullptr) < end_ : done_ < options_.executions;
  }
  bool comes_again() {
    // The scenario holds the schedule that was decided meanwhile.
    const std::string title = fuzz::title(trial_.machine().report());
    scenario_ = trial_.scenario();
    const std::vector<std::size_t> surprises = trial_.surprises();
    if (fuzz::title(trial_.run(scenario_)) == title) return true;
    // Its deviations count visible operations, of which these words make more.
    shared_ = surprises;
    trial_.assume(shared_);
    if (!shared_.empty() && fuzz::title(trial_.run(scenario_)) == title) return true;
    shared_.clear();
    trial_.assume(shared_);
    ++lost_;
    return false;
  }
  void show_progress() const {
    if (!options_.progress || (done_ + 1) % 1000 != 0) return;
    std::fprintf(stderr, "\r%" PRIu64 " executions, %" PRIu64 " visible operations", done_ + 1,
                 operations_);
  }
  int finish() {
    if (options_.progress) std::fputs("\n", stderr);
    if (lost_ != 0) {
      std::fprintf(stderr,
                   "search: %" PRIu64 " failures did not come again when they were replayed\n",
                   lost_);
      return kCouldNot;
    }
    const double seconds = std::chrono::duration<double>(Clock::now() - begin_).count();
    std::printf("%s after %" PRIu64 " executions, %" PRIu64 " visible operations",
                is_stopped() ? "stopped" : "clean", done_, operations_);
    if (options_.seconds != 0) {
      std::printf("; %.0f executions and %.0f operations a second",
                  static_cast<double>(done_) / seconds, static_cast<double>(operations_) / seconds);
    }
    std::printf("\n%s", limits_.text().c_str());
    return is_stopped() ? kCouldNot : kClean;
  }

  using Clock = std::chrono::steady_clock;

  Trial& trial_;
  const Options& options_;
  fuzz::LimitTally limits_;
  fuzz::Scenario scenario_;
  std::vector<std::size_t> shared_;  // besides, where the scenario needs it
  std::uint64_t done_{0};
  std::uint64_t operations_{0};
  std::uint64_t lost_{0};
  Clock::time_point begin_{Clock::now()};
  std::time_t end_{std::time(nullptr) + static_cast<std::time_t>(options_.seconds)};
};

int replay(Trial& trial, const Options& options) {
  fuzz::Scenario scenario;
  fuzz::Source source;
  std::string error;
  if (!load(options.replay, fuzz::Unmarked::refused, scenario, source, error)) {
    std::fprintf(stderr, "search: %s\n", error.c_str());
    return kCouldNot;
  }
  trial.assume(shared_words(options.replay));
  std::fputs(trial.story(scenario).c_str(), stdout);
  return trial.machine().report().failed() ? kFound : kClean;
}

int explore(Trial& trial, const Options& options) {
  fuzz::Proof proof;
  std::string error;
  if (!load_proof(options.explore, proof, error)) {
    std::fprintf(stderr, "search: %s\n", error.c_str());
    return kCouldNot;
  }
  if (options.trial.tso != Choice::any) proof.scenario.header.tso = options.trial.tso == Choice::on;
  const auto progress = [&](const host::ExploreResult& result) {
    if (options.progress) {
      std::fprintf(stderr, "\r%" PRIu64 " executions", result.executions + result.redundant);
    }
    if (is_stopped()) std::exit(kCouldNot);  // NOLINT(concurrency-mt-unsafe): one thread
  };
  const host::ExploreResult result = trial.explore(proof, options.executions, progress);
  if (options.progress) std::fputs("\n", stderr);
  std::printf("%s\n%" PRIu64 " executions, %" PRIu64 " given up, %" PRIu64
              " steps, the longest %" PRIu64 "\n",
              proof.title.c_str(), result.executions, result.redundant, result.steps,
              result.longest);
  if (result.failed) {
    std::printf("found %s\n\n", fuzz::title(trial.machine().report()).c_str());
    std::fputs(trial.story(proof, result.schedule).c_str(), stdout);
    return kFound;
  }
  std::printf("%s\n", result.complete ? "complete: every interleaving that can make a difference"
                                      : "incomplete: --executions stopped it");
  return result.complete ? kClean : kCouldNot;
}

int save_sites(const std::vector<bool>& sites, const std::string& path) {
  std::FILE* file = std::fopen(path.c_str(), "w");
  if (file == nullptr) {
    std::fprintf(stderr, "search: %s cannot be written\n", path.c_str());
    return kCouldNot;
  }
  for (std::size_t offset = 0; offset < sites.size(); ++offset) {
    if (sites[offset]) std::fprintf(file, "0x%zx\n", offset);
  }
  return std::fclose(file) == 0 ? kClean : kCouldNot;
}

int work(const Options& options, const SearchTool& tool) {
  // Leaked, as frames of abandoned runs may refer to it.
  auto& code = *new model::Code;
  std::string error;
  if (!code.open(options.code, error) ||
      (!options.names.empty() && !code.read_names(options.names, error)) ||
      (tool.prepare != nullptr && !tool.prepare(code, error))) {
    std::fprintf(stderr, "search: %s\n", error.c_str());
    return kCouldNot;
  }
  TrialOptions trial_options = options.trial;
  trial_options.elides = tool.elides;
  auto& trial = *new Trial(tool.make, code, tool.draw, trial_options);
  catch_crashes(trial.machine(), code);
  if (!options.explore.empty()) return explore(trial, options);
  trial.learn();
  if (!options.replay.empty()) return replay(trial, options);
  std::vector<bool> sites;
  if (!options.sites.empty()) trial.kernel().memory().keep_sites(&sites);
  const int status = Search(trial, options).run();
  if (!options.sites.empty() && save_sites(sites, options.sites) != kClean) return kCouldNot;
  return status;
}

}  // namespace

int search_main(int argc, char** argv, const SearchTool& tool) {
  Options options;
  if (!parse(argc, argv, tool.has_configurations, options)) return kCouldNot;
  if (options.code.empty()) {
    std::fprintf(stderr, "%s%s", kUsage, tool.has_configurations ? kConfigurations : "");
    return kCouldNot;
  }
  std::string error;
  if (!options.out.empty() && !fuzz::can_save(options.out, error)) {
    std::fprintf(stderr, "search: %s\n", error.c_str());
    return kCouldNot;
  }
  return host::finish("search", work(options, tool));
}

}  // namespace shootdown::port
