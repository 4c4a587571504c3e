#include "fuzz/oracles/core_state/generations.h"

#include <utility>

#include "fuzz/oracles/reports/names.h"

namespace shootdown::fuzz {

using host::Event;
using host::HostHal;

void GenerationChecker::start() {
  last_.fill(kFirstGeneration);
  handler_.fill({});
}

void GenerationChecker::report_too_new(CpuId cpu, const Mm<HostHal>& mm) const {
  const Generation recorded = core_.recorded(cpu);
  core_.truth().fail(Oracle::o3, "an ASID is newer than its address space",
                     cpu_name(cpu) + " recorded generation " + std::to_string(recorded) + ", " +
                         mm_name(core_.sim().index_of(mm)) + " is at " +
                         std::to_string(mm.tlb_gen.peek()) + ".",
                     {}, core_.truth().event(cpu, "holds the ASID"));
}

void GenerationChecker::report_backwards(CpuId cpu, const Mm<HostHal>& mm, Generation last) const {
  core_.truth().fail(Oracle::o3, "a generation went backwards",
                     mm_name(core_.sim().index_of(mm)) + " went from " + std::to_string(last) +
                         " to " + std::to_string(mm.tlb_gen.peek()) + ".",
                     {}, core_.truth().event(cpu, "sees it"));
}

void GenerationChecker::on_invalidate(CpuId cpu) {
  Handler& handler = handler_[cpu];
  if (!handler.is_running || handler.invalidated) return;
  handler.invalidated = true;
  const Mm<HostHal>* loaded = core_.loaded(cpu);
  handler.at_invalidate = loaded != nullptr ? loaded->tlb_gen.peek() : kNoGeneration;
}

void GenerationChecker::on_handler_begin(CpuId cpu) {
  handler_[cpu].is_running = true;
  handler_[cpu].invalidated = false;
}

void GenerationChecker::on_handler_end(CpuId cpu, const TraceEvent& event) {
  Handler& handler = handler_[cpu];
  handler.is_running = false;
  const auto& request = *static_cast<const FlushRequest<HostHal>*>(event.request);
  const Generation before = event.value;
  const Generation after = event.value2;
  const bool partial = event.outcome == HandlerOutcome::partial;
  const bool full = event.outcome == HandlerOutcome::full;
  // First, because a generation that was read late may also be one too many for a partial flush.
  if ((partial || full) && handler.invalidated && after > handler.at_invalidate) {
    report(Oracle::o11, "the recorded generation was read after the flush", cpu, event);
  }
  if (partial && (after != before + 1 || after != request.generation)) {
    report(Oracle::o10, "a partial flush skips a generation", cpu, event);
  }
  // A large page is flushed with everything: one invalidation would leave older small entries.
  const bool enough = !request.all() && request.stride_shift == kPageShift;
  if (full && enough && request.generation == before + 1 && after == request.generation) {
    report(Oracle::o19, "a full flush where a partial one was enough", cpu, event);
  }
}

void GenerationChecker::report(Oracle oracle, const char* title, CpuId cpu,
                               const TraceEvent& event) const {
  const auto& request = *static_cast<const FlushRequest<HostHal>*>(event.request);
  // A target that has answered early works on a copy, and its initiator may be in another flush.
  Event begin;
  if (requests_.is_published(request)) {
    const RequestChecker::Flush& flush = requests_.flush(requests_.begun_by(request.initiator));
    begin = {.step = flush.begin, .cpu = request.initiator, .what = "starts the flush"};
  }
  core_.truth().fail(
      oracle, title,
      cpu_name(cpu) + " went from generation " + std::to_string(event.value) + " to " +
          std::to_string(event.value2) + " for a request " +
          (request.generation == kNoGeneration
               ? std::string("without a generation.")
               : "of generation " + std::to_string(request.generation) + "."),
      std::move(begin),
      core_.truth().event(cpu, "records generation " + std::to_string(event.value2)));
}

}  // namespace shootdown::fuzz
