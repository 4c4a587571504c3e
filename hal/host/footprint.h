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

  void record_access(Location where, bool write) {
    if (on_) [[unlikely]] {
      footprint_.push_back({.place = where, .write = write});
    }
  }
  /// What the CPU has cached for an address.
  void record_cached(CpuId cpu, VirtAddr address, bool write);
  /// The same, and that the CPU drops it.
  void record_dropped(CpuId cpu, VirtAddr address);
  /// All that the CPU has cached, and that the CPU drops it.
  void record_all_dropped(CpuId cpu) {
    for (const LocationKind part : {LocationKind::tlb, LocationKind::tables, LocationKind::drops,
                                    LocationKind::table_drops}) {
      record_access(place(part, cpu), true);
    }
  }

  /// The CPU loads from a page, or stores to one at once. Which word that is depends on the page
  /// tables, and another order may lead to another word or to a fault; so it may be any word that a
  /// CPU has stored to.
  void record_page_access(CpuId cpu, bool write);

  /// Of the step so far. `Controller::done` may move it away.
  [[nodiscard]] Footprint& places() { return footprint_; }
  void clear() { footprint_.clear(); }

 private:
  Machine& machine_;
  bool on_{false};
  Footprint footprint_;
};

}  // namespace shootdown::host
