// What the core asks of the machine it runs on.
//
// A HAL is a type with static members. The core is a template over it, so several HALs live in one
// binary and a port that misses something is told which concept it does not satisfy. Each concept
// is one page of the contract; `Hal` joins them.
#pragma once

#include <atomic>
#include <concepts>
#include <cstdint>

#include "core/cpu_mask.h"
#include "core/trace.h"
#include "core/types.h"

namespace shootdown {

/// Atomic words and barriers. Everything that two CPUs share goes through `Atomic<T>`.
///
/// Orders mean what the C++ memory model says. In addition a read-modify-write is a full barrier,
/// as every locked instruction is on x86 (SDM vol. 3, 9.2.3.9); the core relies on that for R1, R2
/// and where a CPU comes online. `full_fence` orders every earlier access before every later one,
/// page walks included. `owner_load` is
/// for a word whose answer no other CPU changes at the time: by the only writer, or when its
/// writers are known to be done with it. It may be a plain load, which a compiler reorders with
/// others: where interrupts are on and the order of two counts, a fence stands between. Other CPUs'
/// words are read so by checks for misuse as well, where any answer but the one is as good as
/// another; on x86-64 a load of an aligned word is whole, also where C++ calls it a race.
template <class H>
concept HalAtomics =
    requires(typename H::template Atomic<std::uint64_t>& word,
             const typename H::template Atomic<std::uint64_t>& constant, std::uint64_t& expected) {
      { constant.load(std::memory_order_relaxed) } -> std::same_as<std::uint64_t>;
      { constant.owner_load() } -> std::same_as<std::uint64_t>;
      { word.store(std::uint64_t{}, std::memory_order_relaxed) };
      { word.fetch_add(std::uint64_t{}, std::memory_order_seq_cst) } -> std::same_as<std::uint64_t>;
      { word.fetch_or(std::uint64_t{}, std::memory_order_seq_cst) } -> std::same_as<std::uint64_t>;
      { word.fetch_and(std::uint64_t{}, std::memory_order_seq_cst) } -> std::same_as<std::uint64_t>;
      { word.exchange(std::uint64_t{}, std::memory_order_seq_cst) } -> std::same_as<std::uint64_t>;
      {
        word.compare_exchange(expected, std::uint64_t{}, std::memory_order_seq_cst)
      } -> std::same_as<bool>;
      { H::full_fence() };
    };

/// The number of this CPU. `this_cpu()` is stable while preemption or interrupts are off, and below
/// `kMaxCpus`, which bring-up checks, and flushes where there is no pointer for each CPU.
template <class H>
concept HalPerCpu = requires {
  { H::kMaxCpus } -> std::convertible_to<CpuId>;
  { H::this_cpu() } -> std::same_as<CpuId>;
  { H::disable_preemption() };
  { H::enable_preemption() };
};

namespace internal {

template <class H, class T>
struct OwnField {
  using Type = T;
};
template <class H, class T>
  requires requires { typename H::template Own<T>; }
struct OwnField<H, T> {
  using Type = typename H::template Own<T>;
};

}  // namespace internal

/// A plain field that code of one CPU uses and no other: a `T`, unless the HAL has a class of its
/// own for these, in whose place an interrupt can come. A T converts to that class and back.
template <class H, class T>
using Own = typename internal::OwnField<H, T>::Type;

/// Maskable interrupts of this CPU. `in_interrupt()` is true in handlers of interrupts and NMIs.
template <class H>
concept HalInterrupts = requires {
  { H::interrupts_enabled() } -> std::same_as<bool>;
  { H::disable_interrupts() };
  { H::enable_interrupts() };
  { H::in_interrupt() } -> std::same_as<bool>;
};

/// INVPCID's types (SDM vol. 3, 4.10.4.1).
enum class InvpcidType : std::uint8_t {
  address = 0,       // one address in one PCID, not global entries
  context = 1,       // one PCID, not global entries
  everything = 2,    // all PCIDs and global entries
  all_contexts = 3,  // all PCIDs, not global entries
};

/// CR4 bits that the core cares about.
inline constexpr std::uint64_t kCr4GlobalPages = std::uint64_t{1} << 7;
inline constexpr std::uint64_t kCr4Pcid = std::uint64_t{1} << 17;

/// The instructions that change which translations this CPU may use (SDM vol. 3, 4.10.4).
/// `write_cr3` takes the whole register: root, PCID in bits 11:0, bit 63 = keep this PCID's
/// entries. `invlpg` covers the current PCID, global entries, and the paging-structure caches of
/// the PCID. `invpcid` faults on a non-canonical address, and on a PCID other than 0 while
/// CR4.PCIDE is off. `write_cr4` drops every entry of every PCID if it changes CR4.PGE.
template <class H>
concept HalTlb = requires(std::uint64_t value, VirtAddr address, InvpcidType type) {
  { H::write_cr3(value) };
  { H::read_cr3() } -> std::same_as<std::uint64_t>;
  { H::invlpg(address) };
  { H::invpcid(type, value, address) };
  { H::write_cr4(value) };
  { H::read_cr4() } -> std::same_as<std::uint64_t>;
};

/// What one INVLPGB names (AMD64 manual vol. 3, INVLPGB).
enum class InvlpgbScope : std::uint8_t {
  pages,         // pages of one PCID, not global entries
  kernel_pages,  // pages of every PCID, global entries too
  context,       // one PCID, not global entries
  all_contexts,  // all PCIDs, not global entries
  everything,    // all PCIDs and global entries
};

/// One INVLPGB. The pages are `count` addresses from `address` on, each one stride after the other;
/// an entry goes if it translates one of them, and so do cached pointers to the tables on its way.
struct Invlpgb {
  InvlpgbScope scope{InvlpgbScope::all_contexts};
  std::uint8_t stride_shift{kPageShift};  // kPageShift or kLargePageShift
  std::uint32_t count{1};                 // at least 1, at most what the processor offers
  std::uint64_t pcid{0};
  VirtAddr address{0};
};

/// Hardware broadcast, where there is any: a HAL may leave this out. `invlpgb` invalidates on every
/// CPU, this one included, at some later time and without an interrupt. `tlbsync` returns when all
/// that THIS CPU has issued is done everywhere, so the thread must not migrate in between. Earlier
/// stores are visible to walks behind the invalidation if a full barrier stands before `invlpgb`.
template <class H>
concept HalBroadcast = requires(const Invlpgb& what) {
  { H::invlpgb(what) };
  { H::tlbsync() };
};

/// The call-function interrupt. Its handler must call `handle_call_function_interrupt` with
/// interrupts off. Interrupts that arrive while one is pending are merged.
/// `order_stores_before_ipi`: every earlier store is visible before a later ICR write takes effect,
/// also in x2APIC mode, where the write does not serialise (SDM vol. 3, 11.12.3; R11).
template <class H>
concept HalIpi = requires(const CpuMask<H::kMaxCpus>& targets) {
  { H::order_stores_before_ipi() };
  { H::send_call_function_ipi(targets) };
};

/// What a flush asks about the machine's plan, which boot has fixed (plan.h).
enum class Question : std::uint8_t {
  is_common,   // neither hardware broadcast nor a backend; user PCIDs, if any, go by INVPCID
  concurrent,  // the initiator flushes while the others do
  has_pcids,   // ASIDs keep their entries
  one_half,    // no ASID has a user PCID
};
inline constexpr std::uint8_t kQuestions = 4;

/// Static keys, where the HAL has them; it may leave this out, and the core reads the plan. A key
/// is the answer to one question, in the code that asks: a condition without a load. `set_key` is
/// called while no other CPU runs, and at last before a second one does.
template <class H>
concept HalStaticKeys = requires {
  { H::template key<Question::is_common>() } -> std::same_as<bool>;
  { H::set_key(Question{}, bool{}) };
};

/// A pointer for each CPU that the core sets, where the HAL has one; it may leave this out, and the
/// core finds its state by the number of the CPU. Null until it is set. As stable as `this_cpu()`.
template <class H>
concept HalCpuPointer = requires(void* pointer) {
  { H::cpu_pointer() } -> std::same_as<void*>;
  { H::set_cpu_pointer(pointer) };
};

/// Waiting and telling. `pause` is called in every iteration of a wait, with interrupts on. `ticks`
/// is a clock for people: it decides nothing. `trace` and `report_unanswered` may do nothing and
/// must not call the core. `fail` does not return.
template <class H>
concept HalDiagnostics =
    requires(const TraceEvent& event, const Failure& failure, const Unanswered& unanswered) {
      { H::pause() };
      { H::ticks() } -> std::same_as<std::uint64_t>;
      { H::trace(event) };
      { H::report_unanswered(unanswered) };
      { H::fail(failure) };
    };

template <class H>
concept Hal = HalAtomics<H> && HalPerCpu<H> && HalInterrupts<H> && HalTlb<H> && HalIpi<H> &&
              HalDiagnostics<H>;

/// Keeps maskable interrupts off for a scope and restores what was before. The destructor opens the
/// window in which queued interrupts arrive.
template <HalInterrupts H>
class InterruptsOff {
 public:
  InterruptsOff() : were_enabled_(H::interrupts_enabled()) {
    if (were_enabled_) H::disable_interrupts();
  }
  ~InterruptsOff() {
    if (were_enabled_) H::enable_interrupts();
  }
  InterruptsOff(const InterruptsOff&) = delete;
  InterruptsOff& operator=(const InterruptsOff&) = delete;

 private:
  bool were_enabled_;
};

/// The same for code that runs with interrupts on in any case: nothing is asked.
template <HalInterrupts H>
class InterruptsOffInThread {
 public:
  InterruptsOffInThread() { H::disable_interrupts(); }
  ~InterruptsOffInThread() { H::enable_interrupts(); }
  InterruptsOffInThread(const InterruptsOffInThread&) = delete;
  InterruptsOffInThread& operator=(const InterruptsOffInThread&) = delete;
};

/// Keeps the thread on its CPU for a scope; interrupts still arrive.
template <HalPerCpu H>
class PreemptionOff {
 public:
  PreemptionOff() { H::disable_preemption(); }
  ~PreemptionOff() { H::enable_preemption(); }
  PreemptionOff(const PreemptionOff&) = delete;
  PreemptionOff& operator=(const PreemptionOff&) = delete;
};

}  // namespace shootdown
