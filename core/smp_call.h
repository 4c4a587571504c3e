// The SMP function call: run a function on a set of CPUs, and a local one at the same time.
//
// State    per CPU one post: what it calls others for. Per CPU some words of pending senders: a bit
//          for each CPU whose post is to be run here. A closed word belongs to a CPU that has gone
//          offline.
// Writers  a post: its CPU, while no target has its bit (R10). A pending word: a sender sets its
//          bit, the target clears it, closes the word and opens it; all but the last are locked.
// Promise  each posted function runs exactly once on each target, with interrupts off; when `call`
//          returns, all have run, or acknowledged early, and what they did before that is visible
//          (M8).
// Waits    with interrupts on, which lets others in (`Waiting::open`); with interrupts off, and
// then
//          the sender runs what is pending on itself (`Waiting::closed`); or later, and on any CPU
//          (`start_call`, `drop_answered`).
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstdint>
#include <type_traits>

#include "core/cpu_mask.h"
#include "core/hal.h"
#include "core/request.h"
#include "core/trace.h"
#include "core/types.h"

namespace shootdown {

template <Hal H>
class Acknowledgement;
template <Hal H>
struct CallPost;

/// Proof that a target has answered a call; only an `Acknowledgement` makes one.
class Answered {
 public:
  /// The senders that were left in the word at the moment of the answer, and the closed bit.
  [[nodiscard]] std::uint64_t rest() const { return rest_; }

 private:
  template <Hal H>
  friend class Acknowledgement;
  explicit Answered(std::uint64_t rest) : rest_(rest) {}
  std::uint64_t rest_;
};

/// Runs on a target with interrupts off. Must not wait for another CPU. It answers when it no
/// longer needs the post or what that points to: as the last thing that it does, or before.
template <Hal H>
using CallFunction = Answered (*)(const CallPost<H>& post, Acknowledgement<H> acknowledgement);

/// What a CPU calls others for: one line, which all targets of a call read. Plain, because the bit
/// in a target's pending word publishes it and keeps its CPU away while it is read.
template <Hal H>
struct alignas(kCacheLine) CallPost {
  CallFunction<H> function{nullptr};  // null: no call is on its way
  void* argument{nullptr};
  /// The place for the request of a flush, so that a target of a flush reads this line and no
  /// other of the initiator.
  FlushRequest<H> request{};
};

namespace internal {

/// How many words hold the senders of a machine: up to 8 senders each where there are 64 CPUs or
/// less, up to 32 otherwise. A power of two, because each push divides by it.
constexpr CpuId pending_words(CpuId cpus) {
  if (cpus <= 16) return cpus == 1 ? 1 : 2;
  return std::bit_ceil(cpus <= 64 ? (cpus + 7) / 8 : (cpus + 31) / 32);
}

}  // namespace internal

/// In which of a target's words a sender has its bit, and where. Neighbours are in different words.
/// For more CPUs than a word of a mask has bits it goes by those that exist, of which boot tells.
template <Hal H>
class SenderLayout {
 public:
  static constexpr CpuId kWords = internal::pending_words(H::kMaxCpus);
  static constexpr bool kIsFixed = H::kMaxCpus <= 64;

  /// Context: before the first call.
  void set_cpus(CpuId cpus) {
    if constexpr (!kIsFixed) {
      const CpuId words = internal::pending_words(cpus);
      last_word_ = words - 1;
      shift_ = static_cast<CpuId>(std::countr_zero(words));
    }
  }
  [[nodiscard]] CpuId words() const { return kIsFixed ? kWords : last_word_ + 1; }
  [[nodiscard]] CpuId word_of(CpuId sender) const {
    return kIsFixed ? sender % kWords : sender & last_word_;
  }
  [[nodiscard]] std::uint64_t bit_of(CpuId sender) const {
    return std::uint64_t{1} << (kIsFixed ? sender / kWords : sender >> shift_);
  }
  [[nodiscard]] CpuId first_of(std::uint64_t senders, CpuId word) const {
    const auto first = static_cast<CpuId>(std::countr_zero(senders));
    return (kIsFixed ? first * kWords : first << shift_) + word;
  }

 private:
  static_assert((H::kMaxCpus - 1) / kWords < 63);
  CpuId last_word_{0};
  CpuId shift_{0};
};

/// The senders whose post a target has to run: a bit is 1 from the push until the answer. Several
/// words, each on a line of its own as long as they are few: the senders of a word poll it in turns
/// with the target, and should not disturb the others.
template <Hal H>
struct PendingSenders {
  static constexpr CpuId kWords = SenderLayout<H>::kWords;
  /// In each word of a CPU that has gone offline. No sender's bit.
  static constexpr std::uint64_t kClosed = std::uint64_t{1} << 63;

  struct alignas(kWords <= 8 ? kCacheLine : sizeof(std::uint64_t)) Word {
    typename H::template Atomic<std::uint64_t> senders{0};
  };

  alignas(kCacheLine) std::array<Word, kWords> words{};
};

/// The target's side of one call's end. Two words, so that it travels in registers.
template <Hal H>
class Acknowledgement {
 public:
  using Word = typename H::template Atomic<std::uint64_t>;

  Acknowledgement(Word& senders, std::uint64_t bit) : senders_(senders), bit_(bit) {}
  Acknowledgement(const Acknowledgement&) = delete;
  Acknowledgement(Acknowledgement&&) = default;

  /// Lets the sender go on; from here on its post and the argument belong to it again. Once: a
  /// subtraction, which is one instruction where a locked AND that tells what it found is a loop,
  /// would borrow from another sender's bit.
  [[nodiscard]] [[gnu::always_inline]] Answered give() && {
    // M8: release orders the function's effects so far before the answer, against the acquire in
    // `is_answered`. Otherwise the sender frees pages that this CPU still uses. No acquire: the
    // posts of those that are left are read behind another look (M7).
    return Answered(senders_.fetch_add(0 - bit_, std::memory_order_release) - bit_);
  }

 private:
  Word& senders_;
  std::uint64_t bit_;
};

/// How a sender waits for answers. R12: two senders may wait for each other, so a waiter answers.
enum class Waiting : std::uint8_t {
  open,    // interrupts are on, and the handler answers
  closed,  // interrupts are off, and the waiter looks at its own words between two looks at others'
};

namespace internal {

struct InterruptsAreOff {
  InterruptsAreOff() {}  // NOLINT(modernize-use-equals-default): else a variable without a use
};

/// Around this CPU's own part of a call, which runs as the others' do: with interrupts off.
template <Waiting kWaiting, Hal H>
using OffForOwnPart =
    std::conditional_t<kWaiting == Waiting::open, InterruptsOffInThread<H>, InterruptsAreOff>;

}  // namespace internal

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
  using Pending = PendingSenders<H>;

  /// For each wait. At doubling distances the last comes after eight times the stall limit.
  static constexpr std::uint32_t kMostReports = 4;

  /// Opens this CPU's words and makes it a target. Context: interrupts off.
  void set_online(CpuId cpu) {
    // No sender has its bit in a closed word, nor sets it. M8: release, against the acquire in
    // `is_answered`. A sender that was answered while the CPU went may look again only now, and
    // what it finds is this store and not the answer: what the CPU did before comes before it as
    // well.
    for (auto& word : pending_[cpu].words) word.senders.store(0, std::memory_order_release);
    // The locked operation is behind the stores: a sender that sees the CPU online finds its words
    // open. One that does not see it yet may leave it out: what that sender has changed before its
    // own barrier (M1) is seen by the flush of everything that follows here.
    online_.set(cpu);
  }

  /// Ends this CPU's time as a target: answers what is pending and refuses what comes later. A
  /// sender that has read the mask of online CPUs meanwhile finds its word closed. Words close one
  /// after the other, so a sender may be refused while this CPU runs a call of another. Context:
  /// interrupts off; the CPU has left its mm, so a refusal is the truth for user pages from the
  /// first word on.
  void close() {
    const CpuId self = H::this_cpu();
    // Before the first word closes. A refused sender may release a kernel page, and its next owner
    // put the argument of a call there, which this CPU would read by the old translation. That
    // caller reads the mask behind the release, and finds this CPU gone.
    online_.clear(self);
    for (CpuId word = 0; word < layout_.words(); ++word) {
      auto& senders = pending_[self].words[word].senders;
      // M7, M8: acquire, against the pushes of what is left; release, against a sender that finds
      // the word closed: what this CPU did before comes before what the sender does next. No sender
      // comes after that, so one round is all.
      run_round(senders, word, senders.fetch_or(Pending::kClosed, std::memory_order_acq_rel));
    }
  }

  [[nodiscard]] Mask online() const { return online_.read(mask_words_); }

  /// Whether a CPU is online. At boot, when none comes or goes.
  [[nodiscard]] bool any_online() const { return !online_.empty(); }

  /// What `cpu` calls others for.
  [[nodiscard]] CallPost<H>& post_of(CpuId cpu) { return posts_[cpu]; }

  /// How often a sender looks at an unanswered call before it reports; 0: it never does. A count
  /// and not a time, so that a test is exact. Context: before the first call.
  void set_stall_limit(std::uint64_t pauses) { stall_limit_ = pauses; }

  /// Runs `remote` with `argument` in its post on every online member of `targets` other than this
  /// CPU for which `wanted(cpu)` holds when it is pushed; interrupts those that had nothing pending
  /// in the word of theirs that this CPU uses; runs `local()` meanwhile with interrupts off;
  /// returns when all have answered. `subject()` is what a report says about the call; it is asked
  /// only if a target does not answer.
  ///
  /// Context: interrupts on, or off where that is permitted (`waiting_here`); preemption off, not
  /// in an interrupt handler, whose thread may be in a call.
  template <class Wanted, class Local, class Subject>
  CallOutcome call(const Mask& targets, Wanted&& wanted, CallFunction<H> remote, void* argument,
                   Local&& local, Subject&& subject) {
    const Waiting waiting = waiting_here("an SMP function call needs interrupts on");
    require<H>(!H::in_interrupt(), Rule::r12,
               "an SMP function call cannot start in an interrupt handler");
    const CpuId self = H::this_cpu();
    if (waiting == Waiting::closed) {
      return call_from<Waiting::closed>(self, targets, wanted, remote, argument, local, subject);
    }
    return call_from(self, targets, wanted, remote, argument, local, subject);
  }
  template <class Wanted, class Local>
  CallOutcome call(const Mask& targets, Wanted&& wanted, CallFunction<H> remote, void* argument,
                   Local&& local) {
    return call(targets, wanted, remote, argument, local, [] { return CallSubject{}; });
  }

  /// The same from this CPU, `self`, for a caller that has looked at its context already.
  template <Waiting kWaiting = Waiting::open, class Wanted, class Local, class Subject>
  [[gnu::always_inline]] CallOutcome call_from(CpuId self, const Mask& targets, Wanted&& wanted,
                                               CallFunction<H> remote, void* argument,
                                               Local&& local, Subject&& subject) {
    const std::uint64_t since = H::ticks();
    const Mask queued = start_call<kWaiting>(self, targets, wanted, remote, argument, local);
    CallOutcome outcome{};
    queued.for_each([&](CpuId target) __attribute__((always_inline)) {
      ++outcome.queued;
      if (is_answered(self, target)) [[likely]] {
        return;
      }
      outcome.reports += wait_answered<kWaiting>(self, target, since, subject);
    });
    end_call(self);
    outcome.ticks = outcome.queued != 0 ? H::ticks() - since : 0;
    return outcome;
  }

  /// The first half of a call: up to the wait, which it leaves to its caller. Returns the CPUs that
  /// are to answer. The post is in use until all of them have, and then `end_call` follows on this
  /// CPU. Interrupts may be off in either way.
  template <Waiting kWaiting, class Wanted, class Local>
  [[gnu::always_inline]] Mask start_call(CpuId self, const Mask& targets, Wanted&& wanted,
                                         CallFunction<H> remote, void* argument, Local&& local) {
    CallPost<H>& post = posts_[self];
    // One in use means that two calls of this CPU overlap, and the second would overwrite what the
    // targets of the first read (R10, M9).
    require<H>(post.function == nullptr, Rule::r10, "a call started inside another one");
    post.function = remote;
    post.argument = argument;
    Mask queued = targets;
    queued &= online();
    queued.clear(self);
    Mask interrupt = queued;
    queued.for_each([&](CpuId target) __attribute__((always_inline)) {
      const Pushed pushed = wanted(target) ? push(self, target) : Pushed::refused;
      if (pushed == Pushed::first) [[likely]] {
        return;
      }
      interrupt.clear(target);
      if (pushed == Pushed::refused) queued.clear(target);
    });
    if (!interrupt.empty()) {
      // R11: orders the pushes above before the ICR write, against the target's look at its words.
      // A target that is interrupted before it can see the push finds nothing, and since the word
      // is then not empty, no sender of that word interrupts it again.
      H::order_stores_before_ipi();
      H::send_call_function_ipi(interrupt);
    }
    {
      const internal::OffForOwnPart<kWaiting, H> guard;
      local();
    }
    return queued;
  }

  /// All have answered: what the post pointed to belongs to this CPU again.
  [[gnu::always_inline]] void end_call(CpuId self) { posts_[self].function = nullptr; }

  /// Takes those out of `waiting` that have answered the call of `sender` for which they were
  /// queued. Any CPU may ask. A later call of the sender to the same target looks like the earlier
  /// one: then a target stays in for longer, and none goes too early. Context: any.
  void drop_answered(CpuId sender, Mask& waiting) {
    Mask left = waiting;
    waiting.for_each([&](CpuId target) {
      if (is_answered(sender, target)) left.clear(target);
    });
    waiting = left;
  }

  /// Waits until no CPU at all has a call of this one pending. Not only online ones: a CPU that
  /// goes offline leaves their mask before it has answered. Returns the number of reports.
  template <Waiting kWaiting, class Subject>
  std::uint32_t await_all(CpuId self, Subject&& subject) {
    const std::uint64_t since = H::ticks();
    std::uint32_t reports = 0;
    for (CpuId target = 0; target < cpus_; ++target) {
      if (!is_answered(self, target)) {
        reports += wait_answered<kWaiting>(self, target, since, subject);
      }
    }
    return reports;
  }

  /// R12: how this CPU waits for others here. With interrupts off only on a machine that permits
  /// it, where each waiter serves.
  Waiting waiting_here(const char* if_refused) const {
    if (H::interrupts_enabled()) [[likely]] {
      return Waiting::open;
    }
    require<H>(permits_closed_, Rule::r12, if_refused);
    return Waiting::closed;
  }

  /// How many CPUs there are. Context: before the first call.
  void set_cpus(CpuId cpus) {
    cpus_ = cpus;
    mask_words_ = (cpus + 63) / 64;
    layout_.set_cpus(cpus);
  }

  /// Whether a sender may have interrupts off. Context: before the first call.
  void permit_closed(bool permitted) { permits_closed_ = permitted; }

  /// Runs what is pending on this CPU. The interrupt handler calls it, with interrupts off. Not on
  /// a CPU that has gone offline: it keeps interrupts off until it stops.
  [[gnu::always_inline]] void run_pending() {
    require<H>(!H::interrupts_enabled(), Rule::r12, "pending calls run with interrupts off");
    Pending& pending = pending_[H::this_cpu()];
    std::uint64_t late = 0;
    do {
      late = 0;
      for (CpuId word = 0; word < layout_.words(); ++word) {
        auto& senders = pending.words[word].senders;
        // M7: acquire pairs with the release of each push: the posts' plain fields are visible.
        const std::uint64_t found = senders.load(std::memory_order_acquire);
        require<H>((found & Pending::kClosed) == 0, Rule::r12,
                   "a CPU takes interrupts after it went offline");
        late |= run_round(senders, word, found);
      }
      // A sender that came meanwhile found its word in use and sent no interrupt, so it has to be
      // served here. In rounds of all words, or two busy senders could keep a third waiting.
    } while (late != 0);
  }

  /// The same in a wait with interrupts off. On its own: the handler's copy is the one that counts.
  [[gnu::noinline]] void run_pending_in_wait() { run_pending(); }

  /// Calls `visit(name, field)` for each shared word, so that tools can label addresses.
  template <class Visit>
  void visit_shared(Visit&& visit) {
    for (Pending& pending : pending_) {
      for (auto& word : pending.words) visit("call_pending", word.senders);
    }
    online_.visit_shared(visit);
  }

 private:
  enum class Pushed : std::uint8_t { refused, first, further };

  /// Puts this CPU's post before the target. "First" means that the word was empty: no interrupt on
  /// its way and no work of the target on the word promises another look at it. "Refused": the
  /// target has gone offline.
  [[gnu::always_inline]] Pushed push(CpuId self, CpuId target) {
    auto& senders = word_for(target, self);
    const std::uint64_t bit = layout_.bit_of(self);
    std::uint64_t old = 0;
    // M7: release orders the post, and everything the request says, before the push, against the
    // acquire in `run_pending`.
    // M8: acquire also where the push fails, because a closed word is an answer as well. What its
    // CPU did before it went, the last use of a page included, comes before what the sender does
    // when the call is over; the locked operation that closed the word releases it. Relaxed, a page
    // could be released before its last use.
    //
    // The first try takes the word to be empty, which saves the load of a line that comes next.
    if (senders.compare_exchange(old, bit, std::memory_order_acq_rel)) [[likely]] {
      trace_push(target, Pushed::first);
      return Pushed::first;
    }
    while ((old & Pending::kClosed) == 0) {
      if (!senders.compare_exchange(old, old | bit, std::memory_order_acq_rel)) continue;
      const Pushed pushed = old == 0 ? Pushed::first : Pushed::further;
      trace_push(target, pushed);
      return pushed;
    }
    return Pushed::refused;
  }

  [[gnu::always_inline]] static void trace_push(CpuId target, Pushed pushed) {
    H::trace(TraceEvent{.kind = TraceKind::call_queued,
                        .value = target,
                        .value2 = static_cast<std::uint64_t>(pushed == Pushed::first)});
  }

  /// Runs the posts of `found`, the senders in the word. Returns those that were in there behind
  /// the last answer; 0 means that each that is in there now, or comes next, has found the word
  /// empty and sends an interrupt.
  [[gnu::always_inline]] std::uint64_t run_round(typename Acknowledgement<H>::Word& senders,
                                                 CpuId word, std::uint64_t found) {
    std::uint64_t left = 0;
    for (std::uint64_t rest = found & ~Pending::kClosed; rest != 0; rest &= rest - 1) {
      const CpuId sender = layout_.first_of(rest, word);
      H::trace(TraceEvent{.kind = TraceKind::call_run, .value = sender});
      const CallPost<H>& post = posts_[sender];
      left = post.function(post, Acknowledgement<H>(senders, rest & (0 - rest))).rest();
    }
    return left;
  }

  [[nodiscard]] [[gnu::always_inline]] bool is_answered(CpuId self, CpuId target) {
    // M8: acquire, against the release in `give`: what the target did comes before what follows.
    return (word_for(target, self).load(std::memory_order_acquire) & layout_.bit_of(self)) == 0;
  }

  [[nodiscard]] [[gnu::always_inline]] auto& word_for(CpuId target, CpuId sender) {
    return pending_[target].words[layout_.word_of(sender)].senders;
  }

  /// R12: a sender with interrupts off answers here what asks it. Before the pause: what comes
  /// behind this look is seen at the next.
  template <Waiting kWaiting>
  [[gnu::always_inline]] void serve() {
    if constexpr (kWaiting == Waiting::closed) run_pending_in_wait();
  }

  /// Waits for the answer of `target`. Returns the number of reports.
  template <Waiting kWaiting, class Subject>
  [[gnu::always_inline]] std::uint32_t wait_answered(CpuId self, CpuId target, std::uint64_t since,
                                                     Subject&& subject) {
    std::uint64_t pauses = 0;
    do {
      serve<kWaiting>();
      H::pause();
      if (++pauses == stall_limit_) [[unlikely]] {
        return report_and_wait<kWaiting>(self, target, since, subject);
      }
    } while (!is_answered(self, target));
    return 0;
  }

  /// The same for a target that has been looked at as often as the stall limit says.
  template <Waiting kWaiting, class Subject>
  [[gnu::noinline]] std::uint32_t report_and_wait(CpuId self, CpuId target, std::uint64_t since,
                                                  Subject&& subject) {
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
      if (is_answered(self, target)) return reports;
      serve<kWaiting>();
      H::pause();
    }
  }

  std::array<CallPost<H>, H::kMaxCpus> posts_{};
  std::array<Pending, H::kMaxCpus> pending_{};
  AtomicCpuMask<H> online_{};
  std::uint64_t stall_limit_{0};
  [[no_unique_address]] SenderLayout<H> layout_{};
  CpuId cpus_{0};
  CpuId mask_words_{0};
  bool permits_closed_{false};
};

}  // namespace shootdown
