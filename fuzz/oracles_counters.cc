// The counters say what really happened on their CPU (O29).
#include "fuzz/guest.h"
#include "fuzz/names.h"
#include "fuzz/oracles.h"

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
    case TraceKind::switch_end:
      tally.switch_flushes += event.value;
      break;
    case TraceKind::flush_end:
    case TraceKind::kernel_end:
    case TraceKind::batch_end:
      tally.sending = false;
      check_counters(cpu);
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
           std::to_string(happened) + " times.",
       {}, event(cpu, "counts"));
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
  if (machine_.backend() != host::Backend::uv) {
    check_counter(cpu, "remote_flush_received", counters.remote_flush_received, tally.calls_run);
  }
  // Xen flushes by hypercall.
  if (machine_.backend() == host::Backend::xen) return;
  // The deferred half of a page is invalidated on the way to user mode, uncounted.
  if (!config.pti || !config.defer_user_pages) {
    check_counter(cpu, "local_flush_one", counters.local_flush_one, executed.pages);
  }
  // Under page-table isolation and without PCIDs, CR3 is loaded for other reasons as well.
  if (config.pti || !config.pcid) return;
  check_counter(cpu, "local_flush_all", counters.local_flush_all,
                whole_flushes(cpu) - tally.switch_flushes - tally.bring_up_flushes);
}

std::uint64_t Oracles::whole_flushes(CpuId cpu) const {
  const host::Executed& executed = machine_.cpu(cpu).executed;
  return executed.cr3_flushes + executed.everything + (executed.cr4_writes / 2);
}

void Oracles::note_bring_up(CpuId cpu) {
  // The CPU has just loaded the kernel's space and dropped everything, which does not count.
  Tally& tally = cpu_[cpu].tally;
  const Counters& counters = guest_->system().cpus[cpu].own.counters;
  tally.bring_up_flushes = whole_flushes(cpu) - tally.switch_flushes - counters.local_flush_all;
}

}  // namespace shootdown::fuzz
