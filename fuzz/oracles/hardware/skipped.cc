#include "fuzz/oracles/hardware/skipped.h"

#include "fuzz/oracles/reports/names.h"
#include "hal/host/hypervisor.h"

namespace shootdown::fuzz {

void SkippedChecker::on_skipped(CpuId cpu, CpuId target) {
  truth_.record_cpu_access(target);
  const host::Machine& machine = truth_.machine();
  flush_[truth_.thread_on(cpu)].skipped.set(target);
  flush_[truth_.thread_on(cpu)].entry_flushes[target] = machine.hypervisor().entry_flushes(target);
  if (machine.hypervisor().will_flush(machine.cpu(target))) return;
  truth_.fail(
      Oracle::o26, "a virtual CPU is skipped that its host will not flush",
      cpu_name(target) + (machine.cpu(target).in_emulation
                              ? " is in the middle of an access: its address is translated already."
                              : " has a processor, or the host has read its state already."),
      {}, truth_.event(cpu, "leaves its flush to the host"));
}

void SkippedChecker::on_flush_returned(CpuId cpu) const {
  const host::Machine& machine = truth_.machine();
  const Flush& flush = flush_[truth_.thread_on(cpu)];
  flush.skipped.for_each([&](CpuId target) {
    truth_.record_cpu_access(target);
    if (machine.hypervisor().will_flush(machine.cpu(target)) ||
        machine.hypervisor().entry_flushes(target) != flush.entry_flushes[target]) {
      return;
    }
    truth_.fail(Oracle::o26, "a skipped virtual CPU runs again without a flush",
                cpu_name(target) + " has not been flushed since " + cpu_name(cpu) +
                    " left that to the host, and nothing says any more that it has to be.",
                {.step = flush.begin, .cpu = cpu, .what = "starts the flush"},
                truth_.event(cpu, "the flush returns"));
  });
}

}  // namespace shootdown::fuzz
