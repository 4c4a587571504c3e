#include "fuzz/oracles/core_state/handovers.h"

#include <algorithm>

#include "fuzz/oracles/reports/names.h"

namespace shootdown::fuzz {

void HandoverChecker::start() {
  for (auto& bumps : bumps_) bumps.clear();
  grants_ = {};
}

void HandoverChecker::on_bump(CpuId cpu, unsigned mm, Generation generation) {
  bumps_[mm].push_back({.what = generation,
                        .life = core_.truth().mm(mm).life,
                        .cpu = cpu,
                        .time = order_.last_change(cpu)});
}

void HandoverChecker::on_recorded(CpuId cpu) const {
  const unsigned mm = core_.sim().mm_of(core_.loaded(cpu));
  if (mm == kNoMm) return;
  const Generation recorded = core_.recorded(cpu);
  const auto& bumps = bumps_[mm];
  const auto found = std::find_if(bumps.rbegin(), bumps.rend(), [&](const Made& made) {
    return made.what == recorded && made.life == core_.truth().mm(mm).life;
  });
  if (found == bumps.rend()) return;
  const Made& bump = *found;
  if (core_.machine().memory().compiler_reordering().knows(cpu, bump.cpu, bump.time)) return;
  order_.report("a generation is recorded before what it stands for is visible (M6)",
                "Nothing orders " + cpu_name(bump.cpu) + "'s change of the entries before " +
                    cpu_name(cpu) + "'s record that they are flushed.",
                bump.cpu, cpu);
}

void HandoverChecker::on_granted(CpuId cpu, unsigned mm, Asid asid) {
  grants_[mm] = {
      .what = asid, .life = core_.truth().mm(mm).life, .cpu = cpu, .time = order_.now(cpu)};
}

void HandoverChecker::on_asid_seen(CpuId cpu, unsigned mm) const {
  const Made& grant = grants_[mm];
  if (grant.time == 0 || grant.life != core_.truth().mm(mm).life) return;
  if (core_.machine().memory().compiler_reordering().knows(cpu, grant.cpu, grant.time)) return;
  order_.report("a global ASID is seen before what came before it (M14)",
                "Nothing orders the start of the transition on " + cpu_name(grant.cpu) +
                    " before the flush on " + cpu_name(cpu) + " that asks about it.",
                grant.cpu, cpu);
}

}  // namespace shootdown::fuzz
