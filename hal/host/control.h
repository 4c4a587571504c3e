// Dense control of a run: a Controller picks each next step. Exhaustive search works this way; a
// sparse ScheduleSource deviates from a default schedule instead.
//
// What may happen is a set of processes, each with one next step: every CPU's own program, and the
// parts of the hardware that act by themselves. A step reaches from one visible operation of its
// process to the next. The places that it uses on the way are its footprint: if the footprints of
// two steps of different processes do not conflict, both orders of the steps end in the same state.
#pragma once

#include <cstdint>
#include <vector>

#include "core/types.h"
#include "hal/host/event_kind.h"

namespace shootdown::host {

class Machine;

/// A process and, with it, its next step. The three kinds of a handler are one process: while it is
/// there, the program of its CPU has no step, and under an NMI the interrupt's handler has none.
struct Step {
  EventKind kind{EventKind::run};
  CpuId cpu{0};
  /// fill, evict: the address, by its number in the set-up, an eviction's doubled, plus 1 for the
  /// pointers to tables; device: the walk's number; nmi and its handler: the NMI's number; deliver:
  /// the issuing CPU; migrate: the other CPU; overtake: which of the stores that may; stale: how
  /// many values older
  std::uint32_t argument{0};
  friend bool operator==(const Step&, const Step&) = default;
};

/// A place that steps share: a word of memory, or a part of a CPU that others act on.
using Location = std::uint64_t;

/// Parts of a CPU that others act on or look at, and things that are not words. Words are places by
/// their addresses, which are far above these numbers.
enum class LocationKind : std::uint8_t {
  control,      // what the CPU executes next; interrupts change it
  processor,    // whether the CPU has a processor; the host changes it
  pending,      // whether an interrupt waits for it and can be taken
  tlb,          // its cached translations, all of them
  tables,       // its cached pointers to page tables
  drops,        // that it drops cached translations
  table_drops,  // that it drops cached pointers to page tables
  root,         // CR3
  buffer,       // how full its store buffer is
  page_stores,  // what it has stored to pages, once that is in memory
  kept_pages,   // which of its stores to pages wait
  late_store,   // whether its last locked store is late
  broadcasts,   // INVLPGB messages in flight to it
  lost,         // that an interrupt to it has got lost
  device,       // what the device has cached and is bound to
  frames,       // the frame allocator
  frame,        // what a frame is used for, by its number
  migrations,   // how many exchanges of threads are left
  client,       // the first of the parts that the machine's user numbers; see `client_part`
};
/// `number` is a CPU, or what the part says.
constexpr Location place(LocationKind part, std::uint32_t number = 0) {
  return (static_cast<Location>(part) << 8) + number;
}
/// A part of what the machine's user keeps beside it, such as an observer's notes.
constexpr LocationKind client_part(unsigned number) {
  return static_cast<LocationKind>(static_cast<unsigned>(LocationKind::client) + number);
}
/// What a CPU has cached for the page of an address. A step that uses it uses `LocationKind::tlb`,
/// too; a step that concerns all entries of the CPU writes that one.
constexpr Location cached(CpuId cpu, VirtAddr address) {
  return (Location{1} << 60) + (Location{cpu} << 50) +
         ((address >> kPageShift) & ((Location{1} << 50) - 1));
}
/// That a CPU drops what it has cached for the page of an address, with `LocationKind::drops` in
/// the same manner. An oracle that asks whether an outdated entry is left uses this place: an entry
/// cached from now on is not outdated, so only drops matter to the answer.
constexpr Location dropped(CpuId cpu, VirtAddr address) { return cached(cpu, address) << 1; }
/// The store that a CPU buffered as its `number`th.
constexpr Location stored(CpuId cpu, std::uint64_t number) {
  return (Location{1} << 62) + (Location{cpu} << 40) + number;
}

struct Access {
  Location place;
  bool write;
  friend bool operator==(const Access&, const Access&) = default;
};
using Footprint = std::vector<Access>;

/// Picks the next step of a run, each time.
class Controller {
 public:
  static constexpr std::size_t kStop = ~std::size_t{0};

  virtual ~Controller() = default;
  /// One of the enabled steps, by index, or kStop to abandon the run. There is at least one. The
  /// first is what the default schedule would do.
  virtual std::size_t pick(const std::vector<Step>& enabled) = 0;
  /// The step picked last is over. May move the footprint away.
  virtual void done(Footprint& footprint) = 0;
};

}  // namespace shootdown::host
