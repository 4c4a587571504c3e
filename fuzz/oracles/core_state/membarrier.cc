#include "fuzz/oracles/core_state/membarrier.h"

#include "fuzz/oracles/reports/names.h"

namespace shootdown::fuzz {

void MembarrierChecker::on_switch_begin(CpuId cpu) {
  before_[cpu] = {.loaded = core_.loaded(cpu),
                  .lazy = core_.is_lazy(cpu),
                  .stores = core_.machine().cpu(cpu).stores_buffered,
                  .step = core_.machine().step()};
}

void MembarrierChecker::on_switch_end(CpuId cpu) const {
  const Before& before = before_[cpu];
  if (core_.loaded(cpu) == before.loaded && !before.lazy) return;
  const host::StoreBuffer& stores = core_.machine().cpu(cpu).stores;
  for (unsigned i = 0; i < stores.size(); ++i) {
    if (stores[i].number >= before.stores) continue;
    core_.truth().fail(
        Oracle::o36, "a switch returns before the stores that its caller made are in memory",
        "A membarrier that sees another task running on " + cpu_name(cpu) +
            " interrupts it not, and relies on the barrier of the switch.",
        {.step = before.step, .cpu = cpu, .what = "switches, with a store in its buffer"},
        core_.truth().event(cpu, "has switched"));
    return;
  }
}

}  // namespace shootdown::fuzz
