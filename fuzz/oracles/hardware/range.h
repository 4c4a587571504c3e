// Verifies: on each CPU that has carried a flush out, what its hardware has dropped since the flush
// began covers every page that holds a byte of the range asked (O28).
// Does not verify: that no CPU is left out (flushes.h, tables.h); what the core made of the range,
// and what it believes of its ASIDs, is not looked at. Silent under exhaustive search, which does
// not follow which CPU drops what when.
#pragma once

#include <array>

#include "fuzz/oracles/hardware/truth.h"
#include "hal/host/observer.h"

namespace shootdown::fuzz {

class RangeChecker {
 public:
  explicit RangeChecker(const Truth& truth) : truth_(truth) {}

  void start() { flushing_ = kernel_flushing_ = {}; }
  void on_flush_begun(CpuId cpu, unsigned mm, const AskedRange& asked);
  /// It goes by broadcast under the PCID of this ASID.
  void on_broadcast(CpuId cpu, Asid asid) { flush_of(cpu).global = asid; }
  /// `target` says that it has flushed for the thread's flush, or a hypervisor is to flush it.
  void on_carried_out(unsigned thread, CpuId target) { flush_[thread].carried_out.set(target); }
  void on_flush_returned(CpuId cpu, bool early);
  void on_kernel_flush_begun(CpuId cpu, const AskedRange& asked);
  void on_kernel_flush_returned(CpuId cpu);
  void on_dropped(CpuId cpu, const host::Dropped& what);

 private:
  /// What each CPU has dropped since then, under each PCID: a bit for each 4 KiB page asked.
  struct Coverage {
    std::uint64_t first_page{0};
    std::uint64_t pages{0};  // 0: everything
    std::uint64_t wanted{0};
    std::array<std::array<std::uint64_t, 18>, kMaxCpus> dropped{};
    void ask(VirtAddr start, VirtAddr end);
    void add(CpuId cpu, const host::Dropped& what, bool everywhere);
    [[nodiscard]] bool is_complete(CpuId cpu, std::uint16_t pcid) const;
    [[nodiscard]] std::uint64_t hit_by(const host::Dropped& what) const;
  };
  struct Flush {
    unsigned mm{kNoMm};
    Asid global{kNoGlobalAsid};
    AskedRange asked;
    Coverage coverage;
    host::HostCpuMask carried_out;
    AskedRange kernel_asked;
    Coverage kernel_coverage;
  };

  /// The one that the thread which runs on the CPU has begun.
  [[nodiscard]] Flush& flush_of(CpuId cpu) { return flush_[truth_.thread_on(cpu)]; }
  [[nodiscard]] const Flush& flush_of(CpuId cpu) const { return flush_[truth_.thread_on(cpu)]; }
  [[nodiscard]] bool is_loaded(CpuId cpu, Asid asid) const;
  void report_uncovered(CpuId cpu, CpuId target, const AskedRange& asked) const;

  const Truth& truth_;
  host::HostCpuMask flushing_;           // threads whose flush is on its way
  host::HostCpuMask kernel_flushing_;    // ... of a kernel range
  std::array<Flush, kMaxCpus> flush_{};  // of each thread
};

}  // namespace shootdown::fuzz
