#include "tests/ledger/machine.h"

#include <cstddef>
#include <memory>

#include "hal/host/hal.h"
#include "hal/host/machine.h"
#include "hal/timed/accesses.h"
#include "hal/timed/directory.h"

namespace shootdown::ledger {
namespace {

using host::current_machine;
using host::HostHal;

bool counting = false;
Counted result;

Executed& mine() {
  static Executed ignored;
  return counting ? result.executed[current_machine->running().id] : ignored;
}

/// What entry_points.cc reads and writes, while there is a CPU that does it.
class ToDirectory final : public timed::AccessListener {
  void access(const void* address, std::size_t bytes, bool write) override {
    directory().access(CountingHal::this_cpu(), address, bytes, write);
  }
};

/// Each visible operation is followed by one of the next CPU.
class InTurns final : public host::ScheduleSource {
 public:
  explicit InTurns(CpuId cpus) : cpus_(cpus) {}
  bool next(host::Action& action) override {
    cpu_ = (cpu_ + 1) % cpus_;
    action = {.delay = 1, .kind = host::EventKind::preempt, .cpu = cpu_};
    return true;
  }

 private:
  CpuId cpus_;
  CpuId cpu_{0};
};

constexpr std::uint64_t kMostSteps = 10'000'000;

Interrupts interrupts_so_far() {
  const host::IpiCounts& counts = current_machine->interrupts().counts();
  const auto of = [&](IpiMethod method) { return counts.sends[static_cast<unsigned>(method)]; };
  // By group there is a command to each group that has targets.
  return {.unicast = of(IpiMethod::one_by_one),
          .cluster = counts.commands - of(IpiMethod::one_by_one) - of(IpiMethod::all_but_self),
          .shorthand = of(IpiMethod::all_but_self),
          .taken = current_machine->interrupts().delivered()};
}

}  // namespace

std::string run_machine(CpuId cpus, const Programs& programs, Schedule schedule) {
  static const auto kMachine = std::make_unique<host::Machine>();
  InTurns in_turns(cpus);
  kMachine->prepare(
      {.hardware = {.cpus = cpus},
       .programs = {.boot = programs.boot,
                    .program = programs.program,
                    .interrupt = programs.interrupt,
                    .argument = programs.argument},
       .exploration = {.step_limit = kMostSteps,
                       .schedule = schedule == Schedule::in_turns ? &in_turns : nullptr}});
  ToDirectory listener;
  timed::listen(&listener);
  const host::Report& report = kMachine->run();
  timed::listen(nullptr);
  return report.failed() ? report.title : "";
}

void start_counting() {
  result = {.executed = {}, .interrupts = interrupts_so_far()};
  counting = true;
  directory().start();
}

void stop_counting() {
  directory().stop();
  counting = false;
  const Interrupts now = interrupts_so_far();
  Interrupts& before = result.interrupts;
  before = {.unicast = now.unicast - before.unicast,
            .cluster = now.cluster - before.cluster,
            .shorthand = now.shorthand - before.shorthand,
            .taken = now.taken - before.taken};
}

timed::Directory& directory() {
  static timed::Directory one;
  return one;
}

const Counted& counted() { return result; }

void news() { current_machine->changed(); }

// ---- The HAL

void before_access() { current_machine->scheduler().visible(); }
void after_change() { current_machine->changed(); }
void count_locked(const void* word) {
  ++mine().locked;
  directory().access(CountingHal::this_cpu(), word, 1, /*write=*/true);
}

void CountingHal::full_fence() {
  ++mine().fences;
  HostHal::full_fence();
}
CpuId CountingHal::this_cpu() { return HostHal::this_cpu(); }
bool CountingHal::interrupts_enabled() { return HostHal::interrupts_enabled(); }
void CountingHal::disable_interrupts() { HostHal::disable_interrupts(); }
void CountingHal::enable_interrupts() { HostHal::enable_interrupts(); }
bool CountingHal::in_interrupt() { return HostHal::in_interrupt(); }

void CountingHal::write_cr3(std::uint64_t value) {
  ++mine().cr3;
  if ((value & kCr3KeepEntries) != 0) ++mine().cr3_kept;
  HostHal::write_cr3(value);
}
std::uint64_t CountingHal::read_cr3() { return HostHal::read_cr3(); }
void CountingHal::invlpg(VirtAddr address) {
  ++mine().invlpg;
  HostHal::invlpg(address);
}
void CountingHal::invpcid(InvpcidType type, std::uint64_t pcid, VirtAddr address) {
  ++mine().invpcid;
  HostHal::invpcid(type, pcid, address);
}
void CountingHal::write_cr4(std::uint64_t value) {
  ++mine().cr4;
  HostHal::write_cr4(value);
}
std::uint64_t CountingHal::read_cr4() { return HostHal::read_cr4(); }
void CountingHal::invlpgb(const Invlpgb& what) {
  ++mine().invlpgb;
  HostHal::invlpgb(what);
}
void CountingHal::tlbsync() {
  ++mine().tlbsync;
  HostHal::tlbsync();
}

void CountingHal::order_stores_before_ipi() {
  ++mine().fences;
  HostHal::order_stores_before_ipi();
}
void CountingHal::send_call_function_ipi(const CpuMask<kMaxCpus>& targets) {
  HostHal::send_call_function_ipi(targets);
}

void CountingHal::pause() { HostHal::pause(); }
std::uint64_t CountingHal::ticks() { return HostHal::ticks(); }
void CountingHal::trace(const TraceEvent& event) {
  if (event.kind != TraceKind::handler_end) return;
  const bool remote = event.reason == FlushReason::remote_shootdown ||
                      event.reason == FlushReason::remote_wrong_cpu;
  const bool nothing = event.outcome == HandlerOutcome::other_mm ||
                       event.outcome == HandlerOutcome::kernel_mm ||
                       event.outcome == HandlerOutcome::already_fresh;
  if (remote && nothing) ++mine().needless;
  if (event.outcome == HandlerOutcome::full) ++mine().whole;
}
void CountingHal::report_unanswered(const Unanswered& report) {
  HostHal::report_unanswered(report);
}
void CountingHal::fail(const Failure& failure) { HostHal::fail(failure); }

}  // namespace shootdown::ledger
