#include "ports/harness/trial.h"

#include <cinttypes>
#include <cstdio>
#include <utility>

#include "fuzz/events/layout.h"
#include "fuzz/run/timeline.h"
#include "fuzz/scenario/kinds.h"
#include "fuzz/scenario/minimise.h"
#include "ports/harness/crash.h"

namespace shootdown::port {

using fuzz::Header;
using fuzz::Op;
using fuzz::Random;
using fuzz::Scenario;

namespace {

/// More visible operations than such programs need.
constexpr std::uint64_t kStepLimit = 100000;
constexpr std::uint64_t kLearning = 2000;
constexpr std::uint64_t kFirstOfLearning = std::uint64_t{1} << 62;

void choose(Choice choice, bool& value) {
  if (choice != Choice::any) value = choice == Choice::on;
}

/// The operations that the code has, on small pages and on the kernel's.
void keep_kinds(Scenario& scenario, std::uint64_t kinds) {
  for (auto& program : scenario.ops) {
    for (unsigned i = program.size(); i > 0; --i) {
      const Op& op = program[i - 1];
      const bool is_large = shape(op.kind).uses_page && op.page >= fuzz::kSmallPages;
      if ((kinds >> static_cast<unsigned>(op.kind) & 1) == 0 || is_large) program.erase(i - 1);
    }
  }
}

host::SpeculativeWalk walk_of(const fuzz::ControlledRun::Walk& walk) {
  return {.address = fuzz::numbered_address(walk.page), .level = walk.level};
}

}  // namespace

Trial::Trial(Make make, model::Code& code, void (*draw)(Random& random, Header& header),
             const TrialOptions& options)
    : options_(options),
      kernel_(make(machine_, code)),
      focus_{.name = "port", .set = draw, .kinds = kernel_->kinds()} {
  kernel_->memory().sharing().turn(options.elides);
  known_ = kernel_->memory().sharing();
}

// ---- What CPUs share

void Trial::learn() {
  if (!options_.elides) return;
  const TrialOptions options = std::exchange(options_, TrialOptions{.elides = true});
  for (std::uint64_t i = 0; i < kLearning; ++i) {
    note_seed(kFirstOfLearning + i);
    // Each loop is waited for.
    if (run(kFirstOfLearning + i).kind == &kCrash) break;
    if (kernel_->memory().sharing().shared() != known_.shared()) {
      known_ = kernel_->memory().sharing();
    }
  }
  options_ = options;
}

void Trial::forget() {
  model::Sharing& sharing = kernel_->memory().sharing();
  if (sharing.shared() != known_.shared()) sharing = known_;
  for (const std::size_t word : assumed_) sharing.share(word);
}

std::vector<std::size_t> Trial::surprises() const {
  return kernel_->memory().sharing().besides(known_);
}

// ---- Executions

void Trial::generate(std::uint64_t seed) {
  Random random(seed ^ 0x7f4a7c15);
  const unsigned cpus = options_.cpus != 0 ? options_.cpus : random.between(2, 4);
  fuzz::generate(seed,
                 {.cpus = cpus,
                  .ops_per_cpu = random.between(1, fuzz::kMaxOpsPerCpu),
                  .vary_header = false,
                  .focus = &focus_},
                 scenario_);
  Header& header = scenario_.header;
  choose(options_.tso, header.tso);
  choose(options_.pti, header.pti);
  choose(options_.pcid, header.pcid);
  choose(options_.deferred_tables, header.defer_tables);
  kernel_->keep(header);
  keep_kinds(scenario_, kernel_->kinds());
  normalise(scenario_);
}

const host::Report& Trial::run(std::uint64_t seed) {
  const model::Sharing& sharing = kernel_->memory().sharing();
  forget();
  for (;;) {
    generate(seed);
    const host::Report* report = nullptr;
    switch (seed % 3) {
      case 0:
        report = &run(scenario_);
        break;
      case 1:
        walk_.start(scenario_, seed);
        report = &run(scenario_, walk_);
        break;
      default:
        aimed_.start(scenario_, seed, /*any_windows=*/true);
        report = &run(scenario_, aimed_);
        break;
    }
    if (!sharing.has_learned()) return *report;
  }
}

const host::Report& Trial::run(const Scenario& scenario) {
  forget();
  for (;;) {
    own_.start(scenario);
    const host::Report& report = run(scenario, own_);
    if (!kernel_->memory().sharing().has_learned()) return report;
  }
}

const host::Report& Trial::run(const Scenario& scenario, host::ScheduleSource& schedule) {
  host::Setup setup = kernel_->setup(scenario);
  setup.exploration = {.step_limit = kStepLimit, .schedule = &schedule};
  return run(scenario, setup);
}

const host::Report& Trial::run(const Scenario& scenario, const host::Setup& setup) {
  note_run();
  machine_.prepare(setup);
  kernel_->prepare(scenario);
  return machine_.run();
}

Scenario Trial::minimised(const Scenario& scenario) {
  const host::Report first = run(scenario);
  const auto still_fails = [&](const Scenario& candidate) {
    // The minimiser knows nothing of what the code has.
    Scenario kept = candidate;
    kernel_->keep(kept.header);
    keep_kinds(kept, kernel_->kinds());
    if (!(kept == candidate)) return false;
    const host::Report& report = run(candidate);
    return report.kind == first.kind && report.title == first.title;
  };
  return fuzz::minimise(scenario, still_fails).scenario;
}

std::string Trial::told(const Scenario& scenario) {
  const auto place = [&](std::size_t line) -> std::string {
    const void* const pc = kernel_->memory().place(line);
    if (pc == nullptr) return "";
    char text[32];
    // The address behind the call belongs to the line of the call, or to the next one.
    std::snprintf(text, sizeof text, "{0x%" PRIxPTR "}", kernel_->code().offset_of(pc) - 1);
    return text;
  };
  return "SCENARIO\n" + print(scenario) + "\nINTERLEAVING (one column per CPU; " +
         (scenario.header.tso ? "stores go through store buffers"
                              : "memory is sequentially consistent") +
         ")\n" + fuzz::interleaving(machine_, {.place = place}) + "\n" +
         fuzz::verdict(machine_, machine_.report());
}

std::string Trial::story(const Scenario& scenario) {
  machine_.recorder().turn_timeline(true);
  run(scenario);
  machine_.recorder().turn_timeline(false);
  return told(scenario);
}

// ---- All interleavings

const host::Report& Trial::run(const fuzz::Proof& proof, host::Controller& controller) {
  host::Setup setup = kernel_->setup(proof.scenario);
  host::Exploration& exploration = setup.exploration;
  exploration = {.step_limit = kStepLimit, .controller = &controller, .start_barrier = true};
  for (const auto& walk : proof.run.fills) exploration.fills.push_back(walk_of(walk));
  for (const unsigned page : proof.run.evictions) {
    exploration.evictions.push_back(fuzz::numbered_address(page));
  }
  for (const unsigned page : proof.run.nmis) {
    exploration.nmis.push_back(fuzz::numbered_address(page));
  }
  kernel_->set_start_barrier(proof.run.setup);
  return run(proof.scenario, setup);
}

host::ExploreResult Trial::explore(
    const fuzz::Proof& proof, std::uint64_t most_executions,
    const std::function<void(const host::ExploreResult&)>& progress) {
  model::Sharing& sharing = kernel_->memory().sharing();
  sharing.turn(true);
  host::Report again;
  again.kind = &host::kStuck;
  for (;;) {
    const bool bounded = proof.deviations != host::kUnbounded;
    host::Explorer explorer(
        {.reduction = bounded ? host::Reduction::none : host::Reduction::source_sets,
         .deviations = proof.deviations,
         .most_executions = most_executions,
         .progress = progress});
    const host::ExploreResult result = explorer.explore([&]() -> const host::Report& {
      const host::Report& report = run(proof, explorer);
      return sharing.has_learned() ? again : report;
    });
    if (!sharing.has_learned()) return result;
  }
}

std::string Trial::story(const fuzz::Proof& proof, const std::vector<host::Step>& steps) {
  host::Replay replay(steps);
  machine_.recorder().turn_timeline(true);
  run(proof, replay);
  machine_.recorder().turn_timeline(false);
  return told(proof.scenario);
}

}  // namespace shootdown::port
