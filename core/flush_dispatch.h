// The dispatch of a flush: how a request is taken, sent to the CPUs of a mask, run there and waited
// for. Which of them it has to reach is target_filter.h's to say.
#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

#include "core/broadcast_hooks.h"
#include "core/counters.h"
#include "core/flush_function.h"
#include "core/hal.h"
#include "core/request.h"
#include "core/smp_call.h"
#include "core/system.h"
#include "core/target_filter.h"
#include "core/trace.h"

namespace shootdown {

namespace internal {

/// The flush of a target that answers first.
template <Hal H>
[[gnu::noinline]] Answered answer_then_flush(System<H>& system, CpuState<H>& self,
                                             const FlushRequest<H>& request,
                                             Acknowledgement<H> acknowledgement) {
  // The initiator may reuse its request and leave its stack frame as soon as it is answered.
  const FlushRequest<H> copy = request;
  // Before the answer and until after the flush: an NMI in between must not read user memory,
  // because the flush has returned to its caller. The answer is a release, and so is the last
  // store: no compiler moves the first store behind the answer or the last before the flush;
  // the CPU shows its own NMI its stores in program order.
  auto& pending = self.own.early_acked_flush_pending;
  pending.store(true, std::memory_order_relaxed);
  const Answered answered = std::move(acknowledgement).give();
  flush_here(system, self, copy, /*remote=*/true);
  pending.store(false, std::memory_order_release);
  return answered;
}

template <Hal H>
Answered run_flush_call(const CallPost<H>& post, Acknowledgement<H> acknowledgement) {
  auto& system = *static_cast<System<H>*>(post.argument);
  const FlushRequest<H>& request = post.request;
  CpuState<H>& self = system.self();
  // Only for the loaded mm: it lives as long as it is loaded (O31). Another one may be gone as
  // soon as its flusher is answered, and this CPU has yet to leave its mask.
  const bool loaded = self.own.loaded_mm.owner_load() == request.mm;
  if (request.acknowledges_early && loaded) {
    return answer_then_flush(system, self, request, std::move(acknowledgement));
  }
  flush_here(system, self, request, /*remote=*/true);
  return std::move(acknowledgement).give();
}

/// Counts and traces one send, which may reach no CPU when every target is lazy.
template <Hal H>
void trace_send(CpuState<H>& self, const FlushRequest<H>& request) {
  ++self.own.counters.remote_flush_sent;
  H::trace(TraceEvent{.kind = TraceKind::flush_send,
                      .reason = FlushReason::remote_send,
                      .mm = request.mm,
                      .request = &request,
                      .value = request.pages()});
}

template <Hal H>
CallSubject subject_of(const FlushRequest<H>& request) {
  return {.what = request.frees_tables ? "a flush for freed page tables" : "a flush",
          .mm = request.mm,
          .start = request.start,
          .end = request.end};
}

/// Returns the ticks until all targets had answered.
inline std::uint64_t count_call(Counters& counters, const CallOutcome& outcome) {
  counters.targets_queued += outcome.queued;
  counters.unanswered += outcome.reports;
  counters.answer_ticks += outcome.ticks;
  counters.answer_ticks_longest.raise_to(outcome.ticks);
  return outcome.ticks;
}

/// Calls the flush function for the request in this CPU's post on the CPUs of `targets` for which
/// `wanted(cpu)` holds, and here if this CPU is among them. Returns the ticks until all targets had
/// answered.
template <Waiting kWaiting, Hal H, class Wanted>
[[gnu::always_inline]] inline std::uint64_t call_flush_function(System<H>& system,
                                                                CpuState<H>& self,
                                                                const CpuMask<H::kMaxCpus>& targets,
                                                                FlushRequest<H>& request,
                                                                Wanted&& wanted) {
  const auto run_local = [&]() __attribute__((always_inline)) {
    if (targets.test(request.initiator)) flush_here(system, self, request, /*remote=*/false);
  };
  return count_call(self.own.counters,
                    system.calls.template call_from<kWaiting>(H::this_cpu(), targets, wanted,
                                                              run_flush_call<H>, &system, run_local,
                                                              [&] { return subject_of(request); }));
}

/// `flush_by_interrupts` with all questions about laziness first.
template <Waiting kWaiting, Hal H>
[[gnu::noinline]] std::uint64_t flush_filtered(System<H>& system, CpuState<H>& self,
                                               const CpuMask<H::kMaxCpus>& targets,
                                               FlushRequest<H>& request) {
  return call_flush_function<kWaiting>(system, self, filter_targets(system, targets, request),
                                       request, [](CpuId) { return true; });
}

/// By interrupts: the local part runs after they have left and before the wait. Returns the ticks
/// until all targets had answered.
template <Waiting kWaiting = Waiting::open, Hal H>
[[gnu::always_inline]] inline std::uint64_t flush_by_interrupts(System<H>& system,
                                                                CpuState<H>& self,
                                                                const CpuMask<H::kMaxCpus>& targets,
                                                                FlushRequest<H>& request) {
  trace_send(self, request);
  if (system.config().targets.lazy_test == LazyTest::up_front) [[unlikely]] {
    return flush_filtered<kWaiting>(system, self, targets, request);
  }
  // As late as possible: CPUs that go idle in between need no interrupt.
  return call_flush_function<kWaiting>(
      system, self, targets, request,
      [&](CpuId cpu) __attribute__((always_inline)) { return is_wanted(system, request, cpu); });
}

}  // namespace internal

/// By interrupts. Returns the ticks until all targets had answered. Context: as for
/// `flush_tlb_mm_range`.
template <Hal H>
std::uint64_t native_flush_multi(System<H>& system, const CpuMask<H::kMaxCpus>& targets,
                                 FlushRequest<H>& request) {
  require<H>(&request == &system.calls.post_of(request.initiator).request, Rule::r10,
             "a flush of a request that is not in its initiator's post");
  return internal::flush_by_interrupts(system, system.self(), targets, request);
}

/// The same without the local part. Context: as for `flush_tlb_mm_range`.
template <Hal H>
std::uint64_t native_flush_others(System<H>& system, const CpuMask<H::kMaxCpus>& targets,
                                  FlushRequest<H>& request) {
  CpuMask<H::kMaxCpus> others = targets;
  others.clear(request.initiator);
  return native_flush_multi(system, others, request);
}

/// Flushes this CPU, `self`, if it is in `targets`, and the others of `targets` at the same time.
/// Returns the ticks until all targets had answered. Context: as for `flush_tlb_mm_range`.
template <Hal H>
[[gnu::always_inline]] inline std::uint64_t flush_tlb_multi(System<H>& system, CpuState<H>& self,
                                                            const CpuMask<H::kMaxCpus>& targets,
                                                            FlushRequest<H>& request) {
  if (internal::holds<Question::is_common>(system)) [[likely]] {
    return internal::flush_by_interrupts(system, self, targets, request);
  }
  if constexpr (HalParavirt<H>) {
    return system.ops()->flush_multi(system, targets, request);
  } else {
    return native_flush_multi(system, targets, request);
  }
}

/// Flushes the CPUs of `targets` other than this one, and returns when they are done: the form that
/// remote-only paravirtual backends offer. Result and context: as for `flush_tlb_multi`.
template <Hal H>
std::uint64_t flush_tlb_others(System<H>& system, const CpuMask<H::kMaxCpus>& targets,
                               FlushRequest<H>& request) {
  if constexpr (HalParavirt<H>) {
    return system.ops()->flush_others(system, targets, request);
  } else {
    return native_flush_others(system, targets, request);
  }
}

/// The table of the bare machine, every system's default.
template <Hal H>
static constexpr FlushOps<H> kNativeOps{.name = "native",
                                        .flush_user = internal::native_flush_user<H>,
                                        .flush_kernel = internal::native_flush_kernel<H>,
                                        .flush_one_user = internal::native_flush_one_user<H>,
                                        .flush_multi = native_flush_multi<H>,
                                        .flush_others = native_flush_others<H>,
                                        .remove_table = TableRemoval::at_once};

template <Hal H>
const FlushOps<H>& internal::native_ops() {
  return kNativeOps<H>;
}

/// Whether a flush that frees tables interrupts every CPU that may walk them. If not, walkers that
/// rely on interrupts being off are not excluded by it, and tables must not be released before
/// those are quiet (`TableRemoval::after_walkers`). No under hardware broadcast: an mm may get a
/// global ASID at any time, and its flushes interrupt no CPU from then on. Constant after boot.
template <Hal H>
[[nodiscard]] bool flush_interrupts_targets(const System<H>& system) {
  if (internal::broadcasts(system)) return false;
  return system.ops()->remove_table == TableRemoval::at_once;
}

namespace internal {

template <Waiting kWaiting = Waiting::open, Hal H>
[[gnu::always_inline]] inline void flush_locally(System<H>& system, CpuState<H>& self,
                                                 const FlushRequest<H>& request) {
  const OffForOwnPart<kWaiting, H> guard;
  flush_here(system, self, request, /*remote=*/false);
}

/// This CPU, as the initiator of a flush that begins here. Preemption is off; whether interrupts
/// are on is known. That it is up is seen where it matters: by `check_post_is_free` before others
/// hear of the flush, and by `flush_elsewhere`, since a CPU that is not up runs no mm.
template <Hal H>
[[gnu::always_inline]] inline CpuState<H>& begin_flush(System<H>& system) {
  require<H>(!H::in_interrupt(), Rule::r12, "a flush cannot start in an interrupt handler");
  if constexpr (!HalCpuPointer<H>) {
    require<H>(H::this_cpu() < H::kMaxCpus, Rule::r13, "this_cpu() is out of range");
  }
  return system.self();
}

/// R10, M18: waits for the last answer to what this CPU has submitted; then its post may be written
/// again. A target that has not answered reads it.
template <Hal H>
[[gnu::noinline, clang::preserve_most]] void take_post_back(System<H>& system, CpuState<H>& self) {
  CpuPrivate<H>& own = self.own;
  require<H>(own.is_up, Rule::r2, "a CPU flushes that is not up");
  require<H>(own.post_use == PostUse::by_submit, Rule::r10, "a flush started inside another one");
  const auto subject = [&] { return subject_of(own.post->request); };
  own.counters.unanswered +=
      H::interrupts_enabled()
          ? system.calls.template await_all<Waiting::open>(own.number, subject)
          : system.calls.template await_all<Waiting::closed>(own.number, subject);
  system.calls.end_call(own.number);
  own.post_use = PostUse::free;
}

/// R10, as seen by a CPU that is about to write its post.
template <Hal H>
[[gnu::always_inline]] inline void check_post_is_free(System<H>& system, CpuState<H>& self) {
  if (self.own.post_use != PostUse::free) [[unlikely]] {
    take_post_back(system, self);
  }
}

/// Puts `request` where other CPUs may read it, until a `PostInUse` of this CPU ends.
///
/// M18: the request is rewritten only after the wait for the last answer (M8), against the targets'
/// reads of it. A flush that returned earlier would change what a target still reads; a target that
/// answers early copies it first.
template <Hal H>
[[gnu::always_inline]] inline FlushRequest<H>& publish(System<H>& system, CpuState<H>& self,
                                                       const FlushRequest<H>& request) {
  static_assert(sizeof(CallPost<H>) == kCacheLine, "a request and its call are in one line");
  check_post_is_free(system, self);
  // It is in no mask, so its flush is never one of this CPU alone.
  require<H>(request.mm == nullptr || !request.mm->is_kernel, Rule::r13,
             "the kernel's mm is not flushed by range");
  self.own.post_use = PostUse::by_flush;
  // Its initiator is read once more, or the flush of this CPU alone would keep a register for it.
  FlushRequest<H> published = request;
  published.initiator = self.own.number;
  FlushRequest<H>& place = self.own.post->request;
  place = published;
  return place;
}

/// For as long as it lives, the request in this CPU's post is not to be written.
template <Hal H>
class PostInUse {
 public:
  explicit PostInUse(CpuState<H>& self) : self_(self) {}
  ~PostInUse() { self_.own.post_use = PostUse::free; }
  PostInUse(const PostInUse&) = delete;
  PostInUse& operator=(const PostInUse&) = delete;

 private:
  CpuState<H>& self_;
};

/// Whether this flush is one of those that trim the mask of their mm.
template <Hal H>
[[nodiscard]] bool trims_mask(const System<H>& system, const FlushRequest<H>& request) {
  const TargetConfig& targets = system.config().targets;
  return targets.mask_policy == MaskPolicy::kept_lazily && request.generation != kNoGeneration &&
         request.generation % targets.trim_interval == 0;
}

/// Sends the request that this CPU has published to `targets`. Returns the ticks until all have
/// answered. With interrupts off always by interrupts: a hypercall or a hub may wait for a CPU that
/// has to take its own kind of interrupt for that.
template <Waiting kWaiting = Waiting::open, Hal H>
[[gnu::always_inline]] inline std::uint64_t send_request(System<H>& system, CpuState<H>& self,
                                                         const CpuMask<H::kMaxCpus>& targets) {
  FlushRequest<H>& request = self.own.post->request;
  // R13: compare with "none"; CPU 0 is a target like any other.
  if (targets.first_except(request.initiator) == kNoCpu) {
    if (targets.test(request.initiator)) flush_locally<kWaiting>(system, self, request);
    return 0;
  }
  request.trims_mask = trims_mask(system, request);
  if constexpr (kWaiting == Waiting::closed) {
    return flush_by_interrupts<kWaiting>(system, self, targets, request);
  }
  // Not with a backend that can only flush others: its flush would not include this CPU, so the
  // local part has to come first.
  if (holds<Question::concurrent>(system)) {
    return flush_tlb_multi(system, self, targets, request);
  } else {
    if (targets.test(request.initiator)) flush_locally(system, self, request);
    return flush_tlb_others(system, targets, request);
  }
}

/// The same where that is all that the post is used for: afterwards it is free.
template <Waiting kWaiting, Hal H>
[[gnu::noinline, clang::preserve_most]] std::uint64_t send_published(System<H>& system,
                                                                     CpuState<H>& self,
                                                                     CpuMask<H::kMaxCpus> targets) {
  const PostInUse<H> in_use(self);
  return send_request<kWaiting>(system, self, targets);
}

/// As `send_published`, for a request that is not published. A flush of this CPU alone touches
/// nothing that other CPUs read, and does not fill the request that they would read.
template <class Way, Hal H>
[[gnu::always_inline]] inline std::uint64_t flush_on_cpus(System<H>& system, CpuState<H>& self,
                                                          const CpuMask<H::kMaxCpus>& targets,
                                                          const FlushRequest<H>& request) {
  if (targets.is_only(request.initiator, self.own.bit)) [[likely]] {
    const OffForOwnPart<Way::kWaiting, H> guard;
    flush_here_by<Way>(system, self, request, /*remote=*/false);
    return 0;
  }
  publish(system, self, request);
  return send_published<Way::kWaiting>(system, self, targets);
}

}  // namespace internal

}  // namespace shootdown
