// The SMP function call without any flush: each function runs exactly once, on the right CPU, in
// interrupt context with interrupts off; and no CPU deadlocks when every CPU calls all others.
#include <array>
#include <utility>

#include "kernel-glue/kernel/self_tests/self_tests.h"
#include "kernel-glue/kernel/self_tests/support.h"
#include "kernel-glue/kernel/unanswered.h"

namespace shootdown::kernel {
namespace {

constexpr std::uint64_t kCalls = 100;

/// Calls received, per CPU.
class Tally {
 public:
  /// The remote function.
  static Answered receive(const CallPost<Hal>& post, Acknowledgement<Hal> acknowledgement) {
    static_cast<Tally*>(post.argument)->receive_here();
    return std::move(acknowledgement).give();
  }

  [[nodiscard]] std::uint64_t count(CpuId cpu) const {
    return counts_[cpu].load(std::memory_order_relaxed);
  }
  [[nodiscard]] std::uint64_t total() const {
    std::uint64_t sum = 0;
    for (CpuId cpu = 0; cpu < cpu_count(); ++cpu) sum += count(cpu);
    return sum;
  }
  /// True if some call ran outside an interrupt handler or with interrupts on.
  [[nodiscard]] bool wrong_context() const {
    return wrong_context_.load(std::memory_order_relaxed);
  }

 private:
  void receive_here() {
    counts_[Hal::this_cpu()].fetch_add(1, std::memory_order_relaxed);
    if (!Hal::in_interrupt() || Hal::interrupts_enabled()) {
      wrong_context_.store(true, std::memory_order_relaxed);
    }
  }

  std::array<x86::Atomic<std::uint64_t>, x86::kMaxCpus> counts_{};
  x86::Atomic<bool> wrong_context_{false};
};

/// One SMP function call; true if it queued every other CPU of `targets` and ran the local part
/// with interrupts off.
bool call_all(const Mask& targets, Tally& tally) {
  PreemptionOff<Hal> guard;
  bool ran_local = false;
  Mask others = targets;
  others.clear(Hal::this_cpu());
  const CallOutcome outcome = tlb.calls.call(
      targets, [](CpuId) { return true; }, Tally::receive, &tally,
      [&] { ran_local = !Hal::interrupts_enabled(); });
  return outcome.queued == others.count() && ran_local;
}

/// The first reports of a CPU that does not answer, and how many there were.
constinit std::array<Unanswered, 2> first_reports{};
constinit x86::Atomic<std::uint64_t> report_count{0};
constinit x86::Atomic<bool> waits_with_interrupts_off{false};

void note_report(const Unanswered& report) {
  const std::uint64_t earlier = report_count.load(std::memory_order_relaxed);
  if (earlier < first_reports.size()) first_reports[earlier] = report;
  if (!Hal::interrupts_enabled()) waits_with_interrupts_off.store(true, std::memory_order_relaxed);
  report_count.fetch_add(1, std::memory_order_release);
}

}  // namespace

void test_ipi_sequential(Report& report) {
  Tally tally;
  for (std::uint64_t round = 0; round < kCalls; ++round) {
    for (CpuId cpu = 1; cpu < cpu_count(); ++cpu) {
      Mask target;
      target.set(cpu);
      report.expect(call_all(target, tally), "one CPU was called");
      report.expect(tally.count(cpu) == round + 1, "the function ran before the call returned");
    }
  }
  report.expect(tally.total() == kCalls * (cpu_count() - 1), "no other CPU ran it");
  report.expect(!tally.wrong_context(), "it ran in interrupt context");
}

void test_ipi_broadcast_count(Report& report) {
  Tally tally;
  for (std::uint64_t round = 0; round < kCalls; ++round) {
    report.expect(call_all(other_cpus(), tally), "all other CPUs were called");
    report.expect(tally.total() == (round + 1) * (cpu_count() - 1), "each ran it once");
  }
  for (CpuId cpu = 1; cpu < cpu_count(); ++cpu) {
    report.expect(tally.count(cpu) == kCalls, "every CPU ran it once a round");
  }
  report.expect(tally.count(0) == 0, "the caller did not run it remotely");
  report.expect(!tally.wrong_context(), "it ran in interrupt context");
}

void test_ipi_concurrent_broadcast(Report& report) {
  Tally tally;
  Barrier barrier;
  x86::Atomic<bool> failed{false};
  auto everybody_calls = [&](CpuId cpu) {
    Mask all = other_cpus();
    all.set(0);
    Random random{cpu};
    for (std::uint64_t round = 0; round < kCalls; ++round) {
      // Together at first, then apart by a few pauses: both orders of every pair occur.
      barrier.wait();
      for (std::uint64_t pauses = random.below(32); pauses > 0; --pauses) x86::pause();
      if (!call_all(all, tally)) failed.store(true, std::memory_order_relaxed);
    }
  };
  run_on_all(everybody_calls);
  report.expect(!failed.load(std::memory_order_relaxed), "every call reached all others");
  for (CpuId cpu = 0; cpu < cpu_count(); ++cpu) {
    report.expect(tally.count(cpu) == kCalls * (cpu_count() - 1),
                  "every CPU ran each call of every other once");
  }
  report.expect(!tally.wrong_context(), "all ran in interrupt context");
}

void test_ipi_unanswered(Report& report) {
  constexpr CpuId kDeaf = 1;
  constexpr std::uint64_t kStallLimit = 100;
  Tally tally;
  x86::Atomic<bool> deaf{false};
  report_count.store(0, std::memory_order_relaxed);
  unanswered_hook.store(note_report, std::memory_order_release);
  tlb.calls.set_stall_limit(kStallLimit);
  // CPU 1 takes no interrupts until it has been reported twice. A third report may come before it
  // has looked.
  auto be_deaf = [&](CpuId) {
    const InterruptsOff<Hal> guard;
    deaf.store(true, std::memory_order_release);
    wait_until([] { return report_count.load(std::memory_order_acquire) >= 2; }, "two reports");
  };
  start_on(kDeaf, be_deaf);
  wait_until([&] { return deaf.load(std::memory_order_acquire); }, "CPU 1 to become deaf");
  Mask target;
  target.set(kDeaf);
  report.expect(call_all(target, tally), "the call was answered in the end");
  wait_for(kDeaf);
  tlb.calls.set_stall_limit(tlb.config().limits.stall_limit);
  unanswered_hook.store(nullptr, std::memory_order_release);
  report.expect(!waits_with_interrupts_off.load(std::memory_order_relaxed),
                "the waiting CPU has interrupts on, and answers others");
  const Unanswered& second = first_reports[1];
  report.expect(second.sender == 0, "the report names the waiting CPU");
  report.expect(second.target == kDeaf, "the report names the CPU that does not answer");
  report.expect(second.pauses == 2 * kStallLimit, "the second report came after twice as long");
  report.expect(second.now > second.since, "the report says since when");
}

}  // namespace shootdown::kernel
