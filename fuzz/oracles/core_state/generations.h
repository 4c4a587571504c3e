// Verifies: generations stay in their bounds (O3); a flush function that invalidates page by page
// covers exactly one missing generation (O10), records one that it read before it flushed (O11),
// and flushes everything only where pages would not have been enough (O19).
// Does not verify: that translations are as recent as the recorded generation says (ASIDs.h).
#pragma once

#include <array>

#include "fuzz/oracles/core_state/core.h"
#include "fuzz/oracles/core_state/requests.h"

namespace shootdown::fuzz {

class GenerationChecker {
 public:
  GenerationChecker(const Core& core, const RequestChecker& requests)
      : core_(core), requests_(requests) {}

  void start();
  void on_destroy(unsigned mm) { last_[mm] = kFirstGeneration; }
  void after_change(CpuId cpu) {
    const Mm<host::HostHal>* loaded = core_.loaded(cpu);
    if (loaded == nullptr || loaded->is_kernel) return;
    const Generation now = loaded->tlb_gen.peek();
    const Asid asid = core_.loaded_asid(cpu);
    const bool owned =
        !is_global_asid(asid) && core_.own(cpu).asids[asid].context.peek() == loaded->context;
    if (owned && core_.recorded(cpu) > now) report_too_new(cpu, *loaded);
    Generation& last = last_[core_.sim().index_of(*loaded)];
    if (now < last) report_backwards(cpu, *loaded, last);
    last = now;
  }
  void on_invalidate(CpuId cpu);
  void on_handler_begin(CpuId cpu);
  void on_handler_end(CpuId cpu, const TraceEvent& event);

 private:
  /// A run of the flush function.
  struct Handler {
    bool is_running{false};
    bool invalidated{false};
    Generation at_invalidate{kNoGeneration};
  };

  void report_too_new(CpuId cpu, const Mm<host::HostHal>& mm) const;
  void report_backwards(CpuId cpu, const Mm<host::HostHal>& mm, Generation last) const;
  void report(Oracle oracle, const char* title, CpuId cpu, const TraceEvent& event) const;

  const Core& core_;
  const RequestChecker& requests_;
  std::array<Generation, kMaxMms + 1> last_{};
  std::array<Handler, kMaxCpus> handler_{};
};

}  // namespace shootdown::fuzz
