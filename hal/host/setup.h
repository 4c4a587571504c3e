// What a run of the modelled machine is set up with. Each part has defaults: one CPU, no errata,
// sequential consistency, no programs, the default schedule.
#pragma once

#include <cstdint>
#include <vector>

#include "core/types.h"

namespace shootdown::host {

class Controller;
class Observer;
class ScheduleSource;

/// What is below the simulated kernel.
enum class Backend : std::uint8_t { native, kvm, hyperv, xen, uv_bau };

/// How stores reach memory, and what loads return.
enum class Memory : std::uint8_t {
  sc,                   // at once: sequential consistency
  tso,                  // through a store buffer
  compiler_reordering,  // and a compiler reorders as the C++ model lets it (cxx_memory.h)
};

struct Hardware {
  CpuId cpus{1};
  bool pcid{true};  // CR4.PCIDE, as CPUs begin
  bool global_pages{true};
  bool xapic{false};  // interrupts are sent by a store, which earlier stores come before
  /// An x2APIC command waits for nothing but what LFENCE or a serialising instruction has waited
  /// for: MFENCE alone and locked instructions hold it back no more than plain stores.
  bool weak_ipi{false};
  // What processors may do as well. A dirty bit is set some time after the entry was read, also in
  // one whose right to write has gone meanwhile; a write through a cached translation without that
  // right faults although a new walk would find it.
  bool dirty_races{false};
  bool spurious_faults{false};
  bool older_entries{false};  // a fill leaves an older entry of the page, which may come back
  bool tce{false};            // AMD: EFER.TCE is set
  bool five_levels{false};    // CR4.LA57 is set
  Backend backend{Backend::native};
};

/// Switches for defects of processors. README.md says what each makes the model do.
struct Errata {
  bool invlpg_leaves_globals{false};
  bool pge_toggle_flushes_nothing{false};
  // The walker of an instruction sets accessed and dirty bits some time after it has read the
  // entry: by writing back what it has read, or in whichever entry is there by then.
  bool walker_overwrites{false};
  bool walker_is_late{false};
};

/// Code that runs on a simulated CPU.
using CpuCode = void (*)(void* argument, CpuId cpu);

/// What the CPUs run. All of it gets the same argument.
struct Programs {
  CpuCode boot{nullptr};           // brings the CPU up, one after the other, undisturbed
  CpuCode program{nullptr};        // what the CPU does then
  CpuCode interrupt{nullptr};      // the call-function interrupt's handler
  CpuCode bau_interrupt{nullptr};  // the broadcast hub (UV BAU)'s, if there is one
  CpuCode nmi{nullptr};            // the NMI handler, if there are NMIs
  CpuCode startup{nullptr};        // what a CPU does from a startup interrupt on
  /// Takes the CPU's thread off and continues another, around `Scheduler::exchange_threads`; null:
  /// threads stay where they are. Begins and ends with interrupts and preemption off.
  CpuCode reschedule{nullptr};
  void* argument{nullptr};
};

/// A walk that no instruction asks for, and the level of the last entry that it reads: from 2 on it
/// caches pointers to tables and no translation.
struct SpeculativeWalk {
  VirtAddr address;
  unsigned level{1};
};
/// One of a device, in one of the mms that it is bound to.
struct DeviceWalk {
  unsigned context;
  SpeculativeWalk walk;
};

/// Which interleavings the machine runs: a default schedule with the deviations of `schedule`, or,
/// under a controller, one of all that are possible. The other members say what is possible then.
struct Exploration {
  std::uint64_t step_limit{100000};  // visible operations; a longer run is a failure
  ScheduleSource* schedule{nullptr};
  Controller* controller{nullptr};  // in the place of the schedule
  /// The controller takes over when every CPU has come to the gate. Else at the start.
  bool start_barrier{false};
  /// Each CPU attempts each of these walks, at most 31, at some moment.
  std::vector<SpeculativeWalk> fills{};
  /// For each of these addresses, at most 15, each CPU drops the entry that it has cached at some
  /// moment, and at another the pointers to tables on the way, if it has them then.
  std::vector<VirtAddr> evictions{};
  /// With KVM: how often the host may take the processor from each CPU.
  unsigned preemptions{0};
  /// How often the threads of two CPUs change places, whichever two, at moments at which both can
  /// be taken off. At others an attempt is in vain, and counts.
  unsigned migrations{0};
  /// Interrupts and NMIs may come before accesses to the CPU's own words, too. No other CPU acts
  /// there.
  bool own_accesses{false};
  /// Accesses to plain fields count among those to own words, also under a schedule.
  bool own_fields{false};
  /// For each of these addresses, at most 31, each CPU takes one NMI at some moment, whose handler
  /// is to read the address.
  std::vector<VirtAddr> nmis{};
  /// The device attempts each of these walks, at most 31, at some moment.
  std::vector<DeviceWalk> device_walks{};
  /// How many interrupts to each CPU get lost, each the next one after some moment, and how many
  /// arrive that no CPU has sent.
  unsigned losses{0};
  unsigned duplicates{0};
  /// While an interrupt is lost: how many pauses in a row a CPU may do although no word that it
  /// polls has changed. A core whose own limit is lower reports, and the interrupt is sent again.
  unsigned stall_limit{0};
};

struct Setup {
  Hardware hardware{};
  Errata errata{};
  Memory memory{Memory::sc};
  Programs programs{};
  Exploration exploration{};
  Observer* observer{nullptr};
  /// Software that waits with interrupts off does what interrupts would have asked of it, so a
  /// pause then is no failure by itself: one that waits for ever is found as such.
  bool closed_waits{false};
};

}  // namespace shootdown::host
