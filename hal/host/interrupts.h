// Interrupts and NMIs: how they are sent, get lost, wait, and are taken.
//
// A vector has one pending bit at each CPU, so interrupts of a vector merge. A CPU takes what is
// pending before a visible operation, if its interrupt flag is on; an NMI also if it is off. Under
// a controller the controlled scheduler says when.
#pragma once

#include <cstdint>

#include "core/types.h"
#include "hal/common/ipi_choice.h"
#include "hal/host/host_cpu.h"
#include "hal/host/recorder.h"
#include "hal/host/setup.h"

namespace shootdown::host {

/// The interrupt controller knows groups of this many CPUs, as an x2APIC knows clusters.
inline constexpr CpuId kIpiGroup = 4;

/// How interrupts were sent.
struct IpiCounts {
  std::uint64_t sends[3]{};  // by IpiMethod
  std::uint64_t commands{0};
};

class Interrupts {
 public:
  explicit Interrupts(Machine& machine) : machine_(machine) {}

  void prepare();

  // ---- Instructions of the running CPU

  void send_call_function(const HostCpuMask& targets, Site where);
  /// The interrupt to `target` is sent again if it got lost.
  void send_again(CpuId target);

  /// INIT: `target` is reset in the middle of what it does, and waits for a startup interrupt.
  /// Not to oneself, and not under a controller.
  void send_init(CpuId target, Site where);
  /// A startup interrupt (SIPI): a CPU that INIT has reset runs `Programs::startup`. Nothing for
  /// any other.
  void send_startup(CpuId target, Site where);

  // ---- Delivery to the running CPU

  /// Takes what is pending and not held back by the schedule.
  void take();
  /// Takes one pending interrupt, or the pending NMI.
  void serve_pending();
  void serve_nmi();
  /// The kernel takes the thread off. Returns where the thread goes on.
  void reschedule();

  /// Whether an interrupt to any CPU has got lost and was not sent again.
  [[nodiscard]] bool has_lost_one() const;
  [[nodiscard]] std::uint64_t delivered() const { return delivered_; }
  [[nodiscard]] std::uint64_t nmis_delivered() const { return nmis_delivered_; }
  /// All ways reach the same CPUs in the model, so this is for tests and statistics.
  [[nodiscard]] const IpiCounts& counts() const { return counts_; }

 private:
  void count(const HostCpuMask& targets);
  void serve(CpuCode handler, const char* name);
  /// Under a controller the way out of a handler is a step of its own.
  void leave_handler();

  Machine& machine_;
  std::uint64_t delivered_{0};
  std::uint64_t nmis_delivered_{0};
  IpiCounts counts_{};
};

}  // namespace shootdown::host
