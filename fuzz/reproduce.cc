// Tells the story of one scenario or crash file.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>
#include <string>
#include <string_view>

#include "fuzz/run/runner.h"
#include "fuzz/run/trace_report.h"
#include "fuzz/run/unheeded.h"
#include "fuzz/scenario/files.h"
#include "fuzz/scenario/minimise.h"
#include "hal/host/command_line.h"

namespace {

using namespace shootdown::fuzz;

constexpr int kOk = 0;
constexpr int kFound = 1;
constexpr int kUsage = shootdown::host::kCouldNot;
constexpr const char* kName = "reproduce";

constexpr const char* kHelp =
    "usage: reproduce [OPTION]... FILE\n"
    "Runs a scenario, text or a crash file, and tells what happened.\n"
    "\n"
    "  --bytes          FILE may be bytes without a mark, as fuzzers keep them in a corpus or "
    "wrote\n"
    "                   them as crash files; any file is a scenario then\n"
    "  --title          print one line: the oracle and the title, or \"ok\"\n"
    "  --text           print the scenario in its text form and do not run it\n"
    "  --last N         show only the last N lines of the interleaving (0, the default: all)\n"
    "  --minimise       find the smallest scenario with the same report first\n"
    "  -o OUT           write the scenario to OUT: as text if OUT ends in .txt, else as bytes "
    "with\n"
    "                   their mark\n"
    "  --help           this text\n"
    "\n"
    "What a text asks for and what did nothing in its run is told on standard error, line by "
    "line.\n"
    "Paths are relative to where you stand.\n"
    "\n"
    "exit status: 0 no oracle fired, 1 an oracle fired, 2 bad usage, a file that is no scenario "
    "or\n"
    "cannot be read or written\n";

struct Options {
  Unmarked unmarked{Unmarked::refused};
  bool title{false};
  bool text{false};
  bool minimise{false};
  unsigned last{0};
  std::string file;
  std::string out;
};

bool parse_lines(const char* text, unsigned& lines) {
  std::uint64_t number = 0;
  if (!shootdown::host::parse_number(text, 0, std::numeric_limits<unsigned>::max(), number)) {
    return false;
  }
  lines = static_cast<unsigned>(number);
  return true;
}

/// Returns false after telling what is wrong.
bool parse_options(int argc, char** argv, Options& options) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    const auto value = [&]() -> const char* { return i + 1 < argc ? argv[++i] : nullptr; };
    if (word == "--bytes") {
      options.unmarked = Unmarked::taken;
    } else if (word == "--title") {
      options.title = true;
    } else if (word == "--text") {
      options.text = true;
    } else if (word == "--minimise") {
      options.minimise = true;
    } else if (word == "-o" || word == "--last") {
      const char* argument = value();
      if (argument == nullptr || *argument == '\0' ||
          (word == "--last" && !parse_lines(argument, options.last))) {
        std::fprintf(stderr, "reproduce: %.*s needs a %s\n", static_cast<int>(word.size()),
                     word.data(), word == "-o" ? "file name" : "number");
        return false;
      }
      if (word == "-o") options.out = argument;
    } else if (word.starts_with("-") && word != "-") {
      std::fprintf(stderr, "reproduce: unknown option %s; --help lists them\n", argv[i]);
      return false;
    } else if (!options.file.empty()) {
      std::fprintf(stderr, "reproduce: one file at a time, but got %s and %s\n",
                   options.file.c_str(), argv[i]);
      return false;
    } else {
      options.file = word;
    }
  }
  if (options.file.empty()) std::fprintf(stderr, "reproduce: no file given; --help tells more\n");
  return !options.file.empty();
}

/// Replaces `scenario` by the smallest one found that fires the same oracle with the same title.
void shrink(Runner& runner, Scenario& scenario) {
  const std::string wanted = title(runner.run(scenario));
  if (wanted == "ok") return;
  scenario = Scenario(runner.unfolded());
  MinimiseOptions options;
  options.progress = [](const MinimiseProgress& progress) {
    if (progress.tries % 500 == 0) std::fprintf(stderr, "minimising: %u tries\n", progress.tries);
  };
  const MinimiseResult result = minimise(
      scenario, [&](const Scenario& candidate) { return title(runner.run(candidate)) == wanted; },
      options);
  scenario = result.scenario;
  std::fprintf(stderr, "minimised in %u tries%s\n", result.tries,
               result.outcome == MinimiseOutcome::out_of_tries ? " (the limit)" : "");
}

bool fail(const std::string& error) {
  std::fprintf(stderr, "%s: %s\n", kName, error.c_str());
  return false;
}

bool read(const Options& options, Scenario& scenario, Source& source) {
  std::string error;
  if (!load(options.file, options.unmarked, scenario, source, error)) return fail(error);
  // Found out before the work: a scenario may take minutes to minimise.
  if (!options.out.empty() && !can_save(options.out, error)) return fail(error);
  return true;
}

/// Tells which lines of a text did nothing in the run that was recorded last.
void warn(Runner& runner, const Options& options, const Scenario& scenario, const Source& source) {
  // What was minimised has other lines.
  if (!source.is_text || options.minimise) return;
  for (const Unheeded& one : unheeded(runner.machine(), scenario)) {
    std::fprintf(stderr, "%s: %s:%u: warning: '%s' did nothing: %s\n", kName, options.file.c_str(),
                 source.deviation_lines[one.deviation],
                 print(scenario.deviations[one.deviation]).c_str(), one.why.c_str());
  }
}

/// Returns the exit status.
int tell(const Options& options, Scenario& scenario, const Source& source) {
  static Runner runner;  // Too large for a stack.
  std::string error;
  if (options.minimise) shrink(runner, scenario);
  if (!options.out.empty() && !save(options.out, scenario, error)) {
    fail(error);
    return kUsage;
  }
  if (options.text) {
    std::fputs(print(scenario).c_str(), stdout);
    return kOk;
  }
  if (options.title) {
    runner.machine().recorder().turn_timeline(true);
    const auto& report = runner.run(scenario);
    std::printf("%s\n", title(report).c_str());
    warn(runner, options, scenario, source);
    return report.failed() ? kFound : kOk;
  }
  std::fputs(tell(runner, scenario, {.timeline = {.last_lines = options.last}}).c_str(), stdout);
  warn(runner, options, scenario, source);
  return runner.report().failed() ? kFound : kOk;
}

}  // namespace

int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--help") == 0) {
      std::fputs(kHelp, stdout);
      return shootdown::host::finish(kName, kOk);
    }
  }
  Options options;
  if (!parse_options(argc, argv, options)) return kUsage;
  shootdown::host::go_where_the_user_stands();
  static Scenario scenario;
  Source source;
  if (!read(options, scenario, source)) return kUsage;
  return shootdown::host::finish(kName, tell(options, scenario, source));
}
