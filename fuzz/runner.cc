#include "fuzz/runner.h"

#include "fuzz/kinds.h"
#include "fuzz/layout.h"

namespace shootdown::fuzz {

namespace {

/// The address that a walk for one of kWalkedPages is made for.
VirtAddr walked_address(unsigned page) {
  return page < kPages ? probe_address(page) : kernel_address(page - kPages);
}

}  // namespace

bool ScenarioSchedule::next(host::Action& action) {
  if (index_ == scenario_->deviations.size()) return false;
  const Deviation& deviation = scenario_->deviations[index_++];
  action = {.delay = deviation.delay, .cpu = deviation.cpu};
  const unsigned walked = shape(deviation.kind).value_of(deviation.arg);
  switch (deviation.kind) {
    case DeviationKind::hold:
      action.kind = host::ActionKind::hold;
      action.argument = deviation.arg + 1U;
      break;
    case DeviationKind::fill:
      action.kind = host::ActionKind::fill;
      action.argument = walked_address(walked);
      action.level = shape(deviation.kind).level_of(deviation.arg);
      break;
    case DeviationKind::evict:
      action.kind = host::ActionKind::evict;
      action.argument = deviation.arg;
      break;
    case DeviationKind::vcpu_preempt:
      action.kind = host::ActionKind::vcpu_preempt;
      break;
    case DeviationKind::vcpu_resume:
      action.kind = host::ActionKind::vcpu_resume;
      break;
    case DeviationKind::fail:
      action.kind = host::ActionKind::fail;
      action.argument = deviation.arg;
      break;
    case DeviationKind::drain:
      action.kind = host::ActionKind::drain;
      action.argument = deviation.arg + 1U;
      break;
    case DeviationKind::deliver:
      action.kind = host::ActionKind::deliver;
      action.argument = deviation.arg;
      break;
    case DeviationKind::nmi:
      action.kind = host::ActionKind::nmi;
      action.argument = walked_address(walked);
      break;
    case DeviationKind::preempt:
    case DeviationKind::kCount:
      action.kind = host::ActionKind::preempt;
      break;
  }
  return true;
}

const host::Report& Runner::run(const Scenario& scenario) {
  schedule_.start(scenario);
  machine_.prepare({.cpus = scenario.header.cpus,
                    .pcid = scenario.header.pcid,
                    .global_pages = scenario.header.global_pages,
                    .invlpg_leaves_globals = scenario.header.invlpg_erratum,
                    .memory = scenario.header.tso ? host::Memory::tso : host::Memory::sc,
                    .step_limit = kStepLimit,
                    .backend = backend_of(scenario.header),
                    .boot = &Guest::boot,
                    .program = &Guest::program,
                    .interrupt = &Guest::interrupt,
                    .hub_interrupt = &Guest::hub_interrupt,
                    .nmi = scenario.header.nmi ? &Guest::nmi : nullptr,
                    .argument = &guest_,
                    .observer = &oracles_,
                    .schedule = &schedule_});
  guest_.prepare(scenario);
  report_ = machine_.run();
  if (report_.failed()) oracles_.refine(report_);
  return report_;
}

}  // namespace shootdown::fuzz
