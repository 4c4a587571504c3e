// Verifies: a published request does not change (O16); each call of a flush runs exactly once on
// each target, with interrupts off, before the flush returns, and so does its local part (O15); a
// queued call is not forgotten, which tells O17 from other runs that get stuck (O18).
// Does not verify: whether a target was to be called at all (needless.h, hardware/flushes.h).
#pragma once

#include <array>

#include "fuzz/oracles/core_state/core.h"

namespace shootdown::fuzz {

class RequestChecker {
 public:
  /// The flush that a thread has started, between its begin and its return.
  struct Flush {
    const FlushRequest<host::HostHal>* request{nullptr};  // null: none
    CpuId initiator{0};                                   // where it began
    unsigned mm{kNoMm};                                   // of a batch: none
    Asid global{kNoGlobalAsid};                           // the mm's, as the flush saw it
    /// What the request said when targets could first read it: a flush that was submitted is judged
    /// when its CPU may have begun the next one.
    struct Asked {
      VirtAddr start;
      VirtAddr end;
      Generation generation;
      bool early;
    };
    Asked asked{};
    // As it was asked for. A transition to a global ASID treats any flush like one that does.
    bool frees_tables{false};
    std::uint64_t begin{0};
    std::uint64_t checksum{0};
    host::HostCpuMask queued;  // calls queued and not yet run
    host::HostCpuMask called;  // calls queued at all
    bool ran_locally{false};
  };

  explicit RequestChecker(const Core& core) : core_(core) {}

  void start();
  [[nodiscard]] const Flush& flush(unsigned thread) const { return flush_[thread]; }
  /// The one that the thread which runs on the CPU has begun, here or elsewhere: a core that lets
  /// a flush change CPUs is judged by what that flush was to do.
  [[nodiscard]] const Flush& flush_on(CpuId cpu) const {
    return flush_[core_.truth().thread_on(cpu)];
  }
  /// The thread whose flush began last on the CPU and uses its request.
  [[nodiscard]] unsigned begun_by(CpuId cpu) const { return begun_by_[cpu]; }
  /// The request is that of a flush on its way, and not a target's copy.
  [[nodiscard]] bool is_published(const FlushRequest<host::HostHal>& request) const {
    return flush_[begun_by_[request.initiator]].request == &request;
  }
  /// The thread that has queued the last call from the CPU for `target`.
  [[nodiscard]] unsigned caller(CpuId sender, CpuId target) const {
    return callers_[sender][target];
  }
  /// The flush that the request, which may be a target's copy, stands for is on its way.
  [[nodiscard]] bool is_current(const FlushRequest<host::HostHal>& request) const;

  void on_flush_begun(CpuId cpu, const TraceEvent& event);
  void on_batch_begun(CpuId cpu, const TraceEvent& event);
  void on_kernel_flush_begun(CpuId cpu) {
    own_flush(cpu).queued = {};
    on_post_taken(cpu);
  }
  /// The thread's next call is from this CPU.
  void on_post_taken(CpuId cpu) { begun_by_[cpu] = core_.truth().thread_on(cpu); }
  /// From here on other CPUs may read the request, where the event says that it is.
  void on_published(CpuId cpu, const TraceEvent& event);
  void on_broadcast(CpuId cpu, const TraceEvent& event);
  void on_call_queued(CpuId cpu, CpuId target);
  void on_call_run(CpuId cpu, CpuId sender);
  void on_handler_begin(CpuId cpu, const FlushRequest<host::HostHal>& request);
  /// The flush is about to return.
  void check_unchanged(CpuId cpu) const;
  void check_all_run(CpuId cpu) const;
  void on_flush_returned(CpuId cpu) { own_flush(cpu).request = nullptr; }
  /// A run got stuck.
  void refine(host::Report& report) const;

 private:
  /// The event's request is that of the flush.
  void remember(Flush& flush, const TraceEvent& event) const;
  [[nodiscard]] Flush& own_flush(CpuId cpu) { return flush_[core_.truth().thread_on(cpu)]; }

  const Core& core_;
  std::array<Flush, kMaxCpus> flush_{};  // of each thread
  std::array<unsigned, kMaxCpus> begun_by_{};
  std::array<std::array<unsigned, kMaxCpus>, kMaxCpus> callers_{};  // of each sender and target
};

}  // namespace shootdown::fuzz
