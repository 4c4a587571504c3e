// How fast executions are: a scenario run with the simulated kernel, the memory manager and every
// oracle. The scenarios are what the random search makes by default, 4 CPUs with 8 operations, the
// same in each run of this program.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "fuzz/run/runner.h"
#include "fuzz/scenario/generate.h"
#include "fuzz/scenario/scenario.h"
#include "hal/host/benchmark_program.h"

namespace {

using namespace shootdown::fuzz;

constexpr std::uint64_t kScenarios = 500;

bool an_oracle_fired = false;

std::vector<Scenario> scenarios(bool tso) {
  std::vector<Scenario> made(kScenarios);
  for (std::uint64_t i = 0; i < kScenarios; ++i) {
    generate(1 + i, {}, made[i]);
    made[i].header.tso = tso;
    normalise(made[i]);
  }
  return made;
}

void run_all(benchmark::State& state, const std::vector<Scenario>& made) {
  const auto runner = std::make_unique<Runner>();
  std::uint64_t operations = 0;
  std::uint64_t executions = 0;
  for ([[maybe_unused]] auto _ : state) {
    const auto& report = runner->run(made[executions++ % made.size()]);
    if (report.failed()) {
      an_oracle_fired = true;
      state.SkipWithError("an oracle fired");
      return;
    }
    operations += runner->machine().step();
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(executions));
  state.counters["visible"] =
      benchmark::Counter(static_cast<double>(operations), benchmark::Counter::kIsRate);
}

void execution_sc(benchmark::State& state) { run_all(state, scenarios(/*tso=*/false)); }
void execution_tso(benchmark::State& state) { run_all(state, scenarios(/*tso=*/true)); }

/// What an execution costs that does nothing: the set-up and the end.
void empty_execution(benchmark::State& state) {
  std::vector<Scenario> nothing(1);
  decode({}, nothing[0]);
  nothing[0].header.cpus = 4;
  for (auto& operations : nothing[0].ops) operations.clear();
  run_all(state, nothing);
}

/// Making the scenario, which engines do in their own way.
void generation(benchmark::State& state) {
  Scenario scenario;
  std::uint64_t seed = 1;
  for ([[maybe_unused]] auto _ : state) {
    generate(1 + (seed++ % kScenarios), {}, scenario);
    benchmark::DoNotOptimize(scenario);
  }
  state.SetItemsProcessed(state.iterations());
}

BENCHMARK(execution_sc);
BENCHMARK(execution_tso);
BENCHMARK(empty_execution);
BENCHMARK(generation);

/// Returns the exit status.
int run(int argc, char** argv) {
  const int status = shootdown::host::run_benchmarks(argc, argv, nullptr);
  return status == 0 && an_oracle_fired ? 1 : status;
}

constexpr const char* kHelp =
    "usage: benchmark [OPTION]...\n"
    "Measures executions a second. The options are those of Google Benchmark, such as\n"
    "\n"
    "  --benchmark_filter=REGEX   only these\n"
    "  --benchmark_min_time=N     so many seconds each\n"
    "  --benchmark_out=FILE       the results as a file; relative to where you stand\n"
    "  --help                     this text\n"
    "\n"
    "exit status: 0 measured, 1 an oracle fired, 2 bad usage, or an output that cannot be "
    "written\n";

}  // namespace

int main(int argc, char** argv) {
  return shootdown::host::benchmark_program(argc, argv, kHelp, run);
}
