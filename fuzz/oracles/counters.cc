// The counters say what really happened on their CPU (O29).
#include <algorithm>

#include "fuzz/kernel/guest.h"
#include "fuzz/oracles/names.h"
#include "fuzz/oracles/oracles.h"

namespace shootdown::fuzz {

using host::Oracle;

void Oracles::count(CpuId cpu, const TraceEvent& event) {
  Tally& tally = cpu_[cpu].tally;
  switch (event.kind) {
    case TraceKind::flush_send:
      ++tally.sends;
      tally.sending = true;
      break;
    case TraceKind::kernel_begin:
      tally.sends += guest_->system().config.broadcast ? 0 : 1;
      tally.sending = true;
      break;
    case TraceKind::call_queued:
      tally.queued += tally.sending ? 1 : 0;
      break;
    case TraceKind::call_run:
      tally.calls_run += cpu_[event.value].tally.sending ? 1 : 0;
      break;
    case TraceKind::flush_end:
    case TraceKind::kernel_end:
    case TraceKind::batch_end:
      // Not judged yet: nobody is promised at which moment of a flush it is counted.
      tally.sending = false;
      break;
    default:
      break;
  }
}

void Oracles::check_counter(CpuId cpu, const char* name, std::uint64_t counted,
                            std::uint64_t happened) {
  if (counted == happened) return;
  fail(Oracle::o29, std::string("the counter ") + name + " is wrong",
       cpu_name(cpu) + " has counted " + std::to_string(counted) + ", and it happened " +
           std::to_string(happened) + (happened == 1 ? " time." : " times."),
       {}, event(cpu, "has done what it had to do"));
}

void Oracles::check_counters(CpuId cpu) {
  const Config& config = guest_->system().config;
  const Counters& counters = guest_->system().cpus[cpu].own.counters;
  const Tally& tally = cpu_[cpu].tally;
  const host::Executed& executed = machine_.cpu(cpu).executed;
  check_counter(cpu, "remote_flush_sent", counters.remote_flush_sent, tally.sends);
  check_counter(cpu, "targets_queued", counters.targets_queued, tally.queued);
  check_counter(cpu, "broadcasts", counters.broadcasts, tally.broadcasts);
  // A message from the hub counts as received, too, and is no call.
  if (machine_.setup().hardware.backend != host::Backend::uv) {
    check_counter(cpu, "remote_flush_received", counters.remote_flush_received, tally.calls_run);
  }
  // Xen flushes by hypercall.
  if (machine_.setup().hardware.backend == host::Backend::xen) return;
  // The deferred half of a page is invalidated on the way to user mode, uncounted.
  if (!config.pti || !config.defer_user_pages) {
    check_counter(cpu, "local_flush_one", counters.local_flush_one, executed.pages);
  }
  // Under page-table isolation, CR3 is loaded for other reasons as well.
  if (config.pti) return;
  check_counter(cpu, "local_flush_all", counters.local_flush_all,
                whole_flushes(cpu) - tally.uncounted);
}

std::uint64_t Oracles::whole_flushes(CpuId cpu) const {
  const host::Executed& executed = machine_.cpu(cpu).executed;
  return executed.cr3_flushes + executed.contexts + executed.everything +
         (executed.pge_toggles / 2);
}

Oracles::Uncounted Oracles::begin_uncounted(CpuId cpu) const {
  return {.executed = whole_flushes(cpu),
          .counted = guest_->system().cpus[cpu].own.counters.local_flush_all};
}

void Oracles::end_uncounted(CpuId cpu, const Uncounted& begin) {
  // What is counted all the same is right, too, as long as it happened. So the sum never exceeds
  // what was executed.
  const Uncounted end = begin_uncounted(cpu);
  const std::uint64_t executed = end.executed - begin.executed;
  cpu_[cpu].tally.uncounted += executed - std::min(executed, end.counted - begin.counted);
}

}  // namespace shootdown::fuzz
