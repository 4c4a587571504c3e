#include "fuzz/run/runner.h"

#include "fuzz/kernel/layout.h"
#include "fuzz/scenario/kinds.h"

namespace shootdown::fuzz {

namespace {

static_assert(shape(DeviationKind::stale).arg_count == host::CxxMemory::kPast);

host::Memory memory_of(const Header& header) {
  if (header.cxx) return host::Memory::cxx;
  return header.tso ? host::Memory::tso : host::Memory::sc;
}

}  // namespace

host::Machine::Setup Runner::setup_of(const Scenario& scenario) {
  return {.cpus = scenario.header.cpus,
          .pcid = scenario.header.pcid,
          .global_pages = scenario.header.global_pages,
          .invlpg_leaves_globals = scenario.header.invlpg_erratum,
          .memory = memory_of(scenario.header),
          .step_limit = kStepLimit,
          .backend = backend_of(scenario.header),
          .boot = &Guest::boot,
          .program = &Guest::program,
          .interrupt = &Guest::interrupt,
          .hub_interrupt = &Guest::hub_interrupt,
          .nmi = scenario.header.nmi ? &Guest::nmi : nullptr,
          .argument = &guest_,
          .observer = &oracles_};
}

const host::Report& Runner::run(const Scenario& scenario) {
  schedule_.start(scenario);
  return run(scenario, schedule_);
}

const host::Report& Runner::run(const Scenario& scenario, host::ScheduleSource& schedule) {
  host::Machine::Setup setup = setup_of(scenario);
  setup.schedule = &schedule;
  return run(scenario, setup);
}

host::SpeculativeWalk Runner::walk_of(const ControlledRun::Walk& walk) {
  return {.address = numbered_address(walk.page), .level = walk.level};
}

const host::Report& Runner::run(const Scenario& scenario, const ControlledRun& control) {
  host::Machine::Setup setup = setup_of(scenario);
  setup.controller = control.controller;
  setup.gated = true;
  setup.preemptions = control.preemptions;
  setup.losses = control.losses;
  setup.duplicates = control.duplicates;
  setup.patience = control.losses != 0 ? Guest::kPatience : 0;
  for (const auto& walk : control.fills) setup.fills.push_back(walk_of(walk));
  for (const unsigned page : control.evictions) setup.evictions.push_back(numbered_address(page));
  for (const unsigned page : control.nmis) setup.nmis.push_back(numbered_address(page));
  for (const auto& walk : control.device_walks) {
    setup.device_walks.push_back({.context = 0, .walk = walk_of(walk)});
  }
  guest_.set_gate(control.setup);
  return run(scenario, setup);
}

const host::Report& Runner::run(const Scenario& scenario, const host::Machine::Setup& setup) {
  machine_.prepare(setup);
  guest_.prepare(scenario);
  report_ = machine_.run();
  if (report_.failed()) oracles_.refine(report_);
  return report_;
}

}  // namespace shootdown::fuzz
