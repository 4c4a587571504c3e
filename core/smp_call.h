// The SMP function call: run a function on a set of CPUs, and a local one at the same time.
//
// State    per CPU a lock-free list of call data, newest first; per (sender, target) one record.
//          A closed list belongs to a CPU that has gone offline.
// Writers  the list head: senders push, the owner takes all, closes and opens. A record: its sender
//          while unlocked; while locked only the target, with the final unlock (R10).
// Promise  each queued function runs exactly once on its target, with interrupts off; when `call`
//          returns, all have run, or acknowledged early, and what they did before that is visible
//          (M8).
#pragma once

#include <array>
#include <atomic>

#include "core/cpu_mask.h"
#include "core/hal.h"
#include "core/trace.h"
#include "core/types.h"

namespace shootdown {

template <Hal H>
class Acknowledgement;

/// Runs on a target with interrupts off. Must not wait for another CPU. It may acknowledge before
/// it is done, once it no longer needs what the argument points to; otherwise its return does.
template <Hal H>
using CallFunction = void (*)(void* argument, Acknowledgement<H>& acknowledgement);

/// One call from one sender to one target. A line of its own, because the two poll it in turns.
template <Hal H>
struct alignas(kCacheLine) CallData {
  /// 1 from queuing until the target has answered. The sender sets it, the target clears it.
  typename H::template Atomic<std::uint32_t> locked{0};
  // The rest is plain: the push publishes it, and `locked` keeps the sender away while it is read.
  CallData* next{nullptr};
  CallFunction<H> function{nullptr};
  void* argument{nullptr};
  CpuId sender{};  // since it came online: each pair has a record of its own
};

/// The target's side of one call's end.
template <Hal H>
class Acknowledgement {
 public:
  explicit Acknowledgement(CallData<H>& record) : record_(&record) {}
  Acknowledgement(const Acknowledgement&) = delete;
  Acknowledgement& operator=(const Acknowledgement&) = delete;

  /// Lets the sender go on; from here on the record and the argument belong to it again.
  void give() {
    if (record_ == nullptr) return;
    // M8: release orders the function's effects so far before the unlock, against the acquire in
    // `wait_unlocked`. Otherwise the sender frees pages that this CPU still uses.
    record_->locked.store(0, std::memory_order_release);
    record_ = nullptr;
  }

 private:
  CallData<H>* record_;
};

/// A CPU's queue head, alone on its line: every sender contends for it.
template <Hal H>
struct alignas(kCacheLine) CallQueue {
  typename H::template Atomic<CallData<H>*> head{nullptr};
};

/// What became of a call.
struct CallOutcome {
  CpuId queued{0};           // targets that ran the function
  std::uint32_t reports{0};  // reports of targets that did not answer for long
  std::uint64_t ticks{0};    // from the first push to the last answer; 0 if no target was queued
};

template <Hal H>
class SmpCall {
 public:
  using Mask = CpuMask<H::kMaxCpus>;

  /// For each wait. At doubling distances the last comes after eight times the stall limit.
  static constexpr std::uint32_t kMostReports = 4;

  /// Opens this CPU's queue and makes it a target. Context: interrupts off.
  void set_online(CpuId cpu) {
    for (CallData<H>& record : records_[cpu]) record.sender = cpu;
    queues_[cpu].head.store(nullptr, std::memory_order_relaxed);
    // The locked operation is behind the store: a sender that sees the CPU online finds its queue
    // open.
    online_.set(cpu);
  }

  /// Ends this CPU's time as a target: answers what is queued and refuses what comes later. A
  /// sender that has read the mask of online CPUs meanwhile finds the queue closed. Context:
  /// interrupts off.
  void close_queue() {
    const CpuId self = H::this_cpu();
    online_.clear(self);
    // M7, M8: acquire, against the pushes of what is taken; release, against a sender that finds
    // the queue closed: what this CPU did before comes before what the sender does next.
    run_list(queues_[self].head.exchange(&closed_, std::memory_order_acq_rel));
  }

  [[nodiscard]] Mask online() const { return online_.read(); }

  /// How often a sender looks at an unanswered record before it reports; 0: it never does. A count
  /// and not a time, so that a test is exact. Context: before the first call.
  void set_stall_limit(std::uint64_t pauses) { stall_limit_ = pauses; }

  /// Queues `remote(argument)` on every online member of `targets` other than this CPU for which
  /// `wanted(cpu)` holds when it is queued; interrupts those whose queue was empty; runs `local()`
  /// meanwhile with interrupts off; returns when all have answered. `subject()` is what a report
  /// says about the call; it is asked only if a target does not answer.
  ///
  /// Context: interrupts on (a waiter must keep answering others, or two callers deadlock; R12),
  /// preemption off, not in an interrupt handler.
  template <class Wanted, class Local, class Subject>
  CallOutcome call(const Mask& targets, Wanted&& wanted, CallFunction<H> remote, void* argument,
                   Local&& local, Subject&& subject) {
    require<H>(H::interrupts_enabled(), Rule::r12, "an SMP function call needs interrupts on");
    require<H>(!H::in_interrupt(), Rule::r12,
               "an SMP function call cannot start in an interrupt handler");
    return call_from(H::this_cpu(), targets, wanted, remote, argument, local, subject);
  }
  template <class Wanted, class Local>
  CallOutcome call(const Mask& targets, Wanted&& wanted, CallFunction<H> remote, void* argument,
                   Local&& local) {
    return call(targets, wanted, remote, argument, local, [] { return CallSubject{}; });
  }

  /// The same from this CPU, `self`, for a caller that has looked at its context already.
  template <class Wanted, class Local, class Subject>
  [[gnu::always_inline]] CallOutcome call_from(CpuId self, const Mask& targets, Wanted&& wanted,
                                               CallFunction<H> remote, void* argument,
                                               Local&& local, Subject&& subject) {
    CallOutcome outcome{};
    const std::uint64_t since = H::ticks();
    Mask queued = targets;
    queued &= online();
    queued.clear(self);
    Mask interrupt = queued;
    queued.for_each([&](CpuId target) __attribute__((always_inline)) {
      const Pushed pushed = wanted(target) ? push(self, target, remote, argument) : Pushed::refused;
      if (pushed == Pushed::first) [[likely]] {
        return;
      }
      interrupt.clear(target);
      if (pushed == Pushed::refused) queued.clear(target);
    });
    if (!interrupt.empty()) {
      // R11: orders the pushes above before the ICR write, against the target's take of its list. A
      // target that is interrupted before it can see the push finds nothing, and since the list is
      // then not empty, no sender interrupts it again.
      H::order_stores_before_ipi();
      H::send_call_function_ipi(interrupt);
    }
    {
      InterruptsOffInThread<H> guard;
      local();
    }
    queued.for_each([&](CpuId target) __attribute__((always_inline)) {
      ++outcome.queued;
      outcome.reports += wait_unlocked(self, target, since, subject);
    });
    outcome.ticks = outcome.queued != 0 ? H::ticks() - since : 0;
    return outcome;
  }

  /// Runs everything queued for this CPU, oldest first. The interrupt handler calls it, with
  /// interrupts off. Not on a CPU that has gone offline: it keeps interrupts off until it stops.
  void run_queue() {
    require<H>(!H::interrupts_enabled(), Rule::r12, "the call queue runs with interrupts off");
    // Acquire pairs with the release of each push: the records' plain fields are visible.
    CallData<H>* list = queues_[H::this_cpu()].head.exchange(nullptr, std::memory_order_acq_rel);
    require<H>(list != &closed_, Rule::r12, "a CPU takes interrupts after it went offline");
    run_list(list);
  }

  /// Calls `visit(name, field)` for each shared word, so that tools can label addresses.
  template <class Visit>
  void visit_shared(Visit&& visit) {
    for (auto& queue : queues_) visit("call_queue", queue.head);
    for (auto& row : records_) {
      for (auto& record : row) visit("call_locked", record.locked);
    }
    online_.visit_shared(visit);
  }

  /// For tools: true if `head` stands for at least one queued record.
  [[nodiscard]] bool is_work(const CallData<H>* head) const {
    return head != nullptr && head != &closed_;
  }

 private:
  enum class Pushed : std::uint8_t { refused, first, further };

  /// Locks and fills the record and pushes it. "First" means that the list was empty: no other
  /// sender has an interrupt on its way to this target. "Refused": the target has gone offline.
  [[gnu::always_inline]] Pushed push(CpuId self, std::size_t target, CallFunction<H> function,
                                     void* argument) {
    CallData<H>& record = records_[self][target];
    // Calls are synchronous, so the record is free; a locked one means that two calls of this CPU
    // overlap, and the second would overwrite what the target reads (R10, M9).
    require<H>(record.locked.load(std::memory_order_acquire) == 0, Rule::r10,
               "a call data entry is still in use");
    record.function = function;
    record.argument = argument;
    auto& head = queues_[target].head;
    // M8: a closed queue is an answer as well. What its CPU did before it went, the last use of a
    // page included, comes before what the sender does when the call is over; the exchange that
    // closed the queue releases it. Relaxed, a page could be released before its last use.
    CallData<H>* old = head.load(std::memory_order_acquire);
    if (old != &closed_) record.locked.store(1, std::memory_order_relaxed);
    do {
      if (old == &closed_) {
        record.locked.store(0, std::memory_order_relaxed);
        return Pushed::refused;
      }
      record.next = old;
      // M7: release orders the record's fields, and everything the request says, before the push,
      // against the acquire exchange in `run_queue`.
    } while (!head.compare_exchange(old, &record, std::memory_order_acq_rel));
    H::trace(TraceEvent{.kind = TraceKind::call_queued,
                        .value = target,
                        .value2 = static_cast<std::uint64_t>(old == nullptr)});
    return old == nullptr ? Pushed::first : Pushed::further;
  }

  /// Runs a list that was taken whole, oldest first.
  static void run_list(CallData<H>* newest) {
    CallData<H>* oldest = nullptr;
    while (newest != nullptr) {
      CallData<H>* following = newest->next;
      newest->next = oldest;
      oldest = newest;
      newest = following;
    }
    while (oldest != nullptr) {
      CallData<H>& record = *oldest;
      oldest = record.next;  // After the acknowledgement the sender may reuse the record.
      H::trace(TraceEvent{.kind = TraceKind::call_run, .value = record.sender});
      Acknowledgement<H> acknowledgement(record);
      record.function(record.argument, acknowledgement);
      acknowledgement.give();
    }
  }

  /// Waits for the answer of `target`. Returns the number of reports.
  template <class Subject>
  [[gnu::always_inline]] std::uint32_t wait_unlocked(CpuId self, CpuId target, std::uint64_t since,
                                                     Subject&& subject) {
    const CallData<H>& record = records_[self][target];
    std::uint64_t pauses = 0;
    // M8: acquire, against the release in `give`: what the target did comes before what follows.
    while (record.locked.load(std::memory_order_acquire) != 0) {
      H::pause();
      if (++pauses == stall_limit_) [[unlikely]] {
        return report_and_wait(self, target, since, subject);
      }
    }
    return 0;
  }

  /// The same for a target that has been looked at as often as the stall limit says.
  template <class Subject>
  [[gnu::noinline]] std::uint32_t report_and_wait(CpuId self, CpuId target, std::uint64_t since,
                                                  Subject&& subject) {
    const CallData<H>& record = records_[self][target];
    std::uint64_t next_report = stall_limit_;
    std::uint32_t reports = 0;
    for (std::uint64_t pauses = stall_limit_;; ++pauses) {
      if (pauses == next_report) {
        ++reports;
        // 0 is never reached: no more reports.
        next_report = reports == kMostReports ? 0 : next_report * 2;
        H::report_unanswered({.sender = self,
                              .target = target,
                              .since = since,
                              .now = H::ticks(),
                              .pauses = pauses,
                              .subject = subject(),
                              .last = reports == kMostReports});
      }
      // M8: acquire, as above.
      if (record.locked.load(std::memory_order_acquire) == 0) return reports;
      H::pause();
    }
  }

  std::array<CallQueue<H>, H::kMaxCpus> queues_{};
  std::array<std::array<CallData<H>, H::kMaxCpus>, H::kMaxCpus> records_{};
  AtomicCpuMask<H> online_{};
  std::uint64_t stall_limit_{0};
  /// Stands in a queue's head while its CPU is not online.
  CallData<H> closed_{};
};

}  // namespace shootdown
