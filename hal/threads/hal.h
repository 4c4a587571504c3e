// The HAL on threads: what the core is instantiated over when its CPUs shall really run at once.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "core/hal.h"
#include "hal/threads/processors.h"

namespace shootdown::threads {

/// A shared word: `std::atomic` with the orders that the core names. The compiler and the processor
/// do with them what they may. An interrupt may be taken before each access.
template <class T>
class ThreadAtomic {
 public:
  constexpr ThreadAtomic() = default;
  // Implicit, so that members can be initialised with a plain value as on every other HAL.
  constexpr ThreadAtomic(T value) : value_(value) {}  // NOLINT(google-explicit-constructor)
  ThreadAtomic(const ThreadAtomic&) = delete;
  ThreadAtomic& operator=(const ThreadAtomic&) = delete;

  T load(std::memory_order order) const {
    interrupt_point();
    return value_.load(order);
  }
  /// The owner's own last value; no other CPU writes the word.
  [[nodiscard]] T owner_load() const { return value_.load(std::memory_order_relaxed); }
  void store(T value, std::memory_order order) {
    interrupt_point();
    value_.store(value, order);
  }
  T exchange(T value, std::memory_order order) {
    interrupt_point();
    return value_.exchange(value, order);
  }
  T fetch_add(T value, std::memory_order order) {
    interrupt_point();
    return value_.fetch_add(value, order);
  }
  T fetch_or(T value, std::memory_order order) {
    interrupt_point();
    return value_.fetch_or(value, order);
  }
  T fetch_and(T value, std::memory_order order) {
    interrupt_point();
    return value_.fetch_and(value, order);
  }
  /// Strong. On failure `expected` becomes the value found.
  bool compare_exchange(T& expected, T desired, std::memory_order order) {
    interrupt_point();
    return value_.compare_exchange_strong(expected, desired, order);
  }

 private:
  static void interrupt_point() {
    Cpu* self = this_thread;
    if (self == nullptr) return;
    if (processors->yields()) [[unlikely]] {
      processors->give_way_sometimes(*self);
    }
    // Relaxed, and only a hint: the exchange that takes the interrupt decides.
    const bool pending = self->call_pending.load(std::memory_order_relaxed);
    if (pending && self->interrupts_enabled) [[unlikely]] {
      processors->take_interrupts(*self);
    }
  }

  std::atomic<T> value_{};
};

/// Static members act on the CPU that the calling thread is.
struct ThreadHal {
  static constexpr CpuId kMaxCpus = kThreadCpus;

  template <class T>
  using Atomic = ThreadAtomic<T>;

  static void full_fence() { std::atomic_thread_fence(std::memory_order_seq_cst); }
  static CpuId this_cpu() { return this_thread->id; }
  static void disable_preemption() { ++this_thread->preemption_off; }
  static void enable_preemption() { --this_thread->preemption_off; }

  static bool interrupts_enabled() { return this_thread->interrupts_enabled; }
  static void disable_interrupts() { this_thread->interrupts_enabled = false; }
  static void enable_interrupts() {
    this_thread->interrupts_enabled = true;
    processors->take_interrupts(*this_thread);
  }
  static bool in_interrupt() { return this_thread->in_interrupt; }

  static void write_cr3(std::uint64_t value);
  static std::uint64_t read_cr3() { return this_thread->cr3; }
  static void invlpg(VirtAddr address);
  static void invpcid(InvpcidType type, std::uint64_t pcid, VirtAddr address);
  static void write_cr4(std::uint64_t value);
  static std::uint64_t read_cr4() { return this_thread->cr4; }

  static void order_stores_before_ipi() { full_fence(); }
  static void send_call_function_ipi(const CpuMask<kMaxCpus>& targets) {
    processors->send(targets);
  }

  /// The plan, as the core tells it. Written before the threads start.
  static inline std::array<bool, kQuestions> keys{};
  template <Question kQuestion>
  static bool key() {
    return keys[static_cast<std::size_t>(kQuestion)];
  }
  static void set_key(Question question, bool on) { keys[static_cast<std::size_t>(question)] = on; }

  static void pause() {
    if (!this_thread->interrupts_enabled) {
      fail({.rule = Rule::r12, .what = "a CPU waits with interrupts off", .where = {}});
    }
    processors->take_interrupts(*this_thread);
    Processors::pause(*this_thread);
  }
  static std::uint64_t ticks() { return __builtin_ia32_rdtsc(); }
  static void trace(const TraceEvent& /*event*/) {}
  static void report_unanswered(const Unanswered& report) {
    std::fprintf(stderr, "CPU %u waits for CPU %u: %s\n", report.sender, report.target,
                 report.subject.what);
  }
  [[noreturn]] static void fail(const Failure& failure) {
    std::fprintf(stderr, "check failed, R%u: %s (%s:%u)\n", static_cast<unsigned>(failure.rule),
                 failure.what, failure.where.file_name(), failure.where.line());
    std::abort();
  }

  /// The PCID under which this CPU uses translations now.
  static std::uint16_t current_pcid() {
    const bool pcid = (this_thread->cr4 & kCr4Pcid) != 0;
    return pcid ? static_cast<std::uint16_t>(this_thread->cr3 & 0xfff) : std::uint16_t{0};
  }

  /// What `address` leads to on this CPU: what its TLB says, else what `walk()` finds, which is
  /// then cached unless it is 0. Like the instruction that it stands for it takes no interrupt.
  template <class Walk>
  static std::uint64_t translate(VirtAddr address, Walk&& walk) {
    Tlb& tlb = this_thread->tlb;
    const std::uint16_t pcid = current_pcid();
    if (const auto cached = tlb.find(address, pcid)) return *cached;
    const std::uint64_t target = walk();
    if (target != 0) {
      tlb.insert({.page = address >> kPageShift, .target = target, .pcid = pcid, .global = false});
    }
    return target;
  }
};

static_assert(Hal<ThreadHal> && HalStaticKeys<ThreadHal>);

}  // namespace shootdown::threads
