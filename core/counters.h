// What each CPU counts about its flushes. The meanings are those of the Linux vm events, so that
// figures can be compared.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

namespace shootdown {

/// A number that one CPU raises and any CPU may read. No correctness depends on it, so it is not a
/// word of the HAL: the model need not explore it, and the increment has no locked prefix. Relaxed:
/// a reader gets some value from not long ago, never half of one.
class Counter {
 public:
  constexpr Counter() = default;
  Counter(const Counter& other) : value_(other) {}
  Counter& operator=(const Counter& other) {
    set(other);
    return *this;
  }
  ~Counter() = default;

  // Implicit, so that a counter reads like the number that it is.
  operator std::uint64_t() const {  // NOLINT(google-explicit-constructor)
    return value_.load(std::memory_order_relaxed);
  }
  /// For the owning CPU only.
  Counter& operator++() { return *this += 1; }
  Counter& operator+=(std::uint64_t amount) {
    set(*this + amount);
    return *this;
  }
  void raise_to(std::uint64_t value) {
    if (value > *this) set(value);
  }

 private:
  void set(std::uint64_t value) { value_.store(value, std::memory_order_relaxed); }

  std::atomic<std::uint64_t> value_{0};
};

/// Per-CPU event counts, raised by their CPU only.
///
/// Two relations that one might expect do not hold. A flush that was counted as sent may reach
/// no CPU, because every target turned out to be lazy: compare with `targets_queued`. And a target
/// counts what it received before it looks whether it runs the mm at all.
struct Counters {
  Counter remote_flush_sent;      // multi-CPU flushes started here
  Counter remote_flush_received;  // flush functions run here for another CPU
  Counter local_flush_all;        // whole-context flushes executed here
  Counter local_flush_one;        // single-page invalidations executed here
  Counter targets_queued;         // CPUs that this CPU asked to flush
  Counter lazy_left_by_flush;     // times a flush found this CPU lazy and sent it home
  Counter wrong_cpu;              // flush functions that found another address space
  Counter user_pcid_deferred;     // partial flushes whose user half was left to the return
  Counter vcpus_skipped;          // preempted targets whose flush was left to the host
  Counter remote_hypercalls;      // flushes of other CPUs asked of a hypervisor or hub
  Counter native_fallbacks;       // ... or not even asked of it, so that interrupts had to do
  Counter broadcasts;             // INVLPGB instructions executed here
  Counter answer_ticks;           // ticks spent until all targets had answered
  Counter answer_ticks_longest;   // ... and the longest such wait
  Counter unanswered;             // reports of targets that did not answer for long
};

/// A field of `Counters` and what to call it.
struct CounterName {
  const char* name;
  Counter Counters::* field;
};

inline constexpr std::array kCounterNames{
    CounterName{"remote_flush_sent", &Counters::remote_flush_sent},
    CounterName{"remote_flush_received", &Counters::remote_flush_received},
    CounterName{"local_flush_all", &Counters::local_flush_all},
    CounterName{"local_flush_one", &Counters::local_flush_one},
    CounterName{"targets_queued", &Counters::targets_queued},
    CounterName{"lazy_left_by_flush", &Counters::lazy_left_by_flush},
    CounterName{"wrong_cpu", &Counters::wrong_cpu},
    CounterName{"user_pcid_deferred", &Counters::user_pcid_deferred},
    CounterName{"vcpus_skipped", &Counters::vcpus_skipped},
    CounterName{"remote_hypercalls", &Counters::remote_hypercalls},
    CounterName{"native_fallbacks", &Counters::native_fallbacks},
    CounterName{"broadcasts", &Counters::broadcasts},
    CounterName{"answer_ticks", &Counters::answer_ticks},
    CounterName{"answer_ticks_longest", &Counters::answer_ticks_longest},
    CounterName{"unanswered", &Counters::unanswered},
};

static_assert(sizeof(Counters) == kCounterNames.size() * sizeof(Counter),
              "each field of Counters has a name, or sums and reports miss it");

/// Adds `from` to `sum`; of the longest wait it keeps the longer.
inline void add_counters(Counters& sum, const Counters& from) {
  // A copy, or the list becomes a variable of the object, which g++ makes a unique symbol.
  constexpr std::array kNames = kCounterNames;
  for (const CounterName& counter : kNames) {
    if (counter.field == &Counters::answer_ticks_longest) {
      (sum.*counter.field).raise_to(from.*counter.field);
    } else {
      sum.*counter.field += from.*counter.field;
    }
  }
}

}  // namespace shootdown
