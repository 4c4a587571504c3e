#include "fuzz/run/runner.h"

#include "fuzz/events/layout.h"
#include "fuzz/scenario/kinds.h"

namespace shootdown::fuzz {

namespace {

static_assert(shape(EventKind::stale).arg_count == host::CxxMemory::kPast);

host::Memory memory_of(const Header& header) {
  if (header.compiler_reordering) return host::Memory::compiler_reordering;
  return header.tso ? host::Memory::tso : host::Memory::sc;
}

}  // namespace

host::Setup Runner::setup_of(const Scenario& scenario) {
  const Header& header = scenario.header;
  return {.hardware = {.cpus = header.cpus,
                       .pcid = header.pcid,
                       .global_pages = header.global_pages,
                       .weak_ipi = header.weak_ipi,
                       .dirty_races = header.latitude,
                       .spurious_faults = header.latitude,
                       .older_entries = header.latitude,
                       .tce = header.latitude,
                       .backend = backend_of(header)},
          .errata = {.invlpg_leaves_globals = header.invlpg_erratum},
          .memory = memory_of(header),
          .programs = {.boot = &SimKernel::boot,
                       .program = &SimKernel::program,
                       .interrupt = &SimKernel::interrupt,
                       .bau_interrupt = &SimKernel::bau_interrupt,
                       .nmi = header.nmi ? &SimKernel::nmi : nullptr,
                       .reschedule = &SimKernel::reschedule,
                       .argument = &sim_},
          .exploration = {.step_limit = kStepLimit, .own_fields = header.own_fields},
          .observer = &oracles_,
          // A CPU that goes offline waits for what it has submitted.
          .closed_waits = header.closed_waits || header.submits};
}

const host::Report& Runner::run(const Scenario& scenario) {
  schedule_.start(scenario);
  return run(scenario, schedule_);
}

const host::Report& Runner::run(const Scenario& scenario, host::ScheduleSource& schedule) {
  host::Setup setup = setup_of(scenario);
  setup.exploration.schedule = &schedule;
  return run(scenario, setup);
}

host::SpeculativeWalk Runner::walk_of(const ControlledRun::Walk& walk) {
  return {.address = numbered_address(walk.page), .level = walk.level};
}

const host::Report& Runner::run(const Scenario& scenario, const ControlledRun& control) {
  host::Setup setup = setup_of(scenario);
  host::Exploration& exploration = setup.exploration;
  exploration.controller = control.controller;
  exploration.start_barrier = true;
  exploration.preemptions = control.preemptions;
  exploration.losses = control.losses;
  exploration.duplicates = control.duplicates;
  exploration.migrations = control.migrations;
  exploration.own_accesses = control.own != 0;
  exploration.stall_limit = control.losses != 0 ? SimKernel::kStallLimit : 0;
  for (const auto& walk : control.fills) exploration.fills.push_back(walk_of(walk));
  for (const unsigned page : control.evictions)
    exploration.evictions.push_back(numbered_address(page));
  for (const unsigned page : control.nmis) exploration.nmis.push_back(numbered_address(page));
  for (const auto& walk : control.device_walks) {
    exploration.device_walks.push_back({.context = 0, .walk = walk_of(walk)});
  }
  sim_.set_start_barrier(control.setup);
  return run(scenario, setup);
}

const host::Report& Runner::run(const Scenario& scenario, const host::Setup& setup) {
  machine_.prepare(setup);
  sim_.prepare(scenario);
  report_ = machine_.run();
  if (!report_.failed()) {
    oracles_.on_run_end();
    report_ = machine_.report();
  }
  if (report_.failed()) oracles_.refine(report_);
  return report_;
}

}  // namespace shootdown::fuzz
