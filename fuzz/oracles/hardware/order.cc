#include "fuzz/oracles/hardware/order.h"

#include <utility>

#include "fuzz/oracles/reports/names.h"

namespace shootdown::fuzz {

void OrderChecker::start() {
  cpu_ = {};
  used_ = {};
}

void OrderChecker::on_call_run(CpuId cpu, CpuId sender) {
  if (!truth_.machine().memory().compiler_reordering().knows(cpu, sender,
                                                             cpu_[sender].queued[cpu])) {
    report("a call runs before its post is visible (M7)",
           "Nothing orders what " + cpu_name(sender) + " wrote before what " + cpu_name(cpu) +
               " reads.",
           sender, cpu);
  }
  on_answer(cpu, sender);
}

void OrderChecker::on_flush_returned(CpuId cpu, CpuId sender) {
  for (CpuId target = 0; target < truth_.machine().cpu_count(); ++target) {
    const std::uint32_t time = std::exchange(cpu_[sender].answered[target], 0);
    if (time == 0 || truth_.machine().memory().compiler_reordering().knows(cpu, target, time))
      continue;
    report("a flush returns before what its targets did is visible (M8)",
           "Nothing orders " + cpu_name(target) + "'s last use before what " + cpu_name(cpu) +
               " releases.",
           target, cpu);
  }
}

void OrderChecker::on_release(std::uint32_t frame) {
  const std::array<std::uint32_t, kMaxCpus> used = std::exchange(used_[frame], {});
  const host::Machine& machine = truth_.machine();
  // A hypervisor and hardware that broadcasts wait in ways of their own.
  if (machine.setup().hardware.backend != host::Backend::native || truth_.kernel().broadcasts())
    return;
  const CpuId self = truth_.machine().running().id;
  for (CpuId cpu = 0; cpu < machine.cpu_count(); ++cpu) {
    if (used[cpu] == 0 || machine.memory().compiler_reordering().knows(self, cpu, used[cpu]))
      continue;
    report("a page is released before its last use is visible (M8)",
           "Nothing orders an access of " + cpu_name(cpu) + " to the page before its next owner's.",
           cpu, self);
  }
}

void OrderChecker::report(const char* title, const std::string& detail, CpuId first,
                          CpuId second) const {
  // The clocks tell that the first is not before the second, but not at which step it was.
  truth_.fail(Oracle::order, title, detail, {},
              truth_.event(second, "goes on, and need not see what " + cpu_name(first) + " did"));
}

}  // namespace shootdown::fuzz
