#include "fuzz/oracles/core_state/needless.h"

#include "fuzz/oracles/reports/names.h"

namespace shootdown::fuzz {

void NeedlessChecker::start() {
  flushing_ = {};
  to_interrupt_.fill({});
}

void NeedlessChecker::on_flush_begun(CpuId cpu) {
  const unsigned thread = core_.truth().thread_on(cpu);
  in_mask_[thread] = core_.mask(requests_.flush(thread).mm);
  flushing_.set(thread);
}

void NeedlessChecker::on_call_queued(CpuId cpu, CpuId target, bool needs_interrupt) {
  if (needs_interrupt) to_interrupt_[cpu].set(target);
  check_target(cpu, target, Asked::by_interrupt);
}

void NeedlessChecker::check_target(CpuId cpu, CpuId target, Asked asked) const {
  const RequestChecker::Flush& flush = requests_.flush_on(cpu);
  if (flush.request == nullptr || flush.mm == kNoMm) return;
  const Truth& truth = core_.truth();
  const bool interrupts = asked == Asked::by_interrupt;
  // Not strings yet: these would be allocated for each target, and hardly any is reported.
  const char* const subject = interrupts ? "a flush interrupts " : "a hypervisor is to flush ";
  const char* const verb = interrupts ? "queues a call for " : "asks for a flush of ";
  if (!in_mask_[core_.truth().thread_on(cpu)].test(target)) {
    truth.fail(Oracle::o19, std::string(subject) + "a CPU outside the mask",
               cpu_name(target) + " was not in the mask of " + mm_name(flush.mm) +
                   " at any time since the flush began.",
               {.step = flush.begin, .cpu = flush.initiator, .what = "starts the flush"},
               truth.event(cpu, verb + cpu_name(target)));
  }
  const Core::Laziness& state = core_.laziness(target);
  if (state.lazy && state.since < flush.begin && !flush.request->frees_tables) {
    truth.fail(Oracle::o19, std::string(subject) + "a lazy CPU without need",
               cpu_name(target) + " was lazy before the flush began, and no tables are freed.",
               {.step = state.since, .cpu = target, .what = "became lazy"},
               truth.event(cpu, verb + cpu_name(target)));
  }
}

void NeedlessChecker::on_remote_flush(CpuId cpu, const host::HostCpuMask& targets) const {
  if (targets.empty()) {
    core_.truth().fail(Oracle::o19, "a hypervisor is asked to flush no CPU",
                       cpu_name(cpu) + " pays for a hypercall or a message that has no effect.", {},
                       core_.truth().event(cpu, "asks for it"));
  }
  targets.for_each([&](CpuId target) {
    if (target != cpu) check_target(cpu, target, Asked::by_hypervisor);
  });
}

void NeedlessChecker::on_ipi(CpuId cpu, const host::HostCpuMask& targets) {
  const Truth& truth = core_.truth();
  if (targets.empty() || targets.test(cpu)) {
    truth.fail(Oracle::o19, "an interrupt is sent to no CPU or to the sender",
               cpu_name(cpu) + " touches the interrupt controller for nothing.", {},
               truth.event(cpu, "sends the interrupt"));
  }
  targets.for_each([&](CpuId target) {
    if (to_interrupt_[cpu].test(target)) return;
    truth.fail(Oracle::o19, "a CPU is interrupted without a call for it",
               cpu_name(target) + " has no call of " + cpu_name(cpu) +
                   ", or its word was in use and that interrupt is on its way.",
               {}, truth.event(cpu, "sends the interrupt"));
  });
  to_interrupt_[cpu] = {};
}

}  // namespace shootdown::fuzz
