// A static key is asked, switched off and on again; and kernel text, which that rewrites, is
// otherwise read-only.
#include "hal/x86_64/static_key.h"

#include "kernel-glue/kernel/interrupts.h"
#include "kernel-glue/kernel/self_tests/self_tests.h"
#include "kernel-glue/kernel/tlb.h"

namespace shootdown::kernel {
namespace {

/// Asked on CPU 0 only, so it may be switched while other CPUs run.
constinit x86::StaticKey test_key;

/// Two sites of one key. Not inlined, so that both are really asked each time.
[[gnu::noinline]] std::uint32_t count_on() {
  std::uint32_t on = 0;
  if (x86::key_enabled<test_key>()) ++on;
  if (x86::key_enabled<test_key>()) ++on;
  return on;
}

template <Question kQuestion>
[[gnu::noinline]] bool as_planned(const FlushPlan& plan) {
  return Hal::key<kQuestion>() == answer(plan, kQuestion);
}

void switch_key(bool enabled) {
  InterruptsOff<Hal> guard;
  test_key.set(enabled);
}

}  // namespace

void test_static_key(Report& report) {
  report.expect(count_on() == 2, "a key is born on");
  switch_key(false);
  report.expect(count_on() == 0, "both places of the key jump when it is off");
  switch_key(true);
  report.expect(count_on() == 2, "both places fall through when it is on again");

  const auto text = reinterpret_cast<VirtAddr>(&count_on);
  const auto first = *reinterpret_cast<const volatile std::uint8_t*>(text);
  report.expect(!probe_write(text, first), "kernel text is not writable after the switch");
  const FlushPlan& plan = tlb.plan();
  report.expect(as_planned<Question::is_common>(plan) && as_planned<Question::concurrent>(plan) &&
                    as_planned<Question::has_pcids>(plan) && as_planned<Question::one_half>(plan),
                "the flush core's keys are what boot has planned");
}

}  // namespace shootdown::kernel
