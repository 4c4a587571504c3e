// What the actions of a schedule do to the machine, and what each came to (effects.h).
#pragma once

#include "hal/host/effects.h"
#include "hal/host/schedule.h"

namespace shootdown::host {

class Deviations {
 public:
  explicit Deviations(Machine& machine) : machine_(machine), effects_(machine) {}

  void prepare() { effects_.prepare(); }
  void apply(const Action& action);
  [[nodiscard]] Effects& effects() { return effects_; }
  [[nodiscard]] const Effects& effects() const { return effects_; }

 private:
  void perform(const Action& action);

  Machine& machine_;
  Effects effects_;
};

}  // namespace shootdown::host
