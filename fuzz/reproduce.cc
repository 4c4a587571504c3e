// Tells the stories of scenarios and crash files.
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fuzz/run/runner.h"
#include "fuzz/run/story.h"
#include "fuzz/run/story_json.h"
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
    "usage: reproduce [OPTION]... FILE...\n"
    "Runs scenarios, text or crash files, and tells what happened. '-' is standard input.\n"
    "\n"
    "  --bytes          FILE may be bytes without a mark, as fuzzers keep them in a corpus or "
    "wrote\n"
    "                   them as crash files; any file is a scenario then\n"
    "  --title          print one line: the oracle and the title, or \"ok\"\n"
    "  --text           print the scenario in its text form and do not run it\n"
    "  --json           print the record of each run, an object on one line "
    "(fuzz/README.md)\n"
    "  --last N         of the interleaving show the last N lines, and of those before them the\n"
    "                   beginnings of operations, deviations and what is in conflict (0: all)\n"
    "  --width N        lines of so many characters (default: the terminal's)\n"
    "  --colour WHEN    auto, the default: on a terminal; always or never\n"
    "  --minimise       find the smallest scenario with the same report first\n"
    "  -o OUT           of one FILE: write the scenario to OUT, as text if OUT ends in .txt, else "
    "as bytes "
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
  bool json{false};
  bool minimise{false};
  unsigned last{0};
  unsigned width{0};  // 0: nothing is asked for
  std::optional<bool> colour{};
  std::vector<std::string> files;
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

bool parse_colour(std::string_view text, std::optional<bool>& colour) {
  if (text == "auto") {
    colour.reset();
  } else if (text == "always" || text == "never") {
    colour = text == "always";
  } else {
    return false;
  }
  return true;
}

/// Takes the argument of an option that has one. Returns what it needs if it is none of these.
const char* parse_argument(std::string_view word, const char* argument, Options& options) {
  const bool is_there = argument != nullptr && *argument != '\0';
  if (word == "-o") {
    if (is_there) options.out = argument;
    return is_there ? nullptr : "file name";
  }
  if (word == "--colour") {
    return is_there && parse_colour(argument, options.colour) ? nullptr
                                                              : "word: auto, always, never";
  }
  unsigned& number = word == "--last" ? options.last : options.width;
  return is_there && parse_lines(argument, number) ? nullptr : "number";
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
    } else if (word == "--json") {
      options.json = true;
    } else if (word == "-o" || word == "--last" || word == "--width" || word == "--colour") {
      if (const char* needs = parse_argument(word, value(), options)) {
        std::fprintf(stderr, "reproduce: %.*s needs a %s\n", static_cast<int>(word.size()),
                     word.data(), needs);
        return false;
      }
    } else if (word.starts_with("-") && word != "-") {
      std::fprintf(stderr, "reproduce: unknown option %s; --help lists them\n", argv[i]);
      return false;
    } else {
      options.files.emplace_back(word);
    }
  }
  if (options.files.empty()) {
    std::fprintf(stderr, "reproduce: no file given; --help tells more\n");
  } else if (options.files.size() > 1 && !options.out.empty()) {
    std::fprintf(stderr, "reproduce: -o is for one file, but got %s and %s\n",
                 options.files[0].c_str(), options.files[1].c_str());
    return false;
  }
  return !options.files.empty();
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

bool read(const Options& options, const std::string& file, Scenario& scenario, Source& source) {
  std::string error;
  if (!load(file, options.unmarked, scenario, source, error)) return fail(error);
  // Found out before the work: a scenario may take minutes to minimise.
  if (!options.out.empty() && !can_save(options.out, error)) return fail(error);
  return true;
}

/// Tells which lines of a text did nothing in the run that was recorded last.
void warn(Runner& runner, const Options& options, const std::string& file, const Scenario& scenario,
          const Source& source) {
  // What was minimised has other lines.
  if (!source.is_text || options.minimise) return;
  for (const Unheeded& one : unheeded(runner.machine(), scenario)) {
    std::fprintf(stderr, "%s: %s:%u: warning: '%s' did nothing: %s\n", kName, file.c_str(),
                 source.deviation_lines[one.deviation],
                 print(scenario.deviations[one.deviation]).c_str(), one.why.c_str());
  }
}

/// How the interleaving is laid out: as asked for, or else as the terminal is, if there is one.
TimelineOptions layout(const Options& options, const Scenario& scenario) {
  const bool is_terminal = isatty(STDOUT_FILENO) == 1;
  unsigned width = options.width;
  struct winsize window{};
  if (width == 0 && is_terminal && ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) == 0)
    width = window.ws_col;
  // NOLINTNEXTLINE(concurrency-mt-unsafe): the program has one thread.
  const bool wants_none = std::getenv("NO_COLOR") != nullptr;
  TimelineOptions result{.last_lines = options.last,
                         .colour = options.colour.value_or(is_terminal && !wants_none)};
  if (width == 0) return result;
  result.line_width = width;
  result.column_width = column_width(width, scenario.header.cpus);
  return result;
}

/// Returns the exit status.
int tell(const Options& options, const std::string& file, Scenario& scenario,
         const Source& source) {
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
    warn(runner, options, file, scenario, source);
    return report.failed() ? kFound : kOk;
  }
  const Story story = record(runner, scenario, nullptr);
  const std::string text = options.json ? json_of(runner, story, file)
                                        : told(runner, story, layout(options, story.scenario));
  std::fputs(text.c_str(), stdout);
  warn(runner, options, file, scenario, source);
  return runner.report().failed() ? kFound : kOk;
}

/// One file after the other. Returns the exit status: the worst.
int tell_all(const Options& options) {
  static Scenario scenario;
  int status = kOk;
  for (const std::string& file : options.files) {
    Source source;
    const bool is_headed = options.files.size() > 1 && !options.json && !options.text;
    if (is_headed) std::printf(options.title ? "%s: " : "==> %s <==\n", file.c_str());
    status = std::max(status, read(options, file, scenario, source)
                                  ? tell(options, file, scenario, source)
                                  : kUsage);
    if (is_headed && !options.title) std::printf("\n");
  }
  return status;
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
  return shootdown::host::finish(kName, tell_all(options));
}
