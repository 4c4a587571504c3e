#include "fuzz/oracles/core_state/requests.h"

#include <cstring>

#include "fuzz/oracles/core_state/checksum.h"
#include "fuzz/oracles/reports/names.h"

namespace shootdown::fuzz {

using host::HostHal;

namespace {

std::uint64_t checksum_of(const FlushRequest<HostHal>& request) {
  const auto& [mm, start, end, generation, initiator, reason, stride_shift, frees_tables,
               trims_mask, acknowledges_early, needs_ipi_handler] = request;
  return checksum(mm, start, end, generation, initiator, reason, stride_shift, frees_tables,
                  trims_mask, acknowledges_early, needs_ipi_handler);
}

}  // namespace

void RequestChecker::start() {
  flush_.fill({});
  begun_by_.fill(0);
}

bool RequestChecker::is_current(const FlushRequest<HostHal>& request) const {
  // A target that was answered early may be late: its initiator is at its next flush already.
  const FlushRequest<HostHal>* now = flush_[begun_by_[request.initiator]].request;
  return now != nullptr && now->initiator == request.initiator && now->mm == request.mm &&
         now->generation == request.generation;
}

void RequestChecker::on_flush_begun(CpuId cpu, const TraceEvent& event) {
  on_batch_begun(cpu, event);
  Flush& flush = own_flush(cpu);
  flush.mm = core_.sim().mm_of(event.mm);
  flush.global = kNoGlobalAsid;
  flush.frees_tables = flush.request->frees_tables;
}

void RequestChecker::on_batch_begun(CpuId cpu, const TraceEvent& event) {
  begun_by_[cpu] = core_.truth().thread_on(cpu);
  Flush& flush = own_flush(cpu);
  flush.initiator = cpu;
  remember(flush, event);
  flush.mm = kNoMm;
  flush.begin = core_.machine().step();
  flush.queued = {};
  flush.called = {};
  flush.ran_locally = false;
}

void RequestChecker::on_published(CpuId cpu, const TraceEvent& event) {
  remember(own_flush(cpu), event);
}

void RequestChecker::remember(Flush& flush, const TraceEvent& event) const {
  flush.request = static_cast<const FlushRequest<HostHal>*>(event.request);
  flush.checksum = checksum_of(*flush.request);
  flush.asked = {.start = flush.request->start,
                 .end = flush.request->end,
                 .generation = flush.request->generation,
                 .early = flush.request->acknowledges_early};
}

void RequestChecker::on_broadcast(CpuId cpu, const TraceEvent& event) {
  own_flush(cpu).global = static_cast<Asid>(event.value);
  // No target has been given the request yet.
  on_published(cpu, event);
}

void RequestChecker::check_unchanged(CpuId cpu) const {
  const Flush& flush = flush_on(cpu);
  // The CPU that a flush was submitted on may be at its next one.
  if (&flush != &flush_[begun_by_[flush.initiator]]) return;
  if (checksum_of(*flush.request) == flush.checksum) return;
  core_.truth().fail(Oracle::o16, "a request changed while targets could read it",
                     cpu_name(flush.initiator) + "'s request is not what it published.",
                     {.step = flush.begin, .cpu = flush.initiator, .what = "published the request"},
                     core_.truth().event(cpu, "the flush returns"));
}

void RequestChecker::check_all_run(CpuId cpu) const {
  const Flush& flush = flush_on(cpu);
  if (flush.queued.empty()) return;
  core_.truth().fail(Oracle::o15, "a flush returns before every call has run",
                     cpu_name(flush.queued.first()) + " has not run the call.",
                     {.step = flush.begin, .cpu = flush.initiator, .what = "starts the flush"},
                     core_.truth().event(cpu, "the flush returns"));
}

void RequestChecker::on_call_queued(CpuId cpu, CpuId target) {
  Flush& flush = own_flush(cpu);
  if (flush.queued.test(target)) {
    core_.truth().fail(Oracle::o15, "a call is queued twice on one target",
                       cpu_name(target) + " gets it twice.", {},
                       core_.truth().event(cpu, "queues it again"));
  }
  flush.queued.set(target);
  flush.called.set(target);
  callers_[cpu][target] = core_.truth().thread_on(cpu);
}

void RequestChecker::on_call_run(CpuId cpu, CpuId sender) {
  Flush& flush = flush_[caller(sender, cpu)];
  const bool wanted = flush.queued.test(cpu);
  if (wanted && !core_.machine().cpu(cpu).interrupts_enabled) {
    flush.queued.clear(cpu);
    return;
  }
  core_.truth().fail(Oracle::o15,
                     wanted ? "a call runs with interrupts on" : "a call runs without being queued",
                     cpu_name(cpu) + " runs a call of " + cpu_name(sender) + ".", {},
                     core_.truth().event(cpu, "runs the call"));
}

void RequestChecker::on_handler_begin(CpuId cpu, const FlushRequest<HostHal>& request) {
  if (core_.machine().cpu(cpu).interrupts_enabled) {
    core_.truth().fail(
        Oracle::o15, "the flush function runs with interrupts on",
        "Another flush may interrupt it on " + cpu_name(cpu) + ", and work on the same ASID.", {},
        core_.truth().event(cpu, "begins"));
  }
  if (request.initiator != cpu) return;
  Flush& flush = flush_[begun_by_[cpu]];
  if (flush.ran_locally) {
    core_.truth().fail(Oracle::o15, "the local part of a flush runs twice",
                       cpu_name(cpu) + " repeats itself.", {},
                       core_.truth().event(cpu, "runs it again"));
  }
  flush.ran_locally = true;
}

void RequestChecker::refine(host::Report& report) const {
  if (report.kind != &host::kStuck) return;
  report.kind = kind_of(Oracle::o18);
  // There a CPU may be on its way to the interrupt for what it has queued.
  if (report.title == host::kWaitsWithInterruptsOff) return;
  using Pending = PendingSenders<HostHal>;
  unsigned index = 0;
  core_.system().calls.visit_shared([&](const char* name, auto& word) {
    if (std::strcmp(name, "call_pending") != 0) return;
    const CpuId id = index++ / Pending::kWords;
    if (id >= core_.machine().cpu_count()) return;
    const host::HostCpu& cpu = core_.machine().cpu(id);
    if ((word.peek() & ~Pending::kClosed) == 0) return;
    if (!cpu.interrupts_enabled || cpu.call_pending) return;
    report.kind = kind_of(Oracle::o17);
    report.title = "a queued call is forgotten";
    report.detail += cpu_name(id) + " has a call pending, and no interrupt will tell it.";
  });
}

}  // namespace shootdown::fuzz
