// The HAL in modelled time, for systems of up to `kCapacity` CPUs.
//
// Words have the size that they have on x86-64. An access to one is compiled into the caller, as an
// atomic one that is not joined with its neighbours, and is paid for as every other access there
// is; so this header is for instrumented code only.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "core/hal.h"
#include "hal/timed/machine.h"

namespace shootdown::timed {

template <class T>
class TimedAtomic {
 public:
  constexpr TimedAtomic() = default;
  // Implicit, so that members can be initialised with a plain value as on every other HAL.
  constexpr TimedAtomic(T value) : value_(value) {}  // NOLINT(google-explicit-constructor)
  TimedAtomic(const TimedAtomic&) = delete;
  TimedAtomic& operator=(const TimedAtomic&) = delete;

  T load(std::memory_order /*order*/) const { return owner_load(); }
  [[nodiscard]] T owner_load() const { return value_.load(std::memory_order_relaxed); }
  void store(T value, std::memory_order order) {
    if (order == std::memory_order_seq_cst) {
      modify([&](T) { return value; });
    } else {
      value_.store(value, std::memory_order_relaxed);
    }
  }
  T exchange(T value, std::memory_order /*order*/) {
    return modify([&](T) { return value; });
  }
  T fetch_add(T value, std::memory_order /*order*/) {
    return modify([&](T old) { return static_cast<T>(old + value); });
  }
  T fetch_or(T value, std::memory_order /*order*/) {
    return modify([&](T old) { return static_cast<T>(old | value); });
  }
  T fetch_and(T value, std::memory_order /*order*/) {
    return modify([&](T old) { return static_cast<T>(old & value); });
  }
  bool compare_exchange(T& expected, T desired, std::memory_order /*order*/) {
    const T wanted = expected;
    expected = modify([&](T old) { return old == wanted ? desired : old; });
    return expected == wanted;
  }

 private:
  template <class Change>
  T modify(Change&& change) {
    machine().begin_locked(static_cast<const void*>(&value_));
    const T old = owner_load();
    value_.store(change(old), std::memory_order_relaxed);
    machine().end_locked();
    return old;
  }

  std::atomic<T> value_{};
};

template <CpuId kCapacity>
struct TimedHal {
  static constexpr CpuId kMaxCpus = kCapacity;
  template <class T>
  using Atomic = TimedAtomic<T>;

  static void full_fence() { machine().instruct(Cause::fence); }
  static CpuId this_cpu() { return machine().this_cpu(); }
  static void disable_preemption() {}
  static void enable_preemption() {}

  static bool interrupts_enabled() { return machine().interrupts_enabled(); }
  static void disable_interrupts() { machine().disable_interrupts(); }
  static void enable_interrupts() { machine().enable_interrupts(); }
  static bool in_interrupt() { return machine().in_interrupt(); }

  static void write_cr3(std::uint64_t value) {
    machine().registers().cr3 = value;
    machine().instruct(Cause::cr3);
  }
  static std::uint64_t read_cr3() { return machine().registers().cr3; }
  static void invlpg(VirtAddr /*address*/) { machine().instruct(Cause::invlpg); }
  static void invpcid(InvpcidType /*type*/, std::uint64_t /*pcid*/, VirtAddr /*address*/) {
    machine().instruct(Cause::invpcid);
  }
  static void write_cr4(std::uint64_t value) {
    machine().registers().cr4 = value;
    machine().instruct(Cause::cr4);
  }
  static std::uint64_t read_cr4() { return machine().registers().cr4; }
  static void invlpgb(const Invlpgb& /*what*/) { machine().broadcast_invalidation(); }
  static void tlbsync() { machine().await_broadcasts(); }

  static void order_stores_before_ipi() { machine().instruct(Cause::fence); }
  static void send_call_function_ipi(const CpuMask<kMaxCpus>& targets) {
    targets.for_each([](CpuId target) { machine().add_target(target); });
    machine().send_interrupts();
  }

  static void pause() { machine().pause(); }
  static std::uint64_t ticks() {
    machine().instruct(Cause::clock);
    return machine().now();
  }
  static void trace(const TraceEvent& /*event*/) {}
  static void report_unanswered(const Unanswered& report) {
    machine().fail("has no answer of CPU " + std::to_string(report.target));
  }
  [[noreturn]] static void fail(const Failure& failure) { machine().fail(failure.what); }
};

static_assert(Hal<TimedHal<2>> && HalBroadcast<TimedHal<2>>);
static_assert(sizeof(TimedAtomic<std::uint64_t>) == sizeof(std::uint64_t));
static_assert(sizeof(TimedAtomic<bool>) == sizeof(bool));

}  // namespace shootdown::timed
