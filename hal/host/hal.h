// The HAL on the modelled machine: what the core and the simulated kernel are instantiated over.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <type_traits>

#include "core/hal.h"
#include "hal/host/machine.h"

namespace shootdown::host {

/// A shared word. Every access is a visible operation and carries its memory order; in the
/// sequentially consistent mode, the only one so far, the order does not change what happens.
template <class T>
class HostAtomic {
 public:
  constexpr HostAtomic() = default;
  // Implicit, so that members can be initialised with a plain value as on every other HAL.
  constexpr HostAtomic(T value) : value_(value) {}  // NOLINT(google-explicit-constructor)
  HostAtomic(const HostAtomic&) = delete;
  HostAtomic& operator=(const HostAtomic&) = delete;

  T load(std::memory_order order, Site where = Site::current()) const {
    before(order);
    read("load", where);
    return value_;
  }

  /// Not a visible operation: the owner knows what it wrote last.
  [[nodiscard]] T owner_load() const { return value_; }

  void store(T value, std::memory_order order, Site where = Site::current()) {
    before(order);
    value_ = value;
    wrote(OpClass::store, "store", where);
  }

  T exchange(T value, std::memory_order order, Site where = Site::current()) {
    return modify(order, where, [&](T) { return value; });
  }
  T fetch_add(T value, std::memory_order order, Site where = Site::current()) {
    return modify(order, where, [&](T old) { return static_cast<T>(old + value); });
  }
  T fetch_or(T value, std::memory_order order, Site where = Site::current()) {
    return modify(order, where, [&](T old) { return static_cast<T>(old | value); });
  }
  T fetch_and(T value, std::memory_order order, Site where = Site::current()) {
    return modify(order, where, [&](T old) { return static_cast<T>(old & value); });
  }

  /// Strong. On failure `expected` becomes the value found.
  bool compare_exchange(T& expected, T desired, std::memory_order order,
                        Site where = Site::current()) {
    before(order);
    const bool same = value_ == expected;
    expected = value_;
    if (same) value_ = desired;
    wrote(OpClass::modify, same ? "compare-exchange" : "compare-exchange fails", where);
    return same;
  }

  /// For oracles and set-up: not a visible operation.
  [[nodiscard]] T peek() const { return value_; }
  void poke(T value) { value_ = value; }

 private:
  template <class Change>
  T modify(std::memory_order order, Site where, Change&& change) {
    before(order);
    const T old = value_;
    value_ = change(old);
    read_by(where);
    wrote(OpClass::modify, "modify", where);
    return old;
  }

  static void before(std::memory_order /*order*/) { current_machine->visible(); }

  [[nodiscard]] std::uint64_t bits() const {
    if constexpr (std::is_pointer_v<T>) {
      return value_ != nullptr;  // Addresses differ from run to run; hashes must not.
    } else {
      return static_cast<std::uint64_t>(value_);
    }
  }

  static std::uint32_t site_id(Site where) { return (where.line() * 61) + where.column(); }

  /// Feedback: this CPU reads at one place what another CPU wrote at another.
  void read_by(Site where) const {
    Machine& machine = *current_machine;
    const CpuId cpu = machine.running().id;
    if (writer_cpu_ != cpu && writer_cpu_ != kNobody) {
      machine.features().hit(((writer_site_ * 0x9e37U) ^ site_id(where)) * 0x85ebca6bU >> 7);
    }
  }

  void read(const char* verb, Site where) const {
    Machine& machine = *current_machine;
    read_by(where);
    machine.note(OpClass::load, bits());
    if (machine.recording()) [[unlikely]] {
      machine.record_access(verb, this, bits(), where);
    }
  }

  void wrote(OpClass op, const char* verb, Site where) {
    Machine& machine = *current_machine;
    writer_cpu_ = static_cast<std::uint8_t>(machine.running().id);
    writer_site_ = site_id(where);
    machine.note(op, bits());
    if (machine.recording()) [[unlikely]] {
      machine.record_access(verb, this, bits(), where);
    }
    machine.changed();
  }

  static constexpr std::uint8_t kNobody = 255;

  T value_{};
  std::uint32_t writer_site_{0};
  std::uint8_t writer_cpu_{kNobody};
};

/// The modelled machine as the core sees it. Static members act on `current_machine`.
struct HostHal {
  static constexpr CpuId kMaxCpus = kHostCpus;

  template <class T>
  using Atomic = HostAtomic<T>;

  static void full_fence(Site where = Site::current()) { current_machine->full_fence(where); }
  static CpuId this_cpu() { return current_machine->running().id; }
  static void disable_preemption() { ++current_machine->running().preemption_off; }
  static void enable_preemption() { --current_machine->running().preemption_off; }

  static bool interrupts_enabled() { return current_machine->running().interrupts_enabled; }
  static void disable_interrupts(Site where = Site::current()) {
    current_machine->set_interrupts(false, where);
  }
  static void enable_interrupts(Site where = Site::current()) {
    current_machine->set_interrupts(true, where);
  }
  static bool in_interrupt() { return current_machine->running().in_interrupt; }

  static void write_cr3(std::uint64_t value, Site where = Site::current()) {
    current_machine->write_cr3(value, where);
  }
  static std::uint64_t read_cr3() { return current_machine->running().cr3; }
  static void invlpg(VirtAddr address, Site where = Site::current()) {
    current_machine->invlpg(address, where);
  }

  static void invpcid(InvpcidType type, std::uint64_t pcid, VirtAddr address,
                      Site where = Site::current()) {
    current_machine->invpcid(type, pcid, address, where);
  }
  static void write_cr4(std::uint64_t value, Site where = Site::current()) {
    current_machine->write_cr4(value, where);
  }
  static std::uint64_t read_cr4() { return current_machine->running().cr4; }
  static void invlpgb(const Invlpgb& what, Site where = Site::current()) {
    current_machine->invlpgb(what, where);
  }
  static void tlbsync(Site where = Site::current()) { current_machine->tlbsync(where); }

  static void order_stores_before_ipi(Site where = Site::current()) {
    current_machine->full_fence(where);
  }
  static void send_call_function_ipi(const HostCpuMask& targets, Site where = Site::current()) {
    current_machine->send_call_function_ipi(targets, where);
  }

  /// The static key: a plain flag here, fixed for a run.
  static inline bool concurrent_flush = true;
  static bool concurrent_flush_enabled() { return concurrent_flush; }

  static void pause(Site where = Site::current()) { current_machine->pause(where); }
  static std::uint64_t ticks() { return current_machine->step(); }
  static void trace(const TraceEvent& event) { current_machine->trace(event); }
  /// For timelines. Who waits for ever is reported as a deadlock anyway.
  static void report_unanswered(const Unanswered& report) {
    if (!current_machine->recording()) return;
    current_machine->record("no answer from CPU " + std::to_string(report.target), {});
  }
  [[noreturn]] static void fail(const Failure& failure) { current_machine->fail(failure); }
};

static_assert(Hal<HostHal> && HalBroadcast<HostHal>);

}  // namespace shootdown::host
