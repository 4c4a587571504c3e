// What one simulated CPU consists of.
#pragma once

#include <cstdint>
#include <vector>

#include "core/cpu_mask.h"
#include "core/hal.h"
#include "core/types.h"
#include "hal/host/observer.h"
#include "hal/host/setup.h"
#include "hal/host/store_buffer.h"
#include "hal/host/thread.h"
#include "hal/host/tlb.h"

namespace shootdown::host {

class Machine;
struct HostCpu;

using HostCpuMask = CpuMask<kHostCpus>;

/// Where a virtual CPU is: on a processor, off it, or on its way back, when the host has read what
/// was left for it and the CPU has not executed an instruction yet.
enum class VcpuPlace : std::uint8_t { running, descheduled, entering };

/// Where a CPU stands under a Controller: before which kind of visible operation.
enum class Pending : std::uint8_t {
  plain,
  drained,  // one that waits until the CPU's store buffer is empty
  pause,    // one that waits until a word that the CPU has looked at changes
  thread,   // one that waits until another thread has come
  idle,     // none: the program is over
};

enum class OpClass : std::uint8_t;  // hal/host/recorder.h

/// A word as a CPU has seen it since its last pause.
struct Look {
  const void* word;
  std::uint64_t (*read)(const void* word, const HostCpu& cpu);
  std::uint64_t bits;
};

/// What a CPU has executed of the instructions that drop translations, since the run began.
struct Executed {
  std::uint64_t cr3_flushes{0};  // loads of CR3 that do not keep
  std::uint64_t pages{0};        // INVLPG, and INVPCID of an address in the loaded PCID
  std::uint64_t contexts{0};     // INVPCID of one context or of all
  std::uint64_t everything{0};   // INVPCID of everything
  std::uint64_t pge_toggles{0};  // two for each time that CR4.PGE is toggled and restored
};

inline constexpr std::uint64_t kCr3Pcid = 0xfff;

/// One simulated CPU's hardware state.
struct HostCpu {
  CpuId id{0};
  std::uint64_t cr3{0};
  std::uint64_t cr4{0};
  bool interrupts_enabled{false};
  bool in_interrupt{false};
  bool call_pending{false};
  bool bau_pending{false};
  bool loses_next{false};   // the next interrupt to this CPU gets lost
  bool has_lost{false};     // an interrupt to this CPU got lost and was not sent again
  bool nmi_pending{false};  // for the next visible operation, or for the end of the NMI before
  bool in_nmi{false};
  std::uint32_t nmi_after{0};  // how many accesses of the CPU come before the one that waits
  VirtAddr nmi_address{0};     // what its handler is to read
  /// The host emulates an access of this CPU: the address is translated, the access is not done.
  bool in_emulation{false};
  // For schedules that look for a moment.
  OpClass last_operation{};
  const void* last_word{nullptr};  // that of the operation, if it was one on an atomic word
  VcpuPlace place{VcpuPlace::running};
  bool blocked{false};
  std::uint32_t hold{0};
  std::uint64_t held{0};  // how often an interrupt was held back
  StoreBuffer stores;
  Executed executed{};
  std::uint32_t preemption_off{0};
  std::uint64_t pause_saw{~std::uint64_t{0}};
  Tlb tlb;
  Thread* thread{nullptr};  // the one that runs here
  Exchange exchange{};
  bool at_start_barrier{false};
  bool waits_for_startup{false};  // INIT has reset it
  // Under a Controller only.
  Pending pending{Pending::plain};
  bool interruptible{true};
  bool started{false};
  bool takes_interrupt{false};
  bool takes_nmi{false};
  bool leaves{false};  // the handler's next step is its last
  unsigned preemptions_left{0};
  unsigned losses_left{0};
  unsigned duplicates_left{0};
  unsigned vain_pauses{0};  // in a row
  std::uint32_t fills_left{0};
  std::uint32_t evictions_left{0};
  std::uint32_t nmis_left{0};
  std::uint32_t nmi_number{0};  // of the one that is handled
  std::uint64_t stores_buffered{0};
  std::vector<Look> looks;
  const void* loads{nullptr};  // the word that the operation is a load of, with Memory::cxx

  /// A new run starts: what the run before left is forgotten, and what may happen is as in `setup`.
  void prepare(const Setup& setup);

  /// INIT: registers and the local APIC are as after a reset, the TLB is as it was.
  void reset();

  /// CR4.PCIDE.
  [[nodiscard]] bool has_pcids() const { return (cr4 & kCr4Pcid) != 0; }
  /// The current PCID, 0 without PCIDs.
  [[nodiscard]] std::uint16_t pcid() const {
    return has_pcids() ? static_cast<std::uint16_t>(cr3 & kCr3Pcid) : 0;
  }
  [[nodiscard]] bool is_awaited() const {
    return call_pending || bau_pending || nmi_pending || exchange.is_asked();
  }
  [[nodiscard]] bool must_interrupt() const {
    return (nmi_pending && !in_nmi) || must_take_maskable();
  }
  [[nodiscard]] bool must_take_maskable() const { return must_serve() || must_exchange(); }
  /// One that a handler is for.
  [[nodiscard]] bool must_serve() const {
    return (call_pending || bau_pending) && interrupts_enabled;
  }
  /// Whether the kernel may take the thread off the CPU.
  [[nodiscard]] bool is_preemptible() const {
    return interrupts_enabled && preemption_off == 0 && !in_interrupt && !in_nmi;
  }
  [[nodiscard]] bool must_exchange() const { return exchange.is_asked() && is_preemptible(); }
};

}  // namespace shootdown::host
