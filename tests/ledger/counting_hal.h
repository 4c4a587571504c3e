// The HAL that the ledger instantiates the core over: the modelled machine, and beside it a count
// of what each CPU executes.
//
// Words have the size that they have on x86-64, so that what shares a cache line there shares it
// here. Only stores that are visible at once are modelled. The access to a word is compiled into
// the caller, where the directory sees it as it sees every other access. This header knows nothing
// of hal/host, whose own accesses are no part of any count.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "core/hal.h"
#include "hal/host/cpus.h"

namespace shootdown::ledger {

inline constexpr CpuId kCpus = host::kHostCpus;

/// What one CPU has executed while counting was on.
struct Executed {
  std::uint64_t locked;  // read-modify-writes, and stores that are sequentially consistent
  std::uint64_t fences;  // MFENCE, and MFENCE with LFENCE before an interrupt is sent
  std::uint64_t invlpg;
  std::uint64_t invpcid;
  std::uint64_t cr3;  // loads of CR3, those that keep entries among them
  std::uint64_t cr3_kept;
  std::uint64_t cr4;
  std::uint64_t invlpgb;
  std::uint64_t tlbsync;
  std::uint64_t whole;     // contexts that the flush function invalidated as a whole
  std::uint64_t needless;  // interrupts after which the flush function had nothing to do
};

/// A choice point of the machine, and behind a change the news of it.
void before_access();
void after_change();
/// A locked instruction: it needs the line of its word as a store does, before it reads.
void count_locked(const void* word);

template <class T>
class CountingAtomic {
 public:
  constexpr CountingAtomic() = default;
  // Implicit, so that members can be initialised with a plain value as on every other HAL.
  constexpr CountingAtomic(T value) : value_(value) {}  // NOLINT(google-explicit-constructor)
  CountingAtomic(const CountingAtomic&) = delete;
  CountingAtomic& operator=(const CountingAtomic&) = delete;

  T load(std::memory_order /*order*/) const {
    before_access();
    return value_;
  }
  [[nodiscard]] T owner_load() const { return value_; }
  void store(T value, std::memory_order order) {
    before_access();
    if (order == std::memory_order_seq_cst) count_locked(static_cast<const void*>(&value_));
    value_ = value;
    after_change();
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
    before_access();
    count_locked(static_cast<const void*>(&value_));
    const T old = value_;
    value_ = change(old);
    after_change();
    return old;
  }

  T value_{};
};

struct CountingHal {
  static constexpr CpuId kMaxCpus = kCpus;
  template <class T>
  using Atomic = CountingAtomic<T>;

  static void full_fence();
  static CpuId this_cpu();
  static void disable_preemption() {}
  static void enable_preemption() {}

  static bool interrupts_enabled();
  static void disable_interrupts();
  static void enable_interrupts();
  static bool in_interrupt();

  static void write_cr3(std::uint64_t value);
  static std::uint64_t read_cr3();
  static void invlpg(VirtAddr address);
  static void invpcid(InvpcidType type, std::uint64_t pcid, VirtAddr address);
  static void write_cr4(std::uint64_t value);
  static std::uint64_t read_cr4();
  static void invlpgb(const Invlpgb& what);
  static void tlbsync();

  static void order_stores_before_ipi();
  static void send_call_function_ipi(const CpuMask<kMaxCpus>& targets);

  static void pause();
  static std::uint64_t ticks();
  static void trace(const TraceEvent& event);
  static void report_unanswered(const Unanswered& report);
  [[noreturn]] static void fail(const Failure& failure);
};

static_assert(Hal<CountingHal> && HalBroadcast<CountingHal>);
static_assert(sizeof(CountingAtomic<std::uint64_t>) == sizeof(std::uint64_t));
static_assert(sizeof(CountingAtomic<bool>) == sizeof(bool));

}  // namespace shootdown::ledger
