// What the core tells the outside about itself: reasons, trace events, reports, failures.
#pragma once

#include <cstdint>

#include "core/types.h"

namespace shootdown {

/// Why a flush happens. The caller of the flush sets it; handlers only report it.
enum class FlushReason : std::uint8_t {
  task_switch,         // a CPU loads another address space
  remote_shootdown,    // the handler runs on a CPU that did not start the flush
  local_shootdown,     // the initiator's own part of a range flush
  local_mm_shootdown,  // the initiator's own part of a flush of a whole address space
  remote_send,         // the initiator sends to other CPUs
  remote_wrong_cpu,    // the handler found another mm loaded
};

/// How one run of the flush function ended.
enum class HandlerOutcome : std::uint8_t {
  other_mm,       // the request names an address space that is not loaded here
  kernel_mm,      // the kernel's own address space is loaded: it has no user entries
  left_lazy,      // the CPU was lazy and moved to the kernel's address space
  already_fresh,  // the ASID already has the wanted generation
  joined_global,  // the CPU moved to the mm's global ASID
  partial,        // the pages of the request were invalidated one by one
  full,           // the whole context was invalidated
};

enum class TraceKind : std::uint8_t {
  flush_asked,    // a flush of `mm` is called for; `value` = first address, `value2` = end
  flush_begin,    // the generation is bumped and the request is filled; `value` = generation
  flush_send,     // targets are about to be queued; it may reach no CPU. `value` = pages, 0 = all
  flush_end,      // all targets have answered; `value` = ticks from first push to last answer
  kernel_begin,   // a flush of a kernel range starts; `value` = first address asked, `value2` = end
  kernel_end,     // ... and all targets have answered; `value` = ticks
  batch_add,      // an mm joins a reclaim batch
  batch_begin,    // a reclaim batch is about to be flushed
  batch_end,      // ... and all targets have answered; `value` = ticks
  handler_begin,  // the flush function starts on this CPU
  handler_end,    // ... and ends; `outcome`, `value` = generation before, `value2` = after
  switch_begin,   // switch_mm starts; `mm` = the next address space
  switch_end,     // switch_mm is done; `mm` = now loaded, `value` = 1 if the load flushed
  enter_lazy,     // the CPU keeps `mm` loaded but will not use its user half
  call_queued,    // a call is pending on a target; `value` = target CPU, `value2` = 1 if an IPI is
                  // needed
  call_run,       // the function of a call is about to run; `value` = sending CPU
  flush_broadcast,  // a flush goes by broadcast under the global ASID `value`
  asid_granted,     // `mm` is about to get the global ASID `value`
  asid_returned,    // ... and has given it back
  vcpu_skipped,     // the host flushes a target when it runs it again; `value` = target CPU
  flush_done,  // the caller of a flush that was submitted hears that all have answered; on any CPU.
               // `value` = its generation, `value2` = the CPU that it was submitted on
  walkers_begin,  // a wait for software walkers starts
};

/// One event. `mm` and `request` identify objects and must not be dereferenced after the call.
struct TraceEvent {
  TraceKind kind;
  FlushReason reason{FlushReason::task_switch};
  HandlerOutcome outcome{HandlerOutcome::other_mm};
  const void* mm{nullptr};
  const void* request{nullptr};
  std::uint64_t value{0};
  std::uint64_t value2{0};
};

/// What an SMP function call is about, in words and numbers for a person. `mm` is not to be
/// dereferenced.
struct CallSubject {
  const char* what{"a call"};
  const void* mm{nullptr};
  VirtAddr start{0};
  VirtAddr end{0};
};

/// A target that does not answer: the sender that waits for it, since when, and for what. Times are
/// the HAL's ticks. One wait makes few such reports, at doubling distances.
struct Unanswered {
  CpuId sender{kNoCpu};
  CpuId target{kNoCpu};
  std::uint64_t since{0};   // when the call was made
  std::uint64_t now{0};     // when this was noticed
  std::uint64_t pauses{0};  // how often the sender has looked for the answer
  CallSubject subject{};
  bool last{false};  // the sender goes on waiting, silently
};

/// The design's rules R1-R13. A failed check names the rule it guards.
enum class Rule : std::uint8_t { r1 = 1, r2, r3, r4, r5, r6, r7, r8, r9, r10, r11, r12, r13 };

/// A broken promise, either the caller's or the core's own.
struct Failure {
  Rule rule;
  const char* what;
  SourceLocation where;
};

namespace internal {

/// A function of its own that leaves all registers alone, so that a check on the common way costs
/// its comparison and no register that its report would need.
template <class H>
[[gnu::cold, gnu::noinline, clang::preserve_most]] void report_broken(Rule rule, const char* what,
                                                                      SourceLocation where) {
  H::fail(Failure{.rule = rule, .what = what, .where = where});
}

}  // namespace internal

/// Stops through the HAL unless `ok`. Always compiled in: a shootdown that goes on after a broken
/// invariant corrupts memory silently.
template <class H>
constexpr void require(bool ok, Rule rule, const char* what,
                       SourceLocation where = SourceLocation::current()) {
  if (!ok) [[unlikely]] {
    internal::report_broken<H>(rule, what, where);
    __builtin_unreachable();
  }
}

}  // namespace shootdown
