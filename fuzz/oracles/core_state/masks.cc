#include "fuzz/oracles/core_state/masks.h"

#include "fuzz/oracles/reports/names.h"

namespace shootdown::fuzz {

using host::FramePool;

void MaskChecker::report(CpuId cpu, unsigned mm) const {
  core_.truth().fail(Oracle::o7, "a CPU has an mm in CR3 but is not in its mask",
                     cpu_name(cpu) + " can still walk " + mm_name(mm) +
                         ", but a flush that starts now would not find it in the mask.",
                     {}, core_.truth().event(cpu, "is not in the mask of " + mm_name(mm)));
}

void MaskChecker::on_destroy(unsigned mm) const {
  const Truth& truth = core_.truth();
  const host::Machine& machine = core_.machine();
  const auto destroys = [&] {
    return truth.event(core_.machine().running().id, "destroys " + mm_name(mm));
  };
  const Mm<host::HostHal>& ended = core_.core_mm(mm);
  for (CpuId id = 0; id < machine.cpu_count(); ++id) {
    truth.record_cpu_access(id);
    if (core_.loaded(id) != &ended &&
        FramePool::frame_at(machine.cpu(id).cr3) != FramePool::frame_at(ended.root)) {
      continue;
    }
    // R6: a flush that frees tables reaches lazy CPUs, too.
    const bool lazy = core_.is_lazy(id);
    truth.fail(lazy ? Oracle::o5 : Oracle::o31,
               lazy ? "the tables of an mm are about to be released while a lazy CPU can walk them"
                    : "an address space is destroyed while a CPU has it loaded",
               cpu_name(id) + " has " + mm_name(mm) + " loaded.", {}, destroys());
  }
  for (CpuId id = 0; id < machine.cpu_count(); ++id) {
    if (!core_.is_in_mask(id, mm)) continue;
    truth.record_cpu_access(id);
    truth.fail(
        Oracle::o31, "an address space is destroyed while a CPU is in its mask",
        cpu_name(id) + " has yet to clear its bit, in memory that may be something else by then.",
        {}, destroys());
    break;
  }
}

}  // namespace shootdown::fuzz
