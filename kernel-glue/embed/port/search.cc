// Searches for an execution in which memory-management code that was compiled for the model breaks
// a promise. try.py compiles the code, calls this, and names the lines of the code in what it
// prints.
#include <cinttypes>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <string>
#include <string_view>

#include "fuzz/run/limit_tally.h"
#include "fuzz/run/timeline.h"
#include "fuzz/scenario/files.h"
#include "hal/host/command_line.h"
#include "kernel-glue/embed/model/entry.h"
#include "kernel-glue/embed/port/trial.h"
#include "ports/runtime/code.h"

namespace {

using namespace shootdown;
using host::parse_number;
using port::Trial;

constexpr int kClean = 0;
constexpr int kFound = 1;
constexpr int kCouldNot = host::kCouldNot;

struct Options {
  std::string code;
  std::string names;
  std::string replay;
  std::string out;
  std::uint64_t seed{1};
  std::uint64_t executions{20000};
  std::uint64_t seconds{0};  // 0: executions are what is counted
  port::TrialOptions trial;
  bool progress{false};
};

constexpr const char* kUsage =
    "usage: search --code FILE.so [--names FILE] [--seed N] [--executions N] [--seconds N]\n"
    "              [--cpus 2..4] [--memory sc|tso] [--replay FILE] [--out FILE] [--progress]\n";

bool is_memory(const char* text, port::TrialOptions::MemoryModel& memory) {
  const std::string_view name = text == nullptr ? "" : text;
  memory =
      name == "sc" ? port::TrialOptions::MemoryModel::sc : port::TrialOptions::MemoryModel::tso;
  return name == "sc" || name == "tso";
}

bool parse_option(std::string_view word, const char* value, Options& options) {
  constexpr std::uint64_t kMost = std::uint64_t{1} << 62;
  std::uint64_t cpus = 0;
  if (word == "--seed") return parse_number(value, 0, kMost, options.seed);
  if (word == "--executions") return parse_number(value, 1, kMost, options.executions);
  if (word == "--seconds") return parse_number(value, 1, kMost, options.seconds);
  if (word == "--memory") return is_memory(value, options.trial.memory);
  if (word == "--cpus") {
    const bool good = parse_number(value, 2, 4, cpus);
    options.trial.cpus = static_cast<unsigned>(cpus);
    return good;
  }
  std::string* const text = word == "--code"     ? &options.code
                            : word == "--names"  ? &options.names
                            : word == "--replay" ? &options.replay
                            : word == "--out"    ? &options.out
                                                 : nullptr;
  if (text == nullptr || value == nullptr) return false;
  *text = value;
  return true;
}

bool parse(int argc, char** argv, Options& options) {
  for (int i = 1; i < argc; ++i) {
    if (std::string_view(argv[i]) == "--progress") {
      options.progress = true;
    } else if (parse_option(argv[i], i + 1 < argc ? argv[i + 1] : nullptr, options)) {
      ++i;
    } else {
      std::fprintf(stderr, "search: '%s' has no good value here\n%s", argv[i], kUsage);
      return false;
    }
  }
  return true;
}

volatile std::sig_atomic_t stopped = 0;

/// Prints the execution as small as it becomes.
int report(Trial& trial, const fuzz::Scenario& scenario, const Options& options,
           std::uint64_t number) {
  const std::string title = fuzz::title(trial.machine().report());
  std::printf("found %s after %" PRIu64 " executions (seed %" PRIu64 ")\n\n", title.c_str(), number,
              options.seed + number - 1);
  std::fflush(stdout);
  const fuzz::Scenario small = trial.minimised(scenario);
  std::fputs(trial.story(small).c_str(), stdout);
  std::string error;
  if (!options.out.empty() && !fuzz::save(options.out, small, error)) {
    std::fprintf(stderr, "search: %s\n", error.c_str());
    return kCouldNot;
  }
  return kFound;
}

int search(Trial& trial, const Options& options) {
  fuzz::LimitTally limits;
  std::uint64_t operations = 0;
  std::uint64_t lost = 0;
  const std::time_t end = std::time(nullptr) + static_cast<std::time_t>(options.seconds);
  std::uint64_t i = 0;
  const auto goes_on = [&] {
    if (stopped != 0) return false;
    return options.seconds != 0 ? std::time(nullptr) < end : i < options.executions;
  };
  for (; goes_on(); ++i) {
    const bool failed = trial.run(options.seed + i).failed();
    operations += trial.machine().step();
    limits.add(trial.machine().limits());
    if (failed) {
      // The scenario holds the schedule that was decided meanwhile.
      const std::string title = fuzz::title(trial.machine().report());
      const fuzz::Scenario scenario = trial.scenario();
      if (fuzz::title(trial.run(scenario)) == title) return report(trial, scenario, options, i + 1);
      ++lost;
    }
    if (options.progress && (i + 1) % 1000 == 0) {
      std::fprintf(stderr, "\r%" PRIu64 " executions, %" PRIu64 " visible operations", i + 1,
                   operations);
    }
  }
  if (options.progress) std::fputs("\n", stderr);
  if (lost != 0) {
    std::fprintf(stderr,
                 "search: %" PRIu64 " failures did not come again when they were replayed\n", lost);
    return kCouldNot;
  }
  std::printf("%s after %" PRIu64 " executions, %" PRIu64 " visible operations\n",
              stopped != 0 ? "stopped" : "clean", i, operations);
  std::fputs(limits.text().c_str(), stdout);
  return stopped != 0 ? kCouldNot : kClean;
}

int replay(Trial& trial, const Options& options) {
  fuzz::Scenario scenario;
  fuzz::Source source;
  std::string error;
  if (!load(options.replay, fuzz::Unmarked::refused, scenario, source, error)) {
    std::fprintf(stderr, "search: %s\n", error.c_str());
    return kCouldNot;
  }
  std::fputs(trial.story(scenario).c_str(), stdout);
  return trial.machine().report().failed() ? kFound : kClean;
}

int work(const Options& options) {
  model::Code code;
  std::string error;
  if (!code.open(options.code, error) ||
      (!options.names.empty() && !code.read_names(options.names, error))) {
    std::fprintf(stderr, "search: %s\n", error.c_str());
    return kCouldNot;
  }
  port::Functions functions;
  if (!functions.find(code, error)) {
    std::fprintf(stderr,
                 "search: the code has no function %s; kernel-glue/embed/on_model.h says what it "
                 "does\n",
                 error.c_str());
    return kCouldNot;
  }
  model::on_entry = [] { model::current_memory->settle(); };
  auto* trial = new Trial(code, functions, options.trial);
  return options.replay.empty() ? search(*trial, options) : replay(*trial, options);
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  if (!parse(argc, argv, options)) return kCouldNot;
  if (options.code.empty()) {
    std::fputs(kUsage, stderr);
    return kCouldNot;
  }
  for (const int number : {SIGINT, SIGTERM}) std::signal(number, [](int) { stopped = 1; });
  return host::finish("search", work(options));
}
