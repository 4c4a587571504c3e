// What the kernel around foreign code tells to the oracles: what the machine did, what became of
// frames and of their words, and what the core's flushes and switches promise.
#include <string>

#include "core/shootdown_all.h"
#include "fuzz/oracles/reports/names.h"
#include "hal/host/walk.h"
#include "kernel-glue/embed/port/kernel.h"

namespace shootdown::port {

using fuzz::After;
using fuzz::kKernelMm;
using fuzz::kNoMm;
using fuzz::owner_level;
using fuzz::owner_mm;
using fuzz::owner_tag;
using host::FrameInfo;
using host::FrameKind;
using host::FramePool;
using host::kPteLarge;
using host::kPtePresent;

/// A word of the core's, in the storage that the code has for it; or empty.
std::string PortKernel::name_of_word(const void* address) const {
  std::string name;
  const auto look = [&](const std::string& text, const auto& word) {
    if (static_cast<const void*>(&word) == address) name = text;
  };
  for (unsigned mm = 0; mm < scenario_->header.mms; ++mm) {
    if (spaces_[mm].mm == nullptr) continue;
    reinterpret_cast<Mm<host::HostHal>*>(spaces_[mm].mm)
        ->visit_shared(
            [&](const char* field, auto& word) { look(fuzz::mm_name(mm) + "." + field, word); });
  }
  // It is the first member of what an sd_system holds.
  auto& system = *reinterpret_cast<System<host::HostHal>*>(functions_.system());
  for (CpuId cpu = 0; cpu < machine_.cpu_count(); ++cpu) {
    look(fuzz::cpu_name(cpu) + ".is_lazy", system.cpus[cpu].shared.is_lazy);
    look(fuzz::cpu_name(cpu) + ".loaded_mm", system.cpus[cpu].own.loaded_mm);
  }
  return name;
}

// ---- The core's flushes and switches

void PortKernel::on_trace(CpuId cpu, const TraceEvent& event) {
  switch (event.kind) {
    case TraceKind::flush_asked:
      asked(cpu) = {.start = event.value, .end = event.value2, .step = machine_.step()};
      break;
    case TraceKind::flush_begin:
      begin_flush(cpu, event);
      break;
    case TraceKind::flush_end:
      end_flush(cpu);
      break;
    case TraceKind::flush_done:
      // The oracles hold one flush for each CPU: a later one from there has its place by now.
      if (event.value2 == cpu && flush_[cpu].generation == event.value) end_flush(cpu);
      break;
    case TraceKind::batch_add:
      oracles_.promises.on_batch_add(cpu);
      break;
    case TraceKind::batch_end:
      oracles_.promises.on_batch_returned(cpu);
      break;
    case TraceKind::switch_begin:
      oracles_.truth.on_switch(cpu, /*begins=*/true);
      break;
    case TraceKind::switch_end:
      oracles_.truth.on_switch(cpu, /*begins=*/false);
      oracles_.flushes.on_kernel_loaded(cpu);
      check_loaded(cpu, After::switch_in);
      break;
    case TraceKind::handler_end:
      check_loaded(cpu, After::handler);
      break;
    default:
      break;
  }
}

void PortKernel::begin_flush(CpuId cpu, const TraceEvent& event) {
  Flush& flush = flush_[cpu];
  const auto& request = *static_cast<const FlushRequest<host::HostHal>*>(event.request);
  flush.mm = mm_of(event.mm);
  flush.begin = machine_.step();
  flush.generation = event.value;
  flush.frees_tables = request.frees_tables;
  flush.range = request.range();
  if (flush.mm != kNoMm) oracles_.flushes.on_flush_begun(cpu, flush.mm, flush.asked);
}

void PortKernel::end_flush(CpuId cpu) {
  const Flush& flush = flush_[cpu];
  if (flush.mm == kNoMm) return;
  oracles_.flushes.on_flush_returns(cpu);
  oracles_.flushes.on_flush_returned(cpu, /*early=*/false);
  if (flush.frees_tables) {
    oracles_.tables.on_flush_returned(cpu, flush.mm, flush.range.start, flush.range.end,
                                      flush.begin);
  }
}

}  // namespace shootdown::port
