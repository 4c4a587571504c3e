#include "fuzz/run/unheeded.h"

#include "fuzz/scenario/kinds.h"

namespace shootdown::fuzz {

namespace {

/// What the configuration lacks for the deviation to mean anything, or nothing.
std::string missing_config(const Header& header, EventKind kind) {
  const bool below = header.backend == Backend::hyperv || header.backend == Backend::xen ||
                     header.backend == Backend::uv_bau;
  const auto without = [](bool is_there, const char* what) {
    return is_there ? std::string() : std::string("it means nothing without ") + what;
  };
  switch (kind) {
    case EventKind::drain:
      return without(header.tso || header.compiler_reordering, "tso=1 or compiler_reordering=1");
    case EventKind::deliver:
      return without(header.broadcast, "broadcast=1");
    case EventKind::vcpu_preempt:
    case EventKind::vcpu_resume:
      return without(header.backend == Backend::kvm, "backend=kvm");
    case EventKind::fail:
      return without(below, "backend=hyperv, xen or uv");
    case EventKind::overtake:
    case EventKind::stale:
      return without(header.compiler_reordering, "compiler_reordering=1");
    case EventKind::nmi:
      return without(header.nmi, "nmi=1");
    case EventKind::device:
      return without(header.device, "device=1");
    case EventKind::lose:
    case EventKind::duplicate:
      return without(header.faults, "faults=1");
    case EventKind::preempt:
    case EventKind::hold:
    case EventKind::fill:
    case EventKind::evict:
    case EventKind::aim:
    case EventKind::migrate:
    default:
      break;
  }
  return "";
}

}  // namespace

bool is_only_delay(const Deviation& deviation) {
  return deviation.kind == EventKind::preempt && deviation.delay == 255;
}

std::vector<Unheeded> unheeded(const host::Machine& machine, const Scenario& scenario) {
  std::vector<Unheeded> found;
  const auto& effects = machine.deviations().effects().list();
  for (unsigned i = 0; i < scenario.deviations.size(); ++i) {
    const Deviation& deviation = scenario.deviations[i];
    std::string why = missing_config(scenario.header, deviation.kind);
    if (why.empty() && i >= effects.size()) {
      why = "its moment never came: the run has " + std::to_string(machine.step()) +
            " visible operations";
    } else if (why.empty() && effects[i].nothing != nullptr && !is_only_delay(deviation)) {
      why = effects[i].nothing;
    }
    if (!why.empty()) found.push_back({.deviation = i, .why = std::move(why)});
    if (deviation.kind == EventKind::aim) break;
  }
  return found;
}

}  // namespace shootdown::fuzz
