#include "fuzz/oracles/core_state/temporary.h"

#include "fuzz/oracles/reports/names.h"

namespace shootdown::fuzz {

void TemporaryChecker::on_begin(CpuId cpu) {
  before_[cpu] = {.loaded = core_.loaded(cpu), .lazy = core_.is_lazy(cpu)};
}

void TemporaryChecker::on_end(CpuId cpu) const {
  const Before& before = before_[cpu];
  const void* expected = before.lazy ? &core_.system().kernel_mm : before.loaded;
  const bool lazy = core_.is_lazy(cpu);
  const bool in_mask = core_.is_in_mask(cpu, core_.sim().temporary_mm());
  if (core_.loaded(cpu) == expected && !lazy && !in_mask) return;
  const char* what = " has another mm loaded than before.";
  if (before.lazy) what = " was lazy before, and has no kernel space loaded.";
  if (lazy) what = " is lazy, and uses the mm that it has loaded.";
  if (in_mask) what = " is still in the temporary mm's mask.";
  core_.truth().fail(Oracle::o25, "a temporary mm does not end as it began", cpu_name(cpu) + what,
                     {}, core_.truth().event(cpu, "leaves the temporary mm"));
}

}  // namespace shootdown::fuzz
