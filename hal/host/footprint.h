// Under a controller: the places that the running step uses. Two steps conflict if they share a
// place that one of them writes (control.h).
#pragma once

#include <cstdint>

#include "core/types.h"
#include "hal/host/control.h"

namespace shootdown::host {

class FootprintLog {
 public:
  explicit FootprintLog(Machine& machine) : machine_(machine) {}

  void turn(bool on) { on_ = on; }
  [[nodiscard]] bool is_on() const { return on_; }

  void touch(Place where, bool write) {
    if (on_) [[unlikely]] {
      footprint_.push_back({.place = where, .write = write});
    }
  }
  /// What the CPU has cached for an address.
  void touch_cached(CpuId cpu, VirtAddr address, bool write);
  /// The same, and that the CPU drops it.
  void touch_dropped(CpuId cpu, VirtAddr address);
  /// All that the CPU has cached, and that the CPU drops it.
  void touch_all_dropped(CpuId cpu) {
    for (const Part part : {Part::tlb, Part::tables, Part::drops, Part::table_drops}) {
      touch(place(part, cpu), true);
    }
  }

  /// Of the step so far. `Controller::done` may move it away.
  [[nodiscard]] Footprint& places() { return footprint_; }
  void clear() { footprint_.clear(); }

 private:
  Machine& machine_;
  bool on_{false};
  Footprint footprint_;
};

}  // namespace shootdown::host
