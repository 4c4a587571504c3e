// What each action of a schedule came to, while the timeline is on. One that does nothing is no
// error, but it is a mistake where a scenario was written by hand.
#pragma once

#include <cstdint>
#include <vector>

#include "core/types.h"
#include "hal/host/schedule.h"
#include "hal/host/tlb.h"

namespace shootdown::host {

class Machine;

class Effects {
 public:
  explicit Effects(const Machine& machine) : machine_(machine) {}

  void prepare() { effects_.clear(); }
  /// Around the action. `begin` returns what `end` is to be given.
  std::uint64_t begin(const Action& action);
  void end(const Action& action, std::uint64_t before);
  /// The run is over: what still waits has not come.
  void finish();
  /// Whether the threads of the action's two CPUs can be asked to change places.
  [[nodiscard]] bool can_migrate(const Action& action) const;
  /// In the order of the actions, as far as their moments came.
  [[nodiscard]] const std::vector<Effect>& list() const { return effects_; }

 private:
  /// As far as it can be told before: why the action does nothing, or null if it may do something.
  [[nodiscard]] const char* why_nothing(const Action& action) const;
  /// Of what can be told only after: a number that differs if something was done.
  [[nodiscard]] std::uint64_t what_it_changes(const Action& action) const;
  [[nodiscard]] bool has_cached(const Action& action) const;
  [[nodiscard]] const Tlb& tlb_of(const Action& action) const;
  /// Of what waits: a number that differs if it has come.
  [[nodiscard]] std::uint64_t marker(EventKind kind, CpuId cpu) const;
  [[nodiscard]] bool still_waits(const Effect& effect) const;
  /// An action of that kind at that CPU waits no longer: what it was to change has come, or it did
  /// nothing.
  void publish_all(EventKind kind, CpuId cpu, const char* why_nothing);

  const Machine& machine_;
  std::vector<Effect> effects_;
};

}  // namespace shootdown::host
