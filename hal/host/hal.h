// The HAL on the modelled machine: what the core and the simulated kernel are instantiated over.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "core/capacities.h"
#include "core/hal.h"
#include "core/paravirt/hyperv.h"
#include "core/paravirt/kvm.h"
#include "core/paravirt/uv_bau.h"
#include "core/paravirt/xen.h"
#include "hal/host/atomic.h"
#include "hal/host/hypervisor.h"
#include "hal/host/machine.h"
#include "hal/host/own.h"
#include "hal/host/race_detector.h"

namespace shootdown::host {

/// The modelled machine as the core sees it. Static members act on `current_machine`.
struct HostHal {
  static constexpr CpuId kMaxCpus = kHostCpus;

  template <class T>
  using Atomic = HostAtomic<T>;
  template <class T>
  using Own = HostOwn<T>;

  static void full_fence(Site where = Site::current()) { instructions()->full_fence(where); }
  static CpuId this_cpu() { return current_machine->running().id; }
  static void disable_preemption() { ++current_machine->running().preemption_off; }
  static void enable_preemption() {
    HostCpu& self = current_machine->running();
    --self.preemption_off;
    if (self.must_exchange()) [[unlikely]] {
      scheduler()->own_access();
    }
  }

  static bool interrupts_enabled() { return current_machine->running().interrupts_enabled; }
  static void disable_interrupts(Site where = Site::current()) {
    instructions()->set_interrupts(false, where);
  }
  static void enable_interrupts(Site where = Site::current()) {
    instructions()->set_interrupts(true, where);
  }
  static bool in_interrupt() {
    const HostCpu& cpu = current_machine->running();
    return cpu.in_interrupt || cpu.in_nmi;
  }

  static void write_cr3(std::uint64_t value, Site where = Site::current()) {
    instructions()->write_cr3(value, where);
  }
  static std::uint64_t read_cr3() { return current_machine->running().cr3; }
  static void invlpg(VirtAddr address, Site where = Site::current()) {
    instructions()->invlpg(address, where);
  }

  static void invpcid(InvpcidType type, std::uint64_t pcid, VirtAddr address,
                      Site where = Site::current()) {
    instructions()->invpcid(type, pcid, address, where);
  }
  static void write_cr4(std::uint64_t value, Site where = Site::current()) {
    instructions()->write_cr4(value, where);
  }
  static std::uint64_t read_cr4() { return current_machine->running().cr4; }
  static void invlpgb(const Invlpgb& what, Site where = Site::current()) {
    broadcasts()->invlpgb(what, where);
  }
  static void tlbsync(Site where = Site::current()) { broadcasts()->tlbsync(where); }

  static void order_stores_before_ipi(Site where = Site::current()) {
    instructions()->full_fence_and_wait(where);
  }
  static void send_call_function_ipi(const HostCpuMask& targets, Site where = Site::current()) {
    interrupts()->send_call_function(targets, where);
  }

  static constexpr bool kTakesBackends = true;

  /// How much lists hold: fixed for a run.
  static inline Capacities sizes = kCapacities;
  static const Capacities& capacities() { return sizes; }
  static void set_capacities(const Capacities& most) { sizes = most; }

  static HostAtomic<std::uint8_t>& vcpu_state(CpuId cpu) { return host()->vcpu_state(cpu); }
  static std::uint32_t hyperv_processor(CpuId cpu) { return host()->hyperv_processor(cpu); }
  static HypervPage& hyperv_input() { return host()->hyperv_input(this_cpu()); }
  static bool hyperv_takes_sparse_sets() { return true; }
  static std::uint64_t hyperv_call(std::uint64_t control, Site where = Site::current()) {
    return host()->hyperv_call(control, where);
  }
  static int xen_operation(const XenOperation& operation, Site where = Site::current()) {
    return host()->xen_operation(operation, where);
  }
  static HostCpuMask bau_send(const BauMessage& message, const HostCpuMask& targets,
                              Site where = Site::current()) {
    return host()->bau_send(message, targets, where);
  }
  static bool bau_outstanding(Site where = Site::current()) {
    return host()->bau_outstanding(where);
  }
  static bool bau_receive(BauMessage& message, Site where = Site::current()) {
    return host()->bau_receive(message, where);
  }
  static void bau_acknowledge(const BauMessage& message, Site where = Site::current()) {
    host()->bau_acknowledge(message, where);
  }
  static void bau_open() { host()->bau_open(this_cpu()); }
  static void bau_close(Site where = Site::current()) { host()->bau_close(where); }

  static void pause(Site where = Site::current()) { instructions()->pause(where); }
  static std::uint64_t ticks() { return current_machine->step(); }
  static void trace(const TraceEvent& event) { machine()->trace(event); }
  /// Sends the interrupt again if it got lost. A CPU that waits for ever otherwise is reported as a
  /// deadlock.
  static void report_unanswered(const Unanswered& report) {
    if (current_machine->recorder().has_timeline()) {
      recorder()->line("no answer from CPU " + std::to_string(report.target), {});
    }
    interrupts()->send_again(report.target);
  }
  [[noreturn]] static void fail(const Failure& failure) { machine()->fail(failure); }

 private:
  static ModelCall<Machine> machine() { return {current_machine}; }
  static ModelCall<Scheduler> scheduler() { return {&current_machine->scheduler()}; }
  static ModelCall<Instructions> instructions() { return {&current_machine->instructions()}; }
  static ModelCall<Broadcasts> broadcasts() { return {&current_machine->broadcasts()}; }
  static ModelCall<Interrupts> interrupts() { return {&current_machine->interrupts()}; }
  static ModelCall<Recorder> recorder() { return {&current_machine->recorder()}; }
  static ModelCall<Hypervisor> host() { return {&current_machine->hypervisor()}; }
};

static_assert(Hal<HostHal> && HalBroadcast<HostHal> && HalParavirt<HostHal> &&
              HalCapacities<HostHal>);
static_assert(HalKvm<HostHal> && HalHyperv<HostHal> && HalXen<HostHal> && HalUvBau<HostHal>);

}  // namespace shootdown::host
