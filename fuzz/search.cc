// Search without an engine: random scenarios, counted, from a seed, under one of several strategies
// of scheduling. The honest baseline beside the guided engines, and fast enough for tests.
#include <cinttypes>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>

#include "fuzz/run/chain_search.h"
#include "fuzz/run/limit_tally.h"
#include "fuzz/run/plainest.h"
#include "fuzz/run/runner.h"
#include "fuzz/run/strategy.h"
#include "fuzz/run/trace_report.h"
#include "fuzz/scenario/files.h"
#include "fuzz/scenario/generate.h"
#include "fuzz/search_options.h"
#include "hal/host/command_line.h"

namespace {

using namespace shootdown::fuzz;
using shootdown::host::shell_quoted;

constexpr int kOk = 0;
constexpr int kFound = 1;
constexpr int kCouldNot = shootdown::host::kCouldNot;

/// Whether the scenario, with the deviations that the strategy has written down, is the run that
/// failed. Anything else is not a report but a mistake in the strategy.
bool replays(Runner& runner, const Scenario& scenario) {
  const std::string reported = title(runner.report());
  const std::uint64_t hash = runner.machine().recorder().hash();
  runner.run(scenario);
  return runner.report().failed() && title(runner.report()) == reported &&
         runner.machine().recorder().hash() == hash;
}

/// This very program, by the name that it was called by: another build may have another core
/// inside, and what a build with mutants runs depends on its link.
std::string own_name(char** argv) {
  std::error_code failed;
  const bool is_path = std::string_view(argv[0]).find('/') != std::string_view::npos;
  const auto path = is_path ? std::filesystem::absolute(argv[0], failed)
                            : std::filesystem::read_symlink("/proc/self/exe", failed);
  return shell_quoted(failed ? std::string_view(argv[0]) : std::string_view(path.native()));
}

/// A command that shows what was found. If it was not kept, one that finds it at once and keeps it.
std::string how_to_replay(char** argv, const SearchOptions& options, std::uint64_t seed,
                          std::uint64_t executions) {
  const std::string program = "  " + own_name(argv);
  if (!options.out.empty()) return program + " --replay " + shell_quoted(options.out);
  std::string command = program;
  for (char** word = argv + 1; *word != nullptr; ++word) command += " " + shell_quoted(*word);
  // The last of several counts.
  return command + " --seed " + std::to_string(seed) + " --executions " +
         std::to_string(executions) + " --out found.bin";
}

/// What a search has found: the number of the first execution that failed, and the report that
/// explains most of those that came within a counted number of executions after it.
struct Finds {
  Plainest plainest;
  std::uint64_t shown{0};  // the number of its execution, from 1 on
  std::uint64_t first{0};
  std::string first_title;

  /// Whether it is the plainest so far.
  bool add(const shootdown::host::Report& report, const Scenario& scenario, std::uint64_t number) {
    if (!plainest.any()) {
      first = number;
      first_title = title(report);
    }
    if (!plainest.offer(report, scenario)) return false;
    shown = number;
    return true;
  }
  /// Whether a search that has made so many executions goes on.
  [[nodiscard]] bool wants_more(std::uint64_t executions) const {
    return !plainest.any() ||
           (!plainest.is_plain() && executions < first + executions_after_find(first));
  }
};

/// Whether the file may be written at each find. What went to a pipe or a terminal stays there.
bool can_write_again(const std::string& path) {
  std::error_code failed;
  const std::filesystem::file_type type = std::filesystem::status(path, failed).type();
  return type == std::filesystem::file_type::not_found ||
         type == std::filesystem::file_type::regular;
}

/// Writes the scenario and says what it shows. Returns the exit status.
int report(const Finds& finds, const SearchOptions& options, char** argv,
           std::uint64_t executions) {
  std::string error;
  const bool saved = options.out.empty() || save(options.out, finds.plainest.scenario(), error);
  std::printf("found %s after %" PRIu64 " executions\n", title(finds.plainest.report()).c_str(),
              finds.first);
  if (!saved) {
    std::fprintf(stderr, "search: %s\n", error.c_str());
    return kCouldNot;
  }
  if (finds.shown != finds.first) {
    std::printf("It is the plainest of %" PRIu64 " executions; the first report was %s\n",
                executions, finds.first_title.c_str());
  }
  std::printf("%s:\n%s\n", options.out.empty() ? "To keep it" : "To see it again",
              how_to_replay(argv, options, options.seed + finds.shown - 1, 1).c_str());
  return kFound;
}

/// The family in which a chain was found, and after how many executions, in all and in it.
struct FoundFamily {
  std::uint64_t number;
  std::uint64_t executions;
  std::uint64_t again;
};

int report_chain(const shootdown::host::Report& report, const Scenario& scenario,
                 const SearchOptions& options, char** argv, const FoundFamily& found) {
  std::string error;
  std::printf("found %s after %" PRIu64 " executions\n", title(report).c_str(), found.executions);
  if (!options.out.empty() && !save(options.out, scenario, error)) {
    std::fprintf(stderr, "search: %s\n", error.c_str());
    return kCouldNot;
  }
  std::printf("%s:\n%s\n", options.out.empty() ? "To keep it" : "To see it again",
              how_to_replay(argv, options, found.number, found.again).c_str());
  return kFound;
}

int replay(const std::string& path) {
  static Runner runner;  // Too large for a stack.
  static Scenario scenario;
  Source source;
  std::string error;
  if (!load(path, Unmarked::refused, scenario, source, error)) {
    std::fprintf(stderr, "search: %s\n", error.c_str());
    return kCouldNot;
  }
  std::fputs(tell(runner, scenario, {}).c_str(), stdout);
  return runner.report().failed() ? kFound : kOk;
}

volatile std::sig_atomic_t stopped = 0;

/// The trace hash of each run, or nothing if no file is asked for.
class Hashes {
 public:
  explicit Hashes(const std::string& path)
      : file_(path.empty() ? nullptr : std::fopen(path.c_str(), "wb")), wanted_(!path.empty()) {}
  ~Hashes() {
    if (file_ != nullptr) std::fclose(file_);
  }
  Hashes(const Hashes&) = delete;
  Hashes& operator=(const Hashes&) = delete;

  void add(std::uint64_t hash) {
    if (file_ != nullptr) written_ &= std::fwrite(&hash, sizeof hash, 1, file_) == 1;
  }
  /// Whether all that was asked for is in the file.
  [[nodiscard]] bool is_whole() {
    return !wanted_ || (file_ != nullptr && written_ && std::fflush(file_) == 0);
  }

 private:
  std::FILE* file_;
  bool wanted_;
  bool written_{true};
};

int search(const SearchOptions& options, char** argv) {
  Hashes hashes(options.hashes);
  const bool keeps_each = !options.out.empty() && can_write_again(options.out);
  auto* runner = new Runner;
  auto* search = new Search(*runner, options.strategy, options.generate);
  std::uint64_t operations = 0;
  std::uint64_t lost = 0;
  Finds finds;
  LimitTally limits;
  std::uint64_t i = 0;
  for (; i < options.executions && stopped == 0 && finds.wants_more(i); ++i) {
    const bool failed = search->run(options.seed + i).failed();
    operations += runner->machine().step();
    hashes.add(runner->machine().recorder().hash());
    limits.add(runner->machine().limits());
    if (failed && replays(*runner, search->scenario())) {
      const bool plainer = finds.add(runner->report(), search->scenario(), i + 1);
      // The search goes on, and a core that is wrong may end the program by a signal.
      std::string error;
      if (plainer && keeps_each && !save(options.out, search->scenario(), error)) break;
      if (options.first) break;
    } else if (failed) {
      ++lost;
    }
    if (options.progress && (i + 1) % 100000 == 0) {
      std::fprintf(stderr, "%" PRIu64 " executions, %" PRIu64 " visible operations\n", i + 1,
                   operations);
    }
  }
  if (finds.plainest.any()) return report(finds, options, argv, i);
  if (lost != 0) {
    std::fprintf(stderr, "search: %" PRIu64 " reports cannot be replayed as scenarios\n", lost);
    return kCouldNot;
  }
  if (!hashes.is_whole()) {
    std::fprintf(stderr, "search: %s cannot be written\n", options.hashes.c_str());
    return kCouldNot;
  }
  const bool whole = i == options.executions;
  std::printf("%s after %" PRIu64 " executions, %" PRIu64 " visible operations\n",
              whole ? "clean" : "stopped", i, operations);
  std::fputs(limits.text().c_str(), stdout);
  return whole ? kOk : kCouldNot;
}

/// What is found has the number of its family in the place of a seed.
int search_chains(const SearchOptions& options, char** argv) {
  auto* runner = new Runner;
  ChainSearch chains(*runner, options.chain_preemptions);
  std::uint64_t executions = 0;
  std::uint64_t operations = 0;
  std::uint64_t family = options.seed;
  for (; executions < options.executions && family < ChainSearch::families(); ++family) {
    const std::uint64_t before = executions;
    const bool passed = chains.run(family, [&] {
      ++executions;
      operations += runner->machine().step();
      return !runner->report().failed() && stopped == 0;
    });
    if (passed) continue;
    if (!runner->report().failed()) break;
    return report_chain(runner->report(), chains.scenario(), options, argv,
                        {.number = family, .executions = executions, .again = executions - before});
  }
  std::printf("%" PRIu64 " of %" PRIu64 " families\n", family, ChainSearch::families());
  std::printf("%s after %" PRIu64 " executions, %" PRIu64 " visible operations\n",
              stopped == 0 ? "clean" : "stopped", executions, operations);
  return stopped == 0 ? kOk : kCouldNot;
}

/// Returns the exit status. An output that cannot be written is found out before the search.
int work(const SearchOptions& options, char** argv) {
  shootdown::host::go_where_the_user_stands();
  if (!options.replay.empty()) return replay(options.replay);
  std::string error;
  if (options.out.empty() || can_save(options.out, error)) {
    return options.chains ? search_chains(options, argv) : search(options, argv);
  }
  std::fprintf(stderr, "search: %s\n", error.c_str());
  return kCouldNot;
}

}  // namespace

int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (word != "--help" && word != "--list-focuses") continue;
    if (word == "--help") std::fputs(kSearchHelp, stdout);
    for (const Focus& focus : focuses()) {
      if (word != "--help")
        std::printf("%.*s\n", static_cast<int>(focus.name.size()), focus.name.data());
    }
    return shootdown::host::finish("search", kOk);
  }
  SearchOptions options;
  if (!parse_options(argc, argv, options)) return kCouldNot;
  for (const int number : {SIGINT, SIGTERM}) std::signal(number, [](int) { stopped = 1; });
  return shootdown::host::finish("search", work(options, argv));
}
