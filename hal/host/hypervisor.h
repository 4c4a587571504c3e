// What runs below the simulated kernel: KVM's host, Hyper-V, Xen or a broadcast hub (UV BAU).
//
// Each is an actor of the modelled machine. The host deschedules and resumes virtual CPUs where the
// schedule says so; a hypercall is a row of visible operations of its caller, one for each target;
// the hub's messages are delivered as interrupts. It decodes what it is given by itself and shares
// no code with what encodes it.
#pragma once

#include <array>
#include <cstdint>

#include "core/paravirt/hyperv_input.h"
#include "core/paravirt/uv_bau.h"
#include "core/paravirt/xen.h"
#include "hal/host/atomic.h"
#include "hal/host/machine.h"

namespace shootdown::host {

class Hypervisor {
 public:
  explicit Hypervisor(Machine& machine) : machine_(machine) {}
  Hypervisor(const Hypervisor&) = delete;
  Hypervisor& operator=(const Hypervisor&) = delete;

  /// Forgets the previous run.
  void prepare();

  // ---- KVM's host

  /// Takes the processor from a running virtual CPU. It is reported as preempted unless it is in
  /// the middle of an instruction. Under other backends nothing happens: for the guest it would be
  /// the same as being slow.
  void deschedule(HostCpu& cpu);
  /// The first step back: takes the byte, by one exchange, and with it what guests have left in it.
  void resume(HostCpu& cpu);
  /// The second: does what the byte asked for. The CPU executes its next instruction after that.
  void enter(HostCpu& cpu);
  [[nodiscard]] HostAtomic<std::uint8_t>& vcpu_state(CpuId cpu) { return vcpus_[cpu].state; }
  /// True: the virtual CPU is between two instructions without a processor, and the host will have
  /// flushed it before it executes the next.
  [[nodiscard]] bool will_flush(const HostCpu& cpu) const;
  /// How often the host has flushed the virtual CPU on entry.
  [[nodiscard]] std::uint64_t entry_flushes(CpuId cpu) const { return vcpus_[cpu].flushes; }
  /// Whether an access may be one that the host emulates: translated in one step, done in another.
  [[nodiscard]] bool emulates_accesses() const {
    return machine_.setup().hardware.backend == Backend::kvm;
  }

  // ---- Hyper-V

  /// Numbers leave gaps and go beyond 64, so that a CPU's index is never its number.
  [[nodiscard]] std::uint32_t hyperv_processor(CpuId cpu) const;
  [[nodiscard]] HypervPage& hyperv_input(CpuId cpu) { return inputs_[cpu]; }
  std::uint64_t hyperv_call(std::uint64_t control, Site where);

  // ---- Xen

  int xen_operation(const XenOperation& operation, Site where);

  // ---- Hub

  HostCpuMask bau_send(const BauMessage& message, const HostCpuMask& targets, Site where);
  bool bau_outstanding(Site where);
  bool bau_receive(BauMessage& message, Site where);
  void bau_acknowledge(const BauMessage& message, Site where);
  void bau_open(CpuId cpu) { bau_[cpu].open = true; }
  void bau_close(Site where);
  /// The targets that have not answered the CPU's message.
  using Unanswered = std::array<HostAtomic<std::uint64_t>, HostCpuMask::kWords>;
  [[nodiscard]] const Unanswered& bau_unanswered(CpuId cpu) const { return bau_[cpu].unanswered; }

  // ---- Faults

  /// Hyper-V: an odd `how` hides the CPU's number for good, an even one fails its next hypercall.
  /// Xen: its next hypercall fails. Hub: its next message does not reach the CPUs in the mask
  /// `how`, whose eight bits count again for the next eight CPUs.
  void fail_next(HostCpu& cpu, std::uint64_t how);
  /// Whether no such call or message came since.
  [[nodiscard]] bool fails_next(CpuId cpu) const {
    return vcpus_[cpu].fails || vcpus_[cpu].unreachable != 0;
  }

 private:
  struct Vcpu {
    HostAtomic<std::uint8_t> state;
    bool flush_taken{false};  // read from the byte, to be done on entry
    std::uint64_t flushes{0};
    bool fails{false};
    bool hidden{false};
    std::uint64_t unreachable{0};
  };
  /// A CPU's end of the hub.
  struct BauPort {
    bool open{false};
    std::array<BauMessage, kHostCpus> inbox{};
    unsigned size{0};
    Unanswered unanswered;  // targets of this CPU's message
  };

  /// Whether the caller's hypercall is to fail; only once.
  bool fails_now();
  /// One step of a hypercall for each target.
  template <class Flush>
  void flush_each(const HostCpuMask& targets, const Dropped& what, Flush&& flush);
  void announce(const char* what, const HostCpuMask& targets, Site where);

  Machine& machine_;
  std::array<Vcpu, kHostCpus> vcpus_;
  std::array<HypervPage, kHostCpus> inputs_{};
  std::array<BauPort, kHostCpus> bau_;
};

}  // namespace shootdown::host
