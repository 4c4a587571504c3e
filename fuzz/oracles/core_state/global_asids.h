// Verifies: a global ASID has one mm, is clean when it is granted, and is loaded nowhere when it
// is given back; when a flush by broadcast returns, every CPU with the mm has moved to the ASID
// or was told otherwise (O27; O5 where a lazy CPU on an ASID of its own can walk a freed table).
// Does not verify: what the broadcast dropped (hardware/range.h).
#pragma once

#include <array>

#include "fuzz/oracles/core_state/core.h"
#include "fuzz/oracles/core_state/requests.h"

namespace shootdown::fuzz {

class GlobalAsidChecker {
 public:
  GlobalAsidChecker(const Core& core, const RequestChecker& requests)
      : core_(core), requests_(requests) {}

  void start();
  void on_granted(CpuId cpu, unsigned mm, Asid asid);
  void on_returned(CpuId cpu, Asid asid);
  void on_broadcast(CpuId cpu, const Invlpgb& what);
  void on_broadcasts_done(CpuId cpu);
  void on_flush_returned(CpuId cpu) const;

 private:
  const Core& core_;
  const RequestChecker& requests_;
  /// A bit for each ASID: in use, and given back without a full broadcast since.
  std::uint64_t in_use_{0};
  std::uint64_t dirty_{0};
  std::array<std::uint64_t, kMaxCpus> cleaning_{};  // that a full broadcast on its way makes clean
};

}  // namespace shootdown::fuzz
