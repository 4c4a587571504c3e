// Tells the story of one scenario or crash file.
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <system_error>

#include "fuzz/files.h"
#include "fuzz/minimise.h"
#include "fuzz/runner.h"
#include "fuzz/story.h"

namespace {

using namespace shootdown::fuzz;

constexpr int kOk = 0;
constexpr int kFound = 1;
constexpr int kUsage = 2;

constexpr const char* kHelp =
    "usage: reproduce [OPTION]... FILE\n"
    "Runs a scenario or crash file (bytes or text) and tells what happened.\n"
    "\n"
    "  --title          print one line: the oracle and the title, or \"ok\"\n"
    "  --text           print the scenario in its text form and do not run it\n"
    "  --last N         show only the last N lines of the interleaving\n"
    "  --minimise       find the smallest scenario with the same report first\n"
    "  -o OUT           write the scenario to OUT: as text if OUT ends in .txt, else as bytes\n"
    "  --help           this text\n"
    "\n"
    "exit status: 0 no oracle fired, 1 an oracle fired, 2 bad usage or unreadable file\n";

struct Options {
  bool title{false};
  bool text{false};
  bool minimise{false};
  unsigned last{0};
  std::string file;
  std::string out;
};

/// Digits only: strtoul would take a sign, and make a large number of it.
bool parse_number(const char* text, unsigned& number) {
  const char* const end = text + std::strlen(text);
  const auto result = std::from_chars(text, end, number);
  return result.ec == std::errc() && result.ptr == end;
}

/// Returns false after telling what is wrong.
bool parse_options(int argc, char** argv, Options& options) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    const auto value = [&]() -> const char* { return i + 1 < argc ? argv[++i] : nullptr; };
    if (word == "--title") {
      options.title = true;
    } else if (word == "--text") {
      options.text = true;
    } else if (word == "--minimise") {
      options.minimise = true;
    } else if (word == "-o" || word == "--last") {
      const char* argument = value();
      if (argument == nullptr || (word == "--last" && !parse_number(argument, options.last))) {
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

bool write_out(const Options& options, const Scenario& scenario) {
  std::string error;
  std::string content = print(scenario);
  if (!options.out.ends_with(".txt")) {
    const auto bytes = encode(scenario);
    content.assign(bytes.begin(), bytes.end());
  }
  if (save(options.out, content, error)) return true;
  std::fprintf(stderr, "reproduce: %s\n", error.c_str());
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--help") == 0) {
      std::fputs(kHelp, stdout);
      return kOk;
    }
  }
  Options options;
  if (!parse_options(argc, argv, options)) return kUsage;
  static Scenario scenario;
  std::string error;
  if (!load(options.file, scenario, error)) {
    std::fprintf(stderr, "reproduce: %s\n", error.c_str());
    return kUsage;
  }
  static Runner runner;  // Too large for a stack.
  if (options.minimise) shrink(runner, scenario);
  if (!options.out.empty() && !write_out(options, scenario)) return kUsage;
  if (options.text) {
    std::fputs(print(scenario).c_str(), stdout);
    return kOk;
  }
  if (options.title) {
    const auto& report = runner.run(scenario);
    std::printf("%s\n", title(report).c_str());
    return report.failed() ? kFound : kOk;
  }
  std::fputs(tell(runner, scenario, {.last_lines = options.last}).c_str(), stdout);
  return runner.report().failed() ? kFound : kOk;
}
