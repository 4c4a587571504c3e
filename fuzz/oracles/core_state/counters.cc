#include "fuzz/oracles/core_state/counters.h"

#include <algorithm>

#include "fuzz/oracles/reports/names.h"

namespace shootdown::fuzz {

void CounterChecker::on_trace(CpuId cpu, const TraceEvent& event) {
  Tally& tally = tally_[cpu];
  switch (event.kind) {
    case TraceKind::flush_send:
      ++tally.sends;
      tally.sending = true;
      break;
    case TraceKind::kernel_begin:
      tally.sends += core_.config().broadcast.enabled ? 0 : 1;
      tally.sending = true;
      break;
    case TraceKind::call_queued:
      tally.queued += tally.sending ? 1 : 0;
      break;
    case TraceKind::call_run:
      tally.calls_run += tally_[event.value].sending ? 1 : 0;
      break;
    case TraceKind::walkers_begin:
      // Calls that are no flushes. A flush that was submitted has no end on its CPU.
      tally.sending = false;
      break;
    default:
      break;
  }
}

void CounterChecker::check(CpuId cpu, const char* name, std::uint64_t counted,
                           std::uint64_t happened) const {
  if (counted == happened) return;
  core_.truth().fail(Oracle::o29, std::string("the counter ") + name + " is wrong",
                     cpu_name(cpu) + " has counted " + std::to_string(counted) +
                         ", and it happened " + std::to_string(happened) +
                         (happened == 1 ? " time." : " times."),
                     {}, core_.truth().event(cpu, "has done what it had to do"));
}

void CounterChecker::on_program_end(CpuId cpu) const {
  const Config& config = core_.config();
  const Counters& counters = core_.own(cpu).counters;
  const Tally& tally = tally_[cpu];
  const host::Executed& executed = core_.machine().cpu(cpu).executed;
  check(cpu, "remote_flush_sent", counters.remote_flush_sent, tally.sends);
  check(cpu, "targets_queued", counters.targets_queued, tally.queued);
  check(cpu, "broadcasts", counters.broadcasts, tally.broadcasts);
  // A message from the hub counts as received, too, and is no call.
  if (core_.machine().setup().hardware.backend != host::Backend::uv_bau) {
    check(cpu, "remote_flush_received", counters.remote_flush_received, tally.calls_run);
  }
  // Xen flushes by hypercall.
  if (core_.machine().setup().hardware.backend == host::Backend::xen) return;
  // The deferred half of a page is invalidated on the way to user mode, uncounted.
  if (!config.isolation.enabled || !config.isolation.defer_user_pages) {
    check(cpu, "local_flush_one", counters.local_flush_one, executed.pages);
  }
  // Under page-table isolation, CR3 is loaded for other reasons as well.
  if (config.isolation.enabled) return;
  check(cpu, "local_flush_all", counters.local_flush_all, whole_flushes(cpu) - tally.uncounted);
}

std::uint64_t CounterChecker::whole_flushes(CpuId cpu) const {
  const host::Executed& executed = core_.machine().cpu(cpu).executed;
  return executed.cr3_flushes + executed.contexts + executed.everything +
         (executed.pge_toggles / 2);
}

CounterChecker::Account CounterChecker::account_of(CpuId cpu) const {
  return {.executed = whole_flushes(cpu), .counted = core_.own(cpu).counters.local_flush_all};
}

void CounterChecker::leave_uncounted(CpuId cpu, const Account& begin) {
  // What is counted all the same is right, too, as long as it happened. So the sum never exceeds
  // what was executed.
  const Account end = account_of(cpu);
  const std::uint64_t executed = end.executed - begin.executed;
  tally_[cpu].uncounted += executed - std::min(executed, end.counted - begin.counted);
}

}  // namespace shootdown::fuzz
