// How long a flush of one remote CPU and the own one takes, with the local part before the remote
// one and with both at the same time.
//
// What is timed is `flush_tlb_mm_range` on one thread while another, on the other processor,
// answers as soon as it looks. An invalidation here costs what the second argument says, in ticks
// of the time stamp counter: on hardware INVLPG takes one to two hundred, here it would take almost
// none, and there would be nothing to overlap. The interrupt is a store to a mailbox that the
// target polls, which is cheaper than an interrupt on any machine.
// "tenth" and "median" are the times in nanoseconds that a tenth and half of the flushes do not
// exceed; unlike the mean they say something on a machine that has other things to do.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/shootdown.h"
#include "hal/threads/hal.h"

namespace {

using shootdown::CpuId;
using shootdown::kPageShift;
using shootdown::VirtAddr;
using shootdown::threads::Processors;
using H = shootdown::threads::ThreadHal;
using Clock = std::chrono::steady_clock;

/// Two CPUs that run one mm.
struct Pair {
  shootdown::System<H> system{};
  shootdown::Mm<H> mm{};
  std::atomic<CpuId> ready{0};
};

void come_up(Pair& pair) {
  initialize_cpu(pair.system);
  switch_mm(pair.system, pair.mm);
  H::enable_interrupts();
  pair.ready.fetch_add(1);
  while (pair.ready.load() != 2) H::pause();
}

void flush(benchmark::State& state, bool concurrent) {
  const auto pages = static_cast<VirtAddr>(state.range(0));
  const auto pair = std::make_unique<Pair>();
  const auto processors = std::make_unique<Processors>();
  std::vector<Clock::duration> times;
  H::set_concurrent_flush(concurrent);
  initialize_system(pair->system, {}, 0x1000);
  initialize_mm(pair->system, pair->mm, 0x2000);
  const auto program = [&](CpuId cpu) {
    come_up(*pair);
    if (cpu != 0) return;
    for ([[maybe_unused]] auto _ : state) {
      const auto before = Clock::now();
      static_cast<void>(
          flush_tlb_mm_range(pair->system, pair->mm, {.start = 0, .end = pages << kPageShift}));
      times.push_back(Clock::now() - before);
    }
  };
  processors->run({.cpus = 2,
                   .invalidation_ticks = static_cast<std::uint64_t>(state.range(1)),
                   .pinned = true,
                   .program = program,
                   .interrupt = [&] { handle_call_function_interrupt(pair->system); }});
  std::sort(times.begin(), times.end());
  const auto nanoseconds = [&](std::size_t index) {
    return std::chrono::duration<double, std::nano>(times[index]).count();
  };
  state.counters["tenth"] = nanoseconds(times.size() / 10);
  state.counters["median"] = nanoseconds(times.size() / 2);
  state.counters["interrupts"] = benchmark::Counter(
      static_cast<double>(processors->cpu(1).interrupts_taken), benchmark::Counter::kAvgIterations);
}

void concurrent_flush(benchmark::State& state) { flush(state, /*concurrent=*/true); }
void serial_flush(benchmark::State& state) { flush(state, /*concurrent=*/false); }

void arguments(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"pages", "ticks"})->UseRealTime();
  for (const int pages : {1, 10, 30}) {
    for (const int ticks : {0, 200}) benchmark->Args({pages, ticks});
  }
}

BENCHMARK(serial_flush)->Apply(arguments);
BENCHMARK(concurrent_flush)->Apply(arguments);

}  // namespace
