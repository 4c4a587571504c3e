#include "hal/timed/simulate.h"

#include <algorithm>
#include <map>
#include <memory>

#include "hal/timed/machine.h"

namespace shootdown::timed {
namespace {

/// Flushes before the one that is timed: lines are where they are in the steady state then, and
/// with broadcast every CPU is on the global ASID.
constexpr unsigned kWarmUp = 2;

struct Run {
  const Experiment& experiment;
  Kernel& kernel;
  Machine& machine;
  Time begin{0};
  Time end{0};       // of CPU 0
  Time last_end{0};  // of all initiators
};

Kernel& kernel_of(void* run) { return static_cast<Run*>(run)->kernel; }

void flush_timed(void* argument) {
  auto& run = *static_cast<Run*>(argument);
  run.kernel.flush_pages();
  run.last_end = std::max(run.last_end, run.machine.now());
}

void on_others(Run& run, CpuId end, Machine::Code job) {
  for (CpuId cpu = 1; cpu < end; ++cpu) run.machine.start(cpu, job);
  run.machine.settle();
}

/// What CPU 0 does.
void program(void* argument) {
  auto& run = *static_cast<Run*>(argument);
  const Experiment& experiment = run.experiment;
  run.kernel.boot_system();
  run.kernel.boot_cpu();
  on_others(run, experiment.cpus, [](void* it) { kernel_of(it).boot_cpu(); });
  run.kernel.load_mm();
  on_others(run, experiment.loaded, [](void* it) { kernel_of(it).load_mm(); });
  for (unsigned i = 0; i < kWarmUp; ++i) {
    run.kernel.flush_everything();
    run.machine.settle();
  }
  for (unsigned i = 0; i <= kWarmUp; ++i) {
    if (i == kWarmUp) run.machine.start_recording();
    run.begin = run.machine.now();
    for (CpuId cpu = 1; cpu < experiment.initiators; ++cpu) run.machine.start(cpu, flush_timed);
    flush_timed(argument);
    run.end = run.machine.now();
    run.machine.settle();
  }
  run.machine.stop_recording();
}

CpuId smallest_capacity(CpuId cpus) {
  const auto known = capacities();
  const auto found = std::ranges::find_if(known, [&](CpuId capacity) { return capacity >= cpus; });
  return found == known.end() ? 0 : *found;
}

Experiment completed(Experiment experiment) {
  if (experiment.capacity == 0) experiment.capacity = smallest_capacity(experiment.cpus);
  if (experiment.loaded == 0) experiment.loaded = experiment.cpus;
  return experiment;
}

std::vector<LineCount> count_lines(const Directory& directory, CpuId target) {
  std::map<std::string, LineCount> found;
  const auto by_name = [&](const std::string& name) -> LineCount& {
    return found
        .try_emplace(name,
                     LineCount{.name = name, .moves = 0, .lines = 0, .initiator = 0, .target = 0})
        .first->second;
  };
  for (const auto& [name, moves] : directory.moves()) {
    by_name(name).moves = moves.count;
    by_name(name).lines = static_cast<unsigned>(moves.lines.size());
  }
  for (const auto& [name, count] : directory.used_by(0)) by_name(name).initiator = count;
  for (const auto& [name, count] : directory.used_by(target)) by_name(name).target = count;
  std::vector<LineCount> lines;
  lines.reserve(found.size());
  for (const auto& [name, count] : found) lines.push_back(count);
  return lines;
}

}  // namespace

std::string refusal(const Experiment& asked) {
  const Experiment experiment = completed(asked);
  const auto known = capacities();
  if (experiment.cpus == 0) return "there is at least 1 CPU";
  if (experiment.cpus > known.back()) {
    return "there are at most " + std::to_string(known.back()) + " CPUs";
  }
  if (std::ranges::find(known, experiment.capacity) == known.end()) {
    std::string text = "no kernel is built for " + std::to_string(experiment.capacity) + " CPUs:";
    for (const CpuId capacity : known) text += " " + std::to_string(capacity);
    return text + " are";
  }
  if (experiment.cpus > experiment.capacity) return "more CPUs than the kernel is built for";
  if (experiment.loaded > experiment.cpus) return "more CPUs have the mm loaded than there are";
  if (experiment.initiators == 0 || experiment.initiators > experiment.loaded) {
    return "initiators are at least 1, and have the mm loaded";
  }
  if (experiment.setup.pages == 0 || experiment.setup.pages > 33) {
    return "pages are 1 to 33: more are flushed as a whole";
  }
  if (experiment.setup.isolation && experiment.setup.mode == Mode::invlpgb) {
    return "broadcast and page-table isolation exclude each other";
  }
  const std::size_t bytes = experiment.line_bytes;
  if (bytes < 8 || bytes > 4096 || (bytes & (bytes - 1)) != 0) {
    return "a line has 8 to 4096 bytes, a power of two";
  }
  return "";
}

Outcome simulate(const Experiment& asked, const Prices& prices) {
  const Experiment experiment = completed(asked);
  Outcome outcome{};
  outcome.failure = refusal(asked);
  if (!outcome.failure.empty()) return outcome;
  Machine machine(prices, experiment.cpus, experiment.line_bytes, experiment.fetches_ahead);
  Setup setup = experiment.setup;
  setup.cpus = experiment.cpus;
  const std::unique_ptr<Kernel> kernel = make_kernel(experiment.capacity, setup);
  kernel->name_lines(machine.directory());
  Run run{.experiment = experiment, .kernel = *kernel, .machine = machine};
  outcome.failure = machine.run(program, [](void* it) { kernel_of(it).handle_interrupt(); }, &run);
  if (!outcome.failure.empty()) return outcome;
  outcome.capacity = experiment.capacity;
  outcome.time = run.end - run.begin;
  outcome.longest = run.last_end - run.begin;
  for (CpuId cpu = 0; cpu < experiment.cpus; ++cpu) {
    outcome.handlers += machine.handler_time(cpu);
    outcome.handlers_longest = std::max(outcome.handlers_longest, machine.handler_time(cpu));
  }
  outcome.tally = machine.tally();
  outcome.layout = kernel->layout();
  outcome.lines = count_lines(machine.directory(), experiment.loaded - 1);
  outcome.path = critical_path(machine, 0, run.begin, run.end);
  return outcome;
}

}  // namespace shootdown::timed
