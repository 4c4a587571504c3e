#include "kernel-glue/embed/port/trial.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>

#include "fuzz/run/timeline.h"
#include "fuzz/scenario/kinds.h"
#include "fuzz/scenario/minimise.h"

namespace shootdown::port {

using fuzz::Header;
using fuzz::Op;
using fuzz::Random;
using fuzz::Scenario;

namespace {

/// More visible operations than such programs need.
constexpr std::uint64_t kStepLimit = 100000;
constexpr unsigned kMostSpaces = 3;

/// Half of the configurations are the usual one; in the others each switch turns now and then.
void draw_header(Random& random, Header& header) {
  header.mms = static_cast<std::uint8_t>(random.between(1, kMostSpaces));
  header.tso = random.chance(1, 2);
  if (random.chance(1, 2)) return;
  header.pcid = !random.chance(1, 4);
  header.concurrent = !random.chance(1, 4);
  header.invpcid = !random.chance(1, 4);
  header.lazy_masks = random.chance(1, 4);
  header.lazy_test_up_front = random.chance(1, 4);
  header.by_loaded_mm = random.chance(1, 4);
  if (random.chance(1, 4)) {
    header.ceiling = static_cast<std::uint8_t>(random.below(fuzz::kMaxCeiling));
  }
}

/// The operations that the code has, on small pages.
void keep_kinds(Scenario& scenario, std::uint64_t kinds) {
  for (auto& program : scenario.ops) {
    for (unsigned i = program.size(); i > 0; --i) {
      const Op& op = program[i - 1];
      const bool is_large = shape(op.kind).uses_page && op.page >= fuzz::kSmallPages;
      if ((kinds >> static_cast<unsigned>(op.kind) & 1) == 0 || is_large) program.erase(i - 1);
    }
  }
}

}  // namespace

Trial::Trial(model::Code& code, const Functions& functions, const TrialOptions& options)
    : code_(code),
      options_(options),
      kinds_(functions.kinds()),
      kernel_(machine_, code, functions),
      focus_{.name = "port", .set = &draw_header, .kinds = kinds_} {}

void Trial::generate(std::uint64_t seed) {
  Random random(seed ^ 0x7f4a7c15);
  const unsigned cpus = options_.cpus != 0 ? options_.cpus : random.between(2, 4);
  fuzz::generate(seed,
                 {.cpus = cpus,
                  .ops_per_cpu = random.between(1, fuzz::kMaxOpsPerCpu),
                  .vary_header = false,
                  .focus = &focus_},
                 scenario_);
  keep_what_ports_have(scenario_.header);
  using MemoryModel = TrialOptions::MemoryModel;
  if (options_.memory != MemoryModel::any)
    scenario_.header.tso = options_.memory == MemoryModel::tso;
  keep_kinds(scenario_, kinds_);
  normalise(scenario_);
}

const host::Report& Trial::run(std::uint64_t seed) {
  generate(seed);
  switch (seed % 3) {
    case 0:
      return run(scenario_);
    case 1:
      walk_.start(scenario_, seed);
      return run(scenario_, walk_);
    default:
      aimed_.start(scenario_, seed, /*any_windows=*/true);
      return run(scenario_, aimed_);
  }
}

const host::Report& Trial::run(const Scenario& scenario) {
  own_.start(scenario);
  return run(scenario, own_);
}

const host::Report& Trial::run(const Scenario& scenario, host::ScheduleSource& schedule) {
  const Header& header = scenario.header;
  machine_.prepare(
      {.hardware = {.cpus = header.cpus, .pcid = header.pcid, .global_pages = header.global_pages},
       .memory = header.tso ? host::Memory::tso : host::Memory::sc,
       .programs = {.boot = &PortKernel::boot,
                    .program = &PortKernel::program,
                    .interrupt = &PortKernel::interrupt,
                    .argument = &kernel_},
       .exploration = {.step_limit = kStepLimit, .schedule = &schedule},
       .observer = &kernel_});
  kernel_.prepare(scenario);
  return machine_.run();
}

Scenario Trial::minimised(const Scenario& scenario) {
  const host::Report first = run(scenario);
  const auto still_fails = [&](const Scenario& candidate) {
    // The minimiser knows nothing of what the code has.
    Scenario kept = candidate;
    keep_what_ports_have(kept.header);
    keep_kinds(kept, kinds_);
    if (!(kept == candidate)) return false;
    const host::Report& report = run(candidate);
    return report.kind == first.kind && report.title == first.title;
  };
  return fuzz::minimise(scenario, still_fails).scenario;
}

std::string Trial::story(const Scenario& scenario) {
  machine_.recorder().turn_timeline(true);
  run(scenario);
  machine_.recorder().turn_timeline(false);
  const auto place = [&](std::size_t line) -> std::string {
    const void* const pc = kernel_.memory().place(line);
    if (pc == nullptr) return "";
    char text[32];
    // The address behind the call belongs to the line of the call, or to the next one.
    std::snprintf(text, sizeof text, "{0x%" PRIxPTR "}", code_.offset_of(pc) - 1);
    return text;
  };
  return "SCENARIO\n" + print(scenario) + "\nINTERLEAVING (one column per CPU; " +
         (scenario.header.tso ? "stores go through store buffers"
                              : "memory is sequentially consistent") +
         ")\n" + fuzz::interleaving(machine_, {.place = place}) + "\n" +
         fuzz::verdict(machine_, machine_.report());
}

}  // namespace shootdown::port
