// Under a controller: the steps of what acts beside the CPUs. Store buffers, broadcasts on their
// way, speculative walks, evictions, a host, a device, NMIs, faults of the interrupt controller.
#pragma once

#include <cstdint>
#include <vector>

#include "core/types.h"
#include "hal/host/control.h"
#include "hal/host/host_cpu.h"
#include "hal/host/setup.h"

namespace shootdown::host {

struct BroadcastMessage;

class HardwareSteps {
 public:
  explicit HardwareSteps(Machine& machine) : machine_(machine) {}

  void prepare();

  /// Appends the steps that happen in the end, so that a CPU may wait for them.
  void list_certain(std::vector<Step>& steps) const;
  /// Appends the steps that may as well not happen.
  void list_possible(std::vector<Step>& steps) const;
  /// Takes a step of the hardware. An NMI is not one: it is a step of the CPU that takes it.
  void take(const Step& step);

  /// Between two instructions, with a processor and an empty store buffer.
  [[nodiscard]] static bool can_be_interrupted(const HostCpu& cpu) {
    return cpu.started && cpu.stores.empty() && cpu.place != VcpuPlace::descheduled;
  }

 private:
  [[nodiscard]] const Exploration& exploration() const;
  static void list_deliveries(const BroadcastMessage& message, std::vector<Step>& steps);
  void list_speculation(const HostCpu& cpu, std::vector<Step>& steps) const;
  void list_faults(const HostCpu& cpu, std::vector<Step>& steps) const;
  /// What a compiler may have done to the CPU's stores, and to the load that it is about to do.
  void list_reorderings(const HostCpu& cpu, std::vector<Step>& steps) const;
  void try_fill(HostCpu& cpu, std::uint32_t number);
  void try_evict(HostCpu& cpu, std::uint32_t number);
  void try_evict_pointers(HostCpu& cpu, VirtAddr address);
  void try_migrate(HostCpu& cpu, HostCpu& other);

  Machine& machine_;
  std::uint32_t device_walks_left_{0};
  unsigned migrations_left_{0};
};

}  // namespace shootdown::host
