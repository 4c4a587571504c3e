// Verifies: at the end of a CPU's program its counters say what was sent, queued, run and executed
// on it (O29), by whichever instruction and counted at whichever moment.
// Does not verify: counters under page-table isolation or a hypervisor where the hardware's account
// holds other work too.
#pragma once

#include <array>

#include "fuzz/oracles/core_state/core.h"

namespace shootdown::fuzz {

class CounterChecker {
 public:
  explicit CounterChecker(const Core& core) : core_(core) {}

  void start() { tally_.fill({}); }
  void on_trace(CpuId cpu, const TraceEvent& event);
  void on_broadcast(CpuId cpu) { ++tally_[cpu].broadcasts; }
  /// Stretches whose whole flushes need not be counted. One may lie in the other.
  void on_switch_begin(CpuId cpu) { switch_[cpu] = account_of(cpu); }
  void on_switch_end(CpuId cpu) { leave_uncounted(cpu, switch_[cpu]); }
  void on_bring_up(CpuId cpu) { bring_up_[cpu] = account_of(cpu); }
  void on_online(CpuId cpu) { leave_uncounted(cpu, bring_up_[cpu]); }
  void on_program_end(CpuId cpu) const;

 private:
  /// How often things happened on a CPU that its counters should know of.
  struct Tally {
    bool sending{false};  // a flush; the memory manager makes other calls, too
    std::uint64_t sends{0};
    std::uint64_t queued{0};
    std::uint64_t calls_run{0};
    std::uint64_t broadcasts{0};
    std::uint64_t uncounted{0};
  };
  struct Account {
    std::uint64_t executed{0};
    std::uint64_t counted{0};
  };

  void check(CpuId cpu, const char* name, std::uint64_t counted, std::uint64_t happened) const;
  /// How often the CPU has flushed more than a page.
  [[nodiscard]] std::uint64_t whole_flushes(CpuId cpu) const;
  [[nodiscard]] Account account_of(CpuId cpu) const;
  void leave_uncounted(CpuId cpu, const Account& begin);

  const Core& core_;
  std::array<Tally, kMaxCpus> tally_{};
  std::array<Account, kMaxCpus> switch_{};  // when the last one began
  std::array<Account, kMaxCpus> bring_up_{};
};

}  // namespace shootdown::fuzz
