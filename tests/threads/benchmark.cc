// Flushes on real cores: how long they take with the local part first, with both parts at the same
// time and with early answers, beside what a cache line takes there and back between the same CPUs.
#include <benchmark/benchmark.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "hal/host/benchmark_program.h"
#include "hal/host/command_line.h"
#include "hal/threads/processors.h"
#include "tests/threads/rounds.h"

namespace {

using shootdown::CpuId;
using shootdown::threads::Cell;
using shootdown::threads::Figures;
using shootdown::threads::Spread;
using shootdown::threads::Way;

struct Options {
  std::uint64_t rounds{1000};
  bool crowd{false};
};

bool a_measurement_was_wrong = false;

constexpr const char* kHelp =
    "usage: benchmark [OPTION]...\n"
    "Times flushes on CPUs that are threads, each pinned to a processor. Each round measures\n"
    "\n"
    "  serial      a flush whose initiator flushes its own TLB before it interrupts the others\n"
    "  concurrent  one whose initiator flushes while the others do\n"
    "  early       a concurrent one whose targets answer before they flush\n"
    "  line        no flush: a cache line to each other CPU and back, all at the same time\n"
    "\n"
    "24 times each, one after the other. Of the rounds' medians it prints the median in ns, and "
    "of\n"
    "their ratios the median and the quartiles. \"ticks\" are what one invalidation takes, as a "
    "wait\n"
    "on the time stamp counter: the TLBs are modelled, and without it they take almost no time.\n"
    "An interrupt is a store to a line that its target polls, cheaper than any interrupt.\n"
    "A cell with more CPUs than the process may use is not measured.\n"
    "\n"
    "  --rounds N                 rounds of each cell, 1000 if not given\n"
    "  --crowd                    measures such cells all the same; their times say nothing\n"
    "  --benchmark_filter=REGEX   only these, such as cpus:2/pages:1\n"
    "  --benchmark_out=FILE       the results as JSON, with the quartiles of the times\n"
    "  --help                     this text\n"
    "\n"
    "exit status: 0 measured what can be, 1 a flush did not do its work, 2 bad usage, or an "
    "output\n"
    "that cannot be written\n";

const char* heading() {
  return "                      times, medians, ns                   ratios: median (quartiles)\n"
         " CPUs pages ticks    serial concurrent   early    line    concurrent/serial   "
         "early/serial        concurrent/line\n";
}

void keep(benchmark::State& state, const std::string& name, const Spread& spread) {
  state.counters[name] = spread.median;
  state.counters[name + "_low"] = spread.low;
  state.counters[name + "_high"] = spread.high;
}

void flushes(benchmark::State& state, const Options& options) {
  const Cell cell{.cpus = static_cast<CpuId>(state.range(0)),
                  .pages = static_cast<unsigned>(state.range(1)),
                  .invalidation_ticks = static_cast<std::uint64_t>(state.range(2))};
  std::array<char, 32> head{};
  std::snprintf(head.data(), head.size(), "%5u %5u %5llu", cell.cpus, cell.pages,
                static_cast<unsigned long long>(cell.invalidation_ticks));
  state.SetLabel(head.data());
  const unsigned usable = shootdown::threads::usable_processors();
  if (cell.cpus > usable && !options.crowd) {
    const std::string why = "not measured: " + std::to_string(cell.cpus) +
                            " CPUs, and this process may use " + std::to_string(usable);
    state.SkipWithError(why.c_str());
    return;
  }
  const Figures figures = shootdown::threads::measure(cell, [&] { return state.KeepRunning(); });
  if (figures.fault != nullptr) {
    a_measurement_was_wrong = true;
    state.SkipWithError(figures.fault);
    return;
  }
  const auto time = [&](const char* name, Way way) {
    keep(state, name, figures.times[static_cast<std::size_t>(way)]);
  };
  time("serial", Way::serial);
  time("concurrent", Way::concurrent);
  time("early", Way::early);
  keep(state, "concurrent/serial", figures.ratio(Way::concurrent, Way::serial));
  keep(state, "early/serial", figures.ratio(Way::early, Way::serial));
  if (cell.cpus == 1) return;
  time("line", Way::line);
  keep(state, "concurrent/line", figures.ratio(Way::concurrent, Way::line));
}

/// One line for each cell.
class Table : public benchmark::BenchmarkReporter {
 public:
  bool ReportContext(const Context& /*context*/) override {
    std::printf("processors that this process may use: %u\n%s",
                shootdown::threads::usable_processors(), heading());
    return true;
  }
  void ReportRuns(const std::vector<Run>& runs) override {
    for (const Run& run : runs) {
      if (run.run_type == Run::RT_Iteration) print(run);
    }
    std::fflush(stdout);
  }

 private:
  static void print(const Run& run) {
    std::printf("%s  ", run.report_label.c_str());
    if (run.error_occurred) {
      std::printf("%s\n", run.error_message.c_str());
      return;
    }
    for (const char* way : {"serial", "concurrent", "early", "line"}) print_time(run, way);
    std::printf("   ");
    for (const char* ratio : {"concurrent/serial", "early/serial", "concurrent/line"}) {
      print_ratio(run, ratio);
    }
    std::printf("\n");
  }
  static void print_time(const Run& run, const char* name) {
    const auto found = run.counters.find(name);
    if (found == run.counters.end()) {
      std::printf("       -");
    } else {
      std::printf(" %7.0f", found->second.value);
    }
  }
  static void print_ratio(const Run& run, const std::string& name) {
    const auto found = run.counters.find(name);
    if (found == run.counters.end()) {
      std::printf(" -");
      return;
    }
    std::printf(" %5.2f (%.2f to %.2f)", found->second.value, run.counters.at(name + "_low").value,
                run.counters.at(name + "_high").value);
  }
};

/// Takes the options of this program out of the command line; the rest is the library's.
bool parse(int& argc, char** argv, Options& options) {
  int kept = 1;
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (word == "--crowd") {
      options.crowd = true;
    } else if (word == "--rounds") {
      const char* const value = i + 1 < argc ? argv[++i] : nullptr;
      if (!shootdown::host::parse_number(value, 1, 1'000'000, options.rounds)) {
        std::fprintf(stderr, "benchmark: --rounds takes a number %s\n",
                     shootdown::host::describe_range(1, 1'000'000).c_str());
        return false;
      }
    } else {
      argv[kept++] = argv[i];
    }
  }
  argc = kept;
  return true;
}

void add_cells(const Options& options) {
  auto* cells = benchmark::RegisterBenchmark(
      "flush", [&options](benchmark::State& state) { flushes(state, options); });
  cells->ArgNames({"cpus", "pages", "ticks"})->UseRealTime();
  cells->Iterations(static_cast<benchmark::IterationCount>(options.rounds));
  for (const int cpus : {1, 2, 4, 8}) {
    for (const int pages : {1, 10, 30}) {
      for (const int ticks : {0, 200}) cells->Args({cpus, pages, ticks});
    }
  }
}

/// Returns the exit status.
int run(int argc, char** argv) {
  Options options;
  if (!parse(argc, argv, options)) return shootdown::host::kCouldNot;
  add_cells(options);
  Table table;
  const int status = shootdown::host::run_benchmarks(argc, argv, &table);
  return status == 0 && a_measurement_was_wrong ? 1 : status;
}

}  // namespace

int main(int argc, char** argv) {
  return shootdown::host::benchmark_program(argc, argv, kHelp, run);
}
