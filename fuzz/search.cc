// Search without an engine: random scenarios, counted, from a seed, under one of several strategies
// of scheduling. The honest baseline beside the guided engines, and fast enough for tests.
#include <algorithm>
#include <cinttypes>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "fuzz/run/chain_search.h"
#include "fuzz/run/limit_tally.h"
#include "fuzz/run/plainest.h"
#include "fuzz/run/runner.h"
#include "fuzz/run/strategy.h"
#include "fuzz/run/trace_report.h"
#include "fuzz/scenario/files.h"
#include "fuzz/scenario/generate.h"
#include "fuzz/scenario/kinds.h"
#include "hal/host/command_line.h"

namespace {

using namespace shootdown::fuzz;
using shootdown::host::shell_quoted;

constexpr int kOk = 0;
constexpr int kFound = 1;
constexpr int kCouldNot = shootdown::host::kCouldNot;

constexpr const char* kHelp =
    "usage: search [OPTION]...\n"
    "Runs random scenarios until an oracle fires or the count is reached.\n"
    "\n"
    "  --seed S          first seed (default 1); run i uses seed S + i\n"
    "  --executions N    how many runs at most (default 100000)\n"
    "  --cpus N          simulated CPUs, 1 to 8 (default: drawn, mostly 2 to 4); search_wide has\n"
    "                    up to 72 and draws them, a few that work and many that run the mm\n"
    "  --ops N           operations per CPU, 1 to 16 (default: drawn for each)\n"
    "  --deviations N    deviations from the default schedule at most, 0 to 64 (default 32)\n"
    "  --strategy NAME   what decides when things happen (default random):\n"
    "                    random, the generator, which knows nothing of the run;\n"
    "                    walk, a walk among the CPUs;\n"
    "                    pct, priorities of CPUs, store buffers and interrupts that change at 0 to "
    "4\n"
    "                    moments; of six runs of a scenario the first measures its length;\n"
    "                    aimed, preemptions and fills where interrupts are off\n"
    "  --backend NAME    always native, kvm, hyperv, xen or uv_bau (default: mostly native)\n"
    "  --turn SWITCH     a yes-or-no field of the configuration, such as broadcast, that is not "
    "at\n"
    "                    its default in any run; up to three with a plus between them\n"
    "  --focus NAME      every run has this focus: switches and operations that belong together;\n"
    "                    the blanks of its name may be underscores, its commas left out\n"
    "                    (default: half of the runs have one, each as often)\n"
    "  --list-focuses    only tells their names\n"
    "  --plain           no focus, and scenarios as the counted tests have them: 4 CPUs with 8\n"
    "                    operations and up to 16 deviations, if nothing else is said. The next "
    "two\n"
    "                    belong to it; otherwise they are always on\n"
    "  --any-switch      in half of the runs turn a switch that otherwise turns on request only,\n"
    "                    such as nmi or device; in half turn the others as often as not; and more\n"
    "                    runs above a hypervisor\n"
    "  --chains          in half of the runs some operations belong together, such as split and\n"
    "                    collapse of one page\n"
    "  --hashes FILE     write the trace hash of each run to FILE, 8 bytes each. Two programs with "
    "the\n"
    "                    same options did the same where their hashes are the same\n"
    "  --migrate         in every run threads move from CPU to CPU; without --plain they do in one "
    "of\n"
    "                    three anyway\n"
    "  --exhaustive-chains N\n"
    "                    no random runs, but all chains of up to four operations on one region, "
    "on\n"
    "                    2 and 3 CPUs, with up to N preemptions, 0 to 2; --seed is the first of "
    "the\n"
    "                    families of runs, and what is begun of them is done to its end\n"
    "  --out FILE        write the scenario that fired to FILE: as text if FILE ends in .txt, else "
    "as bytes\n"
    "  --replay FILE     search nothing; tell the story of FILE with the core that this program "
    "searches\n"
    "  --first           stop at the first report. Otherwise the search goes on for as many "
    "executions as\n"
    "                    it took, but 2000 at least and 40000 at most, and shows the report that\n"
    "                    explains most: no order, needless work or count, sequential memory, the\n"
    "                    default configuration\n"
    "  --progress        tell on stderr every 100000 runs\n"
    "  --help            this text\n"
    "\n"
    "Paths are relative to where you stand. //fuzz:reproduce tells stories, too, and makes "
    "scenarios "
    "smaller.\n"
    "\n"
    "exit status: 0 nothing found, 1 an oracle fired, 2 bad usage, a file that cannot be read or "
    "written,\n"
    "a report that does not replay, or stopped before the end; Ctrl-C tells how far it came\n";

struct Options {
  std::uint64_t seed{1};
  std::uint64_t executions{100000};
  GenerateOptions generate{};
  Strategy strategy{Strategy::random};
  bool plain{false};
  bool migrate{false};
  bool chains{false};
  unsigned chain_preemptions{0};
  bool cpus_given{false};
  bool ops_given{false};
  bool deviations_given{false};
  std::string hashes;
  bool progress{false};
  bool first{false};
  std::string out;
  std::string replay;
};

bool usage_error(const std::string& what) {
  std::fprintf(stderr, "search: %s; --help tells more\n", what.c_str());
  return false;
}

struct NumberOption {
  std::string_view name;
  std::uint64_t least;
  std::uint64_t most;
  std::uint64_t* wide;
  unsigned* narrow;
};

bool set_number(const NumberOption& option, const char* text) {
  std::uint64_t number = 0;
  if (!shootdown::host::parse_number(text, option.least, option.most, number)) {
    return usage_error(std::string(option.name) + " needs a number " +
                       shootdown::host::describe_range(option.least, option.most));
  }
  if (option.wide != nullptr) *option.wide = number;
  if (option.narrow != nullptr) *option.narrow = static_cast<unsigned>(number);
  return true;
}

template <class Names>
std::string list_of(const Names& names) {
  std::string text;
  for (const std::string_view name : names) text.append(text.empty() ? "" : ", ").append(name);
  return text;
}

/// A value that is one of `names`, in their order.
template <class Value, class Names>
bool set_named(const char* option, const char* text, const Names& names, Value& value) {
  const std::string_view word = text ? text : "";
  const auto found = std::find(names.begin(), names.end(), current_name(word));
  if (found == names.end())
    return usage_error(std::string(option) + " needs one of " + list_of(names));
  value = static_cast<Value>(found - names.begin());
  return true;
}

bool set_name(const char* option, const char* text, std::string& name) {
  if (text == nullptr || *text == '\0')
    return usage_error(std::string(option) + " needs a file name");
  name = text;
  return true;
}

/// Switches with a plus between them.
bool read_turned(std::string_view text, GenerateOptions& options) {
  options.turned = {};
  for (auto& turned : options.turned) {
    const std::string_view word = text.substr(0, text.find('+'));
    const std::string_view name = current_name(word);
    for (const HeaderSwitch& one : kHeaderSwitches) {
      if (one.name == name) turned = &one;
    }
    if (turned == nullptr) return false;
    if (word.size() == text.size()) return true;
    text.remove_prefix(word.size() + 1);
  }
  return false;
}

bool set_turned(const char* text, GenerateOptions& options) {
  if (text != nullptr && read_turned(text, options)) return true;
  std::vector<std::string_view> names;
  names.reserve(kHeaderSwitches.size());
  for (const HeaderSwitch& one : kHeaderSwitches) names.push_back(one.name);
  return usage_error("--turn needs up to " + std::to_string(options.turned.size()) +
                     " switches with a plus between them, of " + list_of(names));
}

bool set_focus(const char* text, GenerateOptions& options) {
  options.focus = find_focus(text ? text : "");
  return options.focus != nullptr ||
         usage_error("--focus needs one of those that --list-focuses tells");
}

/// One option; `value` takes the word behind it, or nothing. Returns false after telling what is
/// wrong.
template <class Value>
bool parse_option(const char* name, Value&& value, Options& options) {
  const NumberOption numbers[] = {
      {"--seed", 0, ~std::uint64_t{0}, &options.seed, nullptr},
      {"--executions", 1, ~std::uint64_t{0}, &options.executions, nullptr},
      {"--cpus", 1, kMaxCpus, nullptr, &options.generate.cpus},
      {"--ops", 1, kMaxOpsPerCpu, nullptr, &options.generate.ops_per_cpu},
      {"--deviations", 0, kMaxDeviations, nullptr, &options.generate.max_deviations},
      {"--exhaustive-chains", 0, 2, nullptr, &options.chain_preemptions},
  };
  const std::string_view word = name;
  options.chains |= word == "--exhaustive-chains";
  options.cpus_given |= word == "--cpus";
  options.ops_given |= word == "--ops";
  options.deviations_given |= word == "--deviations";
  for (const NumberOption& option : numbers) {
    if (word == option.name) return set_number(option, value());
  }
  if (word == "--strategy") return set_named(name, value(), kStrategyNames, options.strategy);
  if (word == "--backend") return set_named(name, value(), kBackendNames, options.generate.backend);
  if (word == "--turn") return set_turned(value(), options.generate);
  if (word == "--focus") return set_focus(value(), options.generate);
  if (word == "--hashes") return set_name(name, value(), options.hashes);
  if (word == "--plain") return options.plain = true;
  if (word == "--out") return set_name(name, value(), options.out);
  if (word == "--replay") return set_name(name, value(), options.replay);
  if (word == "--progress") return options.progress = true;
  if (word == "--first") return options.first = true;
  if (word == "--any-switch") return options.generate.any_switch = true;
  if (word == "--chains") return options.generate.chains = true;
  if (word == "--migrate") return options.migrate = true;
  return usage_error((word.starts_with("-") ? "unknown option " : "no use for the word ") +
                     shell_quoted(word));
}

/// What a search does if it is not plain.
void search_everywhere(Options& options) {
  GenerateOptions& generate = options.generate;
  generate.draw_cpus = !options.cpus_given;
  generate.draw_ops = !options.ops_given;
  if (!options.deviations_given) generate.max_deviations = kEverywhere.max_deviations;
  generate.any_switch = generate.chains = generate.focused = true;
  generate.migrate = kEverywhere.migrate;
}

bool parse_options(int argc, char** argv, Options& options) {
  for (int i = 1; i < argc; ++i) {
    const char* const name = argv[i];
    const auto value = [&]() -> const char* { return i + 1 < argc ? argv[++i] : nullptr; };
    if (!parse_option(name, value, options)) return false;
  }
  constexpr int kReplayAlone = 3;
  if (!options.replay.empty() && argc != kReplayAlone) {
    return usage_error("--replay takes no other option");
  }
  if (!options.plain) search_everywhere(options);
  if (options.migrate) options.generate.migrate = Migrate::in_all;
  if (options.plain) {
    return options.generate.focus == nullptr || usage_error("--plain has no focus");
  }
  return true;
}

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
std::string how_to_replay(char** argv, const Options& options, std::uint64_t seed,
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
int report(const Finds& finds, const Options& options, char** argv, std::uint64_t executions) {
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
                 const Options& options, char** argv, const FoundFamily& found) {
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

int search(const Options& options, char** argv) {
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
int search_chains(const Options& options, char** argv) {
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
int work(const Options& options, char** argv) {
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
    if (word == "--help") std::fputs(kHelp, stdout);
    for (const Focus& focus : focuses()) {
      if (word != "--help")
        std::printf("%.*s\n", static_cast<int>(focus.name.size()), focus.name.data());
    }
    return shootdown::host::finish("search", kOk);
  }
  Options options;
  if (!parse_options(argc, argv, options)) return kCouldNot;
  for (const int number : {SIGINT, SIGTERM}) std::signal(number, [](int) { stopped = 1; });
  return shootdown::host::finish("search", work(options, argv));
}
