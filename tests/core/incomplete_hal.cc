// A port to a new machine, with one operation missing behind each macro WITHOUT_: the error must
// name the concept that is not satisfied. Or with the operations of a backend whose header is not
// included, behind each macro WITH_: the error must name the header.

#include "core/shootdown.h"

namespace shootdown::test {

template <class T>
struct PortAtomic {
  PortAtomic() = default;
  PortAtomic(T value);
  T load(std::memory_order) const;
  T owner_load() const;
  void store(T, std::memory_order);
  T fetch_add(T, std::memory_order);
  T fetch_or(T, std::memory_order);
#ifndef WITHOUT_FETCH_AND
  T fetch_and(T, std::memory_order);
#endif
  T exchange(T, std::memory_order);
  bool compare_exchange(T&, T, std::memory_order);
};

struct Port {
  template <class T>
  using Atomic = PortAtomic<T>;
  static void full_fence();

  static constexpr CpuId kMaxCpus = 4;
#ifndef WITHOUT_THIS_CPU
  static CpuId this_cpu();
#endif
  static void disable_preemption();
  static void enable_preemption();

  static bool interrupts_enabled();
  static void disable_interrupts();
  static void enable_interrupts();
#ifndef WITHOUT_IN_INTERRUPT
  static bool in_interrupt();
#endif

  static void write_cr3(std::uint64_t);
  static std::uint64_t read_cr3();
#ifndef WITHOUT_INVLPG
  static void invlpg(VirtAddr);
#endif

  static void invpcid(InvpcidType, std::uint64_t, VirtAddr);
  static void write_cr4(std::uint64_t);
  static std::uint64_t read_cr4();

#ifndef WITHOUT_ORDER_STORES
  static void order_stores_before_ipi();
#endif
  static void send_call_function_ipi(const CpuMask<kMaxCpus>&);

#ifndef WITHOUT_FAIL
  static void fail(const Failure&);
#endif
#ifdef WITH_INVLPGB
  static void invlpgb(const Invlpgb&);
  static void tlbsync();
#endif
#ifdef WITH_HALF_A_BAU
  static bool bau_outstanding();
#endif
#ifdef WITH_BAU
  static void bau_open();
#endif
  static void pause();
  static std::uint64_t ticks();
  static void trace(const TraceEvent&);
  static void report_unanswered(const Unanswered&);
};

void use(System<Port>& system);

void use(System<Port>& system) {
  static_cast<void>(sum_counters(system));
  initialize_cpu(system);
}

}  // namespace shootdown::test
