// Flushes that their caller does not wait for: it submits one, goes on, and asks later whether it
// is done. What it unmapped stays as it is until then: the token comes at the end, as from any
// other flush.
//
//   submit   bump | publish the request | push, interrupt | flush this CPU | return
//   is_done  of each CPU that was asked: has it answered?     any number of times, on any CPU
//   complete waits for what is left, and returns the token
//
// A CPU has one post (R10). It is in use until the last answer, which no code of its own notices:
// the next flush of this CPU that needs it waits for that answer first (`take_post_back`). So a CPU
// has one flush on its way, and one that submits faster than its targets answer waits for them.
#pragma once

#include <utility>

#include "core/broadcast_hooks.h"
#include "core/completion.h"
#include "core/cpu_mask.h"
#include "core/flush.h"
#include "core/flush_dispatch.h"
#include "core/hal.h"
#include "core/system.h"
#include "core/target_filter.h"
#include "core/trace.h"

namespace shootdown {

namespace internal {

/// What is left of a flush that was submitted.
template <Hal H>
struct Submitted {
  Generation generation{kNoGeneration};
  CpuId sender{0};
  CpuMask<H::kMaxCpus> waiting{};  // CPUs that are still to answer
};

}  // namespace internal

/// A flush on its way, whose end permits what `Token` says. Belongs to one thread, which may change
/// CPUs. One that is dropped is a flush all the same, but permits nothing.
template <Hal H, class Token>
class [[nodiscard]] PendingFlush {
 public:
  /// Of nothing, and so done. A place for one.
  PendingFlush() = default;
  PendingFlush(PendingFlush&& other) noexcept
      : mm_(other.mm_),
        context_(std::exchange(other.context_, ContextId{kNoContext})),
        left_(std::exchange(other.left_, {})) {}
  PendingFlush& operator=(PendingFlush&& other) noexcept {
    mm_ = other.mm_;
    context_ = std::exchange(other.context_, ContextId{kNoContext});
    left_ = std::exchange(other.left_, {});
    return *this;
  }
  ~PendingFlush() = default;
  /// One whose end permits more.
  template <class Stronger>
    requires(__is_base_of(Token, Stronger))
  PendingFlush(PendingFlush<H, Stronger>&& other) noexcept  // NOLINT(google-explicit-constructor)
      : mm_(other.mm_),
        context_(std::exchange(other.context_, ContextId{kNoContext})),
        left_(std::exchange(other.left_, {})) {}

  /// Whether `complete` has something to return.
  [[nodiscard]] bool is_of_an_mm() const { return context_ != kNoContext; }

  /// Whether every CPU that was asked has answered. Context: any.
  [[nodiscard]] bool is_done(System<H>& system) {
    if (left_.waiting.empty()) return true;
    // M8: each look is an acquire, against the release of the answer, also where the CPU that looks
    // is not the one that asked. Relaxed, the caller could release a page before its last use.
    system.calls.drop_answered(left_.sender, left_.waiting);
    if (!left_.waiting.empty()) return false;
    H::trace(TraceEvent{.kind = TraceKind::flush_done,
                        .mm = mm_,
                        .value = left_.generation,
                        .value2 = left_.sender});
    return true;
  }

  /// Waits until it is done. Context: any if it is done, else as for `flush_tlb_mm_range`.
  [[nodiscard]] Token complete(System<H>& system) && {
    require<H>(context_ != kNoContext, Rule::r1, "a flush is completed twice");
    while (!is_done(system)) {
      if (system.calls.waiting_here("a wait for a flush needs interrupts on") == Waiting::closed) {
        system.calls.run_pending_in_wait();
      }
      H::pause();
    }
    return Token(std::exchange(context_, ContextId{kNoContext}));
  }

 private:
  PendingFlush(const Mm<H>& mm, const internal::Submitted<H>& left)
      : mm_(&mm), context_(mm.context), left_(left) {}
  template <Hal K, class Weaker>
  friend class PendingFlush;
  template <Hal K>
  friend PendingFlush<K, TranslationsQuiet> submit_flush_tlb_mm_range(System<K>& system, Mm<K>& mm,
                                                                      const FlushRange& range);
  template <Hal K>
  friend PendingFlush<K, TablesUnreachable> submit_flush_tlb_mm_range_freed_tables(
      System<K>& system, Mm<K>& mm, const FlushRange& range);

  const Mm<H>* mm_{nullptr};  // for traces
  ContextId context_{kNoContext};
  internal::Submitted<H> left_{};
};

namespace internal {

/// Asks the CPUs of `targets` and flushes this one. Returns those that are still to answer.
template <Hal H>
CpuMask<H::kMaxCpus> send_and_leave(System<H>& system, CpuState<H>& self,
                                    const CpuMask<H::kMaxCpus>& targets,
                                    const FlushRequest<H>& asked) {
  FlushRequest<H>& request = publish(system, self, asked);
  request.trims_mask = trims_mask(system, request);
  trace_send(self, request);
  const auto local = [&] {
    const InterruptsOff<H> guard;
    if (targets.test(request.initiator)) flush_here(system, self, request, /*remote=*/false);
  };
  if (!system.config().targets.concurrent) local();
  const auto wanted = [&](CpuId cpu) { return is_wanted(system, request, cpu); };
  const auto run = run_flush_call<H>;
  // Closed: the guard of the local part is its own, since interrupts may be on or off.
  const CpuMask<H::kMaxCpus> queued = system.calls.template start_call<Waiting::closed>(
      self.own.number, targets, wanted, run, &system, [&] {
        if (system.config().targets.concurrent) local();
      });
  self.own.counters.targets_queued += queued.count();
  self.own.post_use = PostUse::by_submit;
  if (queued.empty()) {
    system.calls.end_call(self.own.number);
    self.own.post_use = PostUse::free;
  }
  return queued;
}

/// Where flushes go by hypercall or broadcast they are done when those return.
template <Hal H>
void flush_synchronously(System<H>& system, CpuState<H>& self, Mm<H>& mm,
                         const FlushRequest<H>& request) {
  if (H::interrupts_enabled()) {
    static_cast<void>(send_flush<GeneralWay<H>>(system, self, mm, request));
  } else {
    static_cast<void>(send_flush<ClosedWay<H>>(system, self, mm, request));
  }
}

template <Hal H>
[[gnu::noinline]] Submitted<H> submit_flush(System<H>& system, Mm<H>& mm, const FlushRange& asked,
                                            FlushOptions options) {
  // The post may have to be waited for.
  static_cast<void>(system.calls.waiting_here("a flush needs interrupts on"));
  const PreemptionOff<H> guard;
  trace_asked(mm, asked);
  CpuState<H>& self = begin_flush(system);
  const FlushRequest<H> request =
      enter_flush(self, mm, enter_range<H>(asked, system.ceiling()), options);
  Submitted<H> left{.generation = request.generation, .sender = self.own.number};
  const CpuMask<H::kMaxCpus> members = mm.cpus.read(system.mask_words());
  if (system.plan().way != FlushWay::by_interrupt || members.is_only(left.sender, self.own.bit)) {
    flush_synchronously(system, self, mm, request);
  } else {
    left.waiting = send_and_leave(system, self, members, request);
  }
  if (left.waiting.empty()) {
    H::trace(TraceEvent{.kind = TraceKind::flush_end, .mm = &mm, .request = &request});
  }
  return left;
}

}  // namespace internal

/// As `flush_tlb_mm_range`, but returns when each CPU has been asked; this one has flushed by then.
/// Nothing is released before `is_done`. The mm lives until then. Context: as for
/// `flush_tlb_mm_range`, because another flush may have to be waited for first.
template <Hal H>
PendingFlush<H, TranslationsQuiet> submit_flush_tlb_mm_range(System<H>& system, Mm<H>& mm,
                                                             const FlushRange& range) {
  return {mm, internal::submit_flush(system, mm, range, {})};
}

/// The same for a range whose page tables were unhooked as well.
template <Hal H>
PendingFlush<H, TablesUnreachable> submit_flush_tlb_mm_range_freed_tables(System<H>& system,
                                                                          Mm<H>& mm,
                                                                          const FlushRange& range) {
  return {mm, internal::submit_flush(system, mm, range, {.frees_tables = true})};
}

}  // namespace shootdown
