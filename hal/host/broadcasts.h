// INVLPGB and TLBSYNC: invalidations that hardware carries to every CPU.
//
// A message arrives at each CPU in a step of its own: when the schedule says so, else at the
// issuer's next TLBSYNC. Messages may overtake each other.
#pragma once

#include <cstdint>
#include <vector>

#include "core/hal.h"
#include "core/types.h"
#include "hal/host/host_cpu.h"
#include "hal/host/recorder.h"

namespace shootdown::host {

/// The most pages that one INVLPGB of the model can name. Small, so that ranges come in pieces.
inline constexpr std::uint32_t kInvlpgbMaxPages = 4;

/// An INVLPGB that some CPUs have not carried out yet.
struct BroadcastMessage {
  CpuId issuer;
  Invlpgb what;
  HostCpuMask left;
};

class Broadcasts {
 public:
  explicit Broadcasts(Machine& machine) : machine_(machine) {}

  void prepare() { in_flight_.clear(); }

  // ---- Instructions

  /// Sends the invalidation to every CPU.
  void invlpgb(const Invlpgb& what, Site where);
  /// Waits until all that this CPU has issued has arrived, each arrival a visible operation.
  void tlbsync(Site where);

  // ---- For the schedule

  [[nodiscard]] const std::vector<BroadcastMessage>& in_flight() const { return in_flight_; }
  [[nodiscard]] bool has_one_for(CpuId target) const;
  /// One of those on their way to `target` arrives, chosen by `choice`, if there are any.
  void deliver_some(CpuId target, std::uint64_t choice);
  /// The oldest one of `issuer` that has not arrived at `target` arrives.
  void deliver_first(CpuId target, CpuId issuer);

 private:
  /// The message, by its index, arrives.
  void deliver(std::size_t message, CpuId target);

  Machine& machine_;
  std::vector<BroadcastMessage> in_flight_;
};

}  // namespace shootdown::host
