// One flush in modelled time, as JSON: what modelled_time.py runs.
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

#include "hal/timed/simulate.h"

namespace {

using namespace shootdown;
using namespace shootdown::timed;

constexpr int kCannot = 2;

constexpr const char* kUsage =
    "usage: simulate --prices FILE [--mode serial|concurrent|early|invlpgb] [--cpus N] [--capacity "
    "N]\n"
    "                [--loaded N] [--initiators N] [--pages N] [--pti on|off] [--line-bytes N]\n"
    "                [--fetch-ahead on|off]\n"
    "Prints one flush in modelled time as JSON; times are in picoseconds. hal/timed/README.md "
    "tells\n"
    "what the options mean, and bazel run //hal/timed:time is for people.\n"
    "exit status: 0, or 2 if there is no such run\n";

[[noreturn]] void refuse(const std::string& what) {
  std::fprintf(stderr, "simulate: %s\n", what.c_str());
  std::exit(kCannot);
}

Prices read_prices(const std::string& path) {
  std::ifstream file(path);
  if (!file) refuse(path + " cannot be read");
  const std::string text(std::istreambuf_iterator<char>(file), {});
  ParsedPrices parsed = parse_prices(text);
  if (!parsed.problem.empty()) refuse(path + ": " + parsed.problem);
  return parsed.prices;
}

struct Arguments {
  Experiment experiment{};
  std::string prices{};
};

unsigned number(std::string_view option, const char* text) {
  char* end = nullptr;
  const unsigned long value = std::strtoul(text, &end, 10);
  if (*text < '0' || *text > '9' || *end != '\0' || value > 1'000'000) {
    refuse(std::string(option) + " needs a number, and " + text + " is none");
  }
  return static_cast<unsigned>(value);
}

bool is_on(std::string_view option, std::string_view text) {
  if (text != "on" && text != "off") refuse(std::string(option) + " is on or off");
  return text == "on";
}

Mode mode_of(const std::string_view text) {
  constexpr std::string_view kNames[] = {"serial", "concurrent", "early", "invlpgb"};
  for (std::size_t i = 0; i < std::size(kNames); ++i) {
    if (kNames[i] == text) return static_cast<Mode>(i);
  }
  refuse("--mode is serial, concurrent, early or invlpgb");
}

Arguments parse(int count, char** words) {
  Arguments arguments;
  Experiment& experiment = arguments.experiment;
  for (int i = 1; i < count; i += 2) {
    const std::string_view option = words[i];
    if (option == "--help") {
      std::fputs(kUsage, stdout);
      std::exit(0);
    }
    if (i + 1 == count) refuse(std::string(option) + " needs a value");
    const char* const value = words[i + 1];
    if (option == "--prices") {
      arguments.prices = value;
    } else if (option == "--mode") {
      experiment.setup.mode = mode_of(value);
    } else if (option == "--pti") {
      experiment.setup.isolation = is_on(option, value);
    } else if (option == "--fetch-ahead") {
      experiment.fetches_ahead = is_on(option, value);
    } else if (option == "--cpus") {
      experiment.cpus = number(option, value);
    } else if (option == "--capacity") {
      experiment.capacity = number(option, value);
    } else if (option == "--loaded") {
      experiment.loaded = number(option, value);
    } else if (option == "--initiators") {
      experiment.initiators = number(option, value);
    } else if (option == "--pages") {
      experiment.setup.pages = number(option, value);
    } else if (option == "--line-bytes") {
      experiment.line_bytes = number(option, value);
    } else {
      refuse("there is no option " + std::string(option));
    }
  }
  if (arguments.prices.empty()) refuse("--prices FILE is missing");
  return arguments;
}

void print(const char* name, std::uint64_t value) {
  std::printf(" \"%s\": %llu,\n", name, static_cast<unsigned long long>(value));
}

/// No CPU: -1.
long long cpu_or_none(CpuId cpu) { return cpu == kNoCpu ? -1 : static_cast<long long>(cpu); }

void print_layout(const Layout& layout) {
  std::printf(
      " \"layout\": {\"system\": %zu, \"posts\": %zu, \"pending\": %zu, \"cpu_states\": %zu, "
      "\"mm\": %zu, \"mask_words\": %zu, \"pending_words\": %zu, \"pending_lines\": %zu},\n",
      layout.system, layout.posts, layout.pending, layout.cpu_states, layout.mm, layout.mask_words,
      layout.pending_words, layout.pending_lines);
}

void print_outcome(const Outcome& outcome) {
  std::printf("{\n");
  print("capacity", outcome.capacity);
  print("time", outcome.time);
  print("longest", outcome.longest);
  print("handlers", outcome.handlers);
  print("handlers_longest", outcome.handlers_longest);
  print("line_moves", outcome.tally.line_moves);
  print("commands", outcome.tally.commands);
  print("interrupts", outcome.tally.interrupts);
  print("invalidations", outcome.tally.invalidations);
  print_layout(outcome.layout);
  std::printf(" \"lines\": {");
  const char* separator = "";
  for (const LineCount& line : outcome.lines) {
    std::printf("%s\n  \"%s\": {\"moves\": %llu, \"lines\": %u, \"initiator\": %u, \"target\": %u}",
                separator, line.name.c_str(), static_cast<unsigned long long>(line.moves),
                line.lines, line.initiator, line.target);
    separator = ",";
  }
  std::printf("},\n \"path\": [");
  separator = "";
  for (const Step& step : outcome.path) {
    std::printf("%s\n  [%u, %llu, %llu, \"%s\", \"%s\", %lld]", separator, step.cpu,
                static_cast<unsigned long long>(step.start),
                static_cast<unsigned long long>(step.end), std::string(name_of(step.cause)).c_str(),
                step.line.c_str(), cpu_or_none(step.other));
    separator = ",";
  }
  std::printf("]\n}\n");
}

}  // namespace

int main(int count, char** words) {
  const Arguments arguments = parse(count, words);
  const Prices prices = read_prices(arguments.prices);
  if (const std::string why = refusal(arguments.experiment); !why.empty()) refuse(why);
  const Outcome outcome = simulate(arguments.experiment, prices);
  if (!outcome.failure.empty()) refuse("the run ended: " + outcome.failure);
  print_outcome(outcome);
  return 0;
}
