// Verifies: an ASID holds nothing older than the generation it records (O4), nor does the user
// PCID, unless a flush of it is noted (O12), and no ASID that loads without a flush an older
// translation of a kernel page (O13); a CPU that comes up trusts nothing that its TLB held before
// (O24). Does not verify: what a CPU can use right now, which is hardware truth; it hears of the
// rest as `Leftovers`.
#pragma once

#include <array>
#include <vector>

#include "fuzz/oracles/core_state/core.h"
#include "fuzz/oracles/core_state/requests.h"
#include "fuzz/oracles/hardware/leftovers.h"

namespace shootdown::fuzz {

class AsidChecker final : public Leftovers {
 public:
  AsidChecker(const Core& core, const RequestChecker& requests)
      : core_(core), requests_(requests) {}

  void start();
  void on_destroy(unsigned mm);
  /// A flush of [start, end) makes the generation.
  void on_flush_begun(unsigned mm, const AskedRange& asked, Generation generation);
  /// The CPU's last change joins a batch that makes the generation.
  void on_batch_add(CpuId cpu, Generation generation);
  /// The CPU goes on after a switch or a flush function: the user PCID of the loaded ASID.
  void check_user_pcid(CpuId cpu) const;
  void on_bring_up(CpuId cpu) { bring_up_[cpu] = core_.machine().step(); }
  void on_online(CpuId cpu) const;

  void on_translation_left(CpuId cpu, CpuId target, const host::TlbEntry& entry,
                           unsigned page) override;
  void on_kernel_translation_left(CpuId cpu, CpuId target, const host::TlbEntry& entry,
                                  unsigned page) override;
  void on_pointer_left(CpuId target, const host::PscEntry& pointer) override;
  void on_loaded(CpuId cpu, const host::TlbEntry& entry, unsigned page) override;
  void on_kernel_beside(CpuId cpu, const host::TlbEntry& entry) override;

 private:
  /// "From generation `generation` on, nothing older than `version`", of one page.
  struct LogEntry {
    Generation generation;
    std::uint64_t version;
  };
  using Log = std::vector<LogEntry>;

  void note(unsigned mm, unsigned page, Generation generation);
  [[nodiscard]] bool is_stale_at(const host::TlbEntry& entry, Generation generation) const;

  const Core& core_;
  const RequestChecker& requests_;
  std::array<std::array<Log, kPages>, kMaxMms + 1> log_{};
  std::array<std::uint64_t, kMaxCpus> bring_up_{};  // when the last one began
};

}  // namespace shootdown::fuzz
