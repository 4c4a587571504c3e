// Shows that a benchmark builds and runs; the figure itself is of no interest.

#include <benchmark/benchmark.h>

#include <array>
#include <cstdint>

#include "tests/build/probe.h"

namespace {

void probe(benchmark::State& state) {
  constexpr std::array<std::uint32_t, 2> kCpus{0, 63};
  for ([[maybe_unused]] auto _ : state) {
    benchmark::DoNotOptimize(shootdown::probe::probe_body(kCpus.data(), 2));
  }
  if (state.iterations() == 0) state.SkipWithError("no iteration took place");
}

BENCHMARK(probe)->Iterations(1000);

}  // namespace
