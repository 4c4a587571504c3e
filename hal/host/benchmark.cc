// How fast the model is by itself: visible operations per second of four simulated CPUs, without a
// simulated kernel and without oracles. Each CPU loads, stores, adds and stores again, on words
// that all of them use. "deviations" is how many visible operations lie between two preemptions by
// the schedule; 0: none, each CPU runs to its end. "coin": before each operation of two CPUs, whose
// accesses are sequentially consistent, a coin says which of them goes on: what a random scheduler
// of C++ atomics does.
#include <benchmark/benchmark.h>

#include <array>
#include <bit>
#include <cstdint>
#include <memory>

#include "hal/host/explore.h"
#include "hal/host/hal.h"
#include "hal/host/machine.h"

namespace {

using namespace shootdown;
using namespace shootdown::host;

constexpr CpuId kCpus = 4;
constexpr unsigned kRounds = 2000;
constexpr unsigned kOperations = 4;  // of a round

/// Switches to the next CPU after every `distance` operations, for ever.
class Preemptions final : public ScheduleSource {
 public:
  explicit Preemptions(std::uint64_t distance) : distance_(distance) {}
  bool next(Action& action) override {
    if (distance_ == 0) return false;
    cpu_ = (cpu_ + 1) % kCpus;
    action = {.delay = distance_, .kind = EventKind::preempt, .cpu = cpu_};
    return true;
  }

 private:
  std::uint64_t distance_;
  CpuId cpu_{0};
};

/// Two CPUs, and a coin before each operation.
class Coin final : public ScheduleSource {
 public:
  bool next(Action& action) override {
    random_ ^= random_ << 13U;
    random_ ^= random_ >> 7U;
    random_ ^= random_ << 17U;
    cpu_ ^= 1U;
    // So many times the coin says the same.
    const auto delay = static_cast<std::uint64_t>(std::countr_zero(random_)) + 1;
    action = {.delay = delay, .kind = EventKind::preempt, .cpu = cpu_};
    return true;
  }

 private:
  std::uint64_t random_{0x9e37'79b9'7f4a'7c15};
  CpuId cpu_{0};
};

struct World {
  Machine machine;
  std::array<HostAtomic<std::uint64_t>, 16> words;
};

void work(World& world, CpuId cpu) {
  for (unsigned round = 0; round < kRounds; ++round) {
    auto& mine = world.words[(round + cpu) % world.words.size()];
    auto& other = world.words[(round + 5) % world.words.size()];
    const std::uint64_t seen = other.load(std::memory_order_acquire);
    mine.store(seen, std::memory_order_release);
    other.fetch_add(1, std::memory_order_acq_rel);
    mine.store(round, std::memory_order_relaxed);
  }
}

void work_in_order(World& world, CpuId cpu) {
  for (unsigned round = 0; round < kRounds; ++round) {
    auto& mine = world.words[(round + cpu) % world.words.size()];
    auto& other = world.words[(round + 5) % world.words.size()];
    const std::uint64_t seen = other.load(std::memory_order_seq_cst);
    mine.store(seen, std::memory_order_seq_cst);
    other.fetch_add(1, std::memory_order_seq_cst);
    mine.store(round, std::memory_order_seq_cst);
  }
}

void meet(World& world, CpuId cpu) {
  static_cast<void>(world.words[cpu].load(std::memory_order_acquire));
  world.words[0].fetch_add(1, std::memory_order_acq_rel);
  world.words[(cpu + 1) % 3].store(cpu, std::memory_order_release);
  static_cast<void>(world.words[0].load(std::memory_order_acquire));
}

using Work = void (*)(World&, CpuId);

template <Work kWork>
void visible_operations(benchmark::State& state, CpuId cpus, Memory memory,
                        ScheduleSource& schedule) {
  const auto world = std::make_unique<World>();
  std::uint64_t operations = 0;
  for ([[maybe_unused]] auto _ : state) {
    world->machine.prepare(
        {.hardware = {.cpus = cpus},
         .memory = memory,
         .programs = {
             .boot = [](void*, CpuId) {},
             .program = [](void* self, CpuId cpu) { kWork(*static_cast<World*>(self), cpu); },
             .argument = world.get()},
         .exploration = {.step_limit = std::uint64_t{2} * kCpus * kRounds * kOperations,
                         .schedule = &schedule}});
    if (world->machine.run().failed()) {
      state.SkipWithError("the run failed");
      return;
    }
    operations += world->machine.step();
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(operations));
}

void preemptions(benchmark::State& state, Memory memory) {
  Preemptions schedule(static_cast<std::uint64_t>(state.range(0)));
  visible_operations<work>(state, kCpus, memory, schedule);
}
void coin(benchmark::State& state, Memory memory) {
  Coin schedule;
  visible_operations<work_in_order>(state, 2, memory, schedule);
}

void sc(benchmark::State& state) { preemptions(state, Memory::sc); }
void tso(benchmark::State& state) { preemptions(state, Memory::tso); }
void coin_sc(benchmark::State& state) { coin(state, Memory::sc); }
void coin_tso(benchmark::State& state) { coin(state, Memory::tso); }

/// Executions a second of an exhaustive exploration: three CPUs that load, add and store.
void explore(benchmark::State& state, Memory memory) {
  const auto world = std::make_unique<World>();
  const auto run_once = [&](Controller& controller) -> const Report& {
    world->machine.prepare(
        {.hardware = {.cpus = 3},
         .memory = memory,
         .programs = {
             .boot = [](void*, CpuId) {},
             .program = [](void* self, CpuId cpu) { meet(*static_cast<World*>(self), cpu); },
             .argument = world.get()},
         .exploration = {.controller = &controller}});
    return world->machine.run();
  };
  std::uint64_t executions = 0;
  std::uint64_t steps = 0;
  for ([[maybe_unused]] auto _ : state) {
    Explorer explorer({.most_executions = 5000});
    const ExploreResult result =
        explorer.explore([&]() -> const Report& { return run_once(explorer); });
    executions += result.executions + result.redundant;
    steps += result.steps;
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(executions));
  state.counters["steps"] =
      benchmark::Counter(static_cast<double>(steps), benchmark::Counter::kIsRate);
}

void explore_sc(benchmark::State& state) { explore(state, Memory::sc); }
void explore_tso(benchmark::State& state) { explore(state, Memory::tso); }

BENCHMARK(explore_sc);
BENCHMARK(explore_tso);
BENCHMARK(coin_sc);
BENCHMARK(coin_tso);
BENCHMARK(sc)->ArgName("deviations")->Arg(0)->Arg(100)->Arg(10)->Arg(2)->Arg(1);
BENCHMARK(tso)->ArgName("deviations")->Arg(0)->Arg(100)->Arg(10)->Arg(2)->Arg(1);

}  // namespace
