// The scheduler of runs under a Controller: lists what may happen, has the controller pick one
// step, and takes it. Exhaustive exploration works this way (explore.h).
//
// CPUs call it before each visible operation, as they call the default scheduler. A step of a CPU
// is taken by switching to it; a step of the hardware (hardware_steps.h) is taken right here.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "core/types.h"
#include "hal/host/control.h"
#include "hal/host/footprint.h"
#include "hal/host/hardware_steps.h"
#include "hal/host/host_cpu.h"
#include "hal/host/recorder.h"

namespace shootdown::host {

class ControlledScheduler {
 public:
  explicit ControlledScheduler(Machine& machine)
      : machine_(machine), footprint_(machine), hardware_(machine) {}

  void prepare();
  /// All CPUs have booted. Unless the controller waits for the gate, it takes over.
  void start();
  /// The run is over.
  void stop() { footprint_.turn(false); }
  /// Whether the controller has taken over.
  [[nodiscard]] bool is_on() const { return footprint_.is_on(); }
  [[nodiscard]] FootprintLog& footprint() { return footprint_; }

  /// For set-up before the controller takes over: waits until every CPU is here, with empty store
  /// buffers. Without a controller it does nothing.
  void start_barrier();
  /// The running CPU stands before a visible operation: other steps are taken until the controller
  /// picks this CPU's.
  void control(Pending kind, bool interruptible = true);

  /// The same before an access to the CPU's own words. No step if nothing can come in between.
  void own_access();

  /// Accounts for an operation within the step being taken.
  void note(OpClass op, std::uint64_t value);
  /// What each process has done and seen, in its own order, whichever order lies between them.
  [[nodiscard]] std::uint64_t outcome_hash() const;

 private:
  [[nodiscard]] const Exploration& exploration() const;
  /// Takes steps of the hardware until the controller picks one of a CPU. Null at the end.
  HostCpu* next_step();
  void finish_step();
  void take_interrupt_now();
  /// The CPU's step was picked. True if it is to do the operation that it stands before.
  bool resumes(Pending kind);
  void finish_pause(HostCpu& cpu);
  void list_steps();
  void list_cpu(const HostCpu& cpu);
  [[nodiscard]] static Step own_step(const HostCpu& cpu);
  [[nodiscard]] bool may_run(const HostCpu& cpu) const;
  /// A word that a waiting CPU has looked at holds another value by now.
  [[nodiscard]] static bool sees_change(const HostCpu& cpu);
  /// Whether the CPU may pause in vain, because time may pass while an interrupt is lost.
  [[nodiscard]] bool may_stall(const HostCpu& cpu) const;

  Machine& machine_;
  FootprintLog footprint_;
  HardwareSteps hardware_;
  bool in_step_{false};
  CpuId at_start_barrier_{0};
  Step step_now_{};
  std::vector<Step> steps_;
  std::array<std::uint64_t, static_cast<std::size_t>(EventKind::kCount) * kHostCpus> outcomes_{};
};

}  // namespace shootdown::host
