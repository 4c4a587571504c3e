// O29 is seen to fire for each counter that it watches.
#include <gtest/gtest.h>

#include <string>

#include "tests/oracles/trial.h"

namespace shootdown::fuzz {
namespace {

/// CPU 0 flushes a page that CPU 1 uses as well, then CPU 1 flushes another one.
Script two_flushes() {
  return {{await(1), op("read page=1"), op("protect mm=0 page=1"), go(2)},
          {op("read page=1"), go(1), await(2), op("protect mm=0 page=2")}};
}

/// The counter is one too high on `cpu` from the end of the first flush function there on.
void expect_wrong(const char* name, Counter Counters::* counter, CpuId cpu) {
  Trial trial;
  bool once = false;
  trial.after(TraceKind::handler_end, cpu, [&] {
    if (once) return;
    once = true;
    ++(trial.own(cpu).counters.*counter);
  });
  trial.expect("O29 the counter " + std::string(name) + " is wrong", two_flushes());
}

TEST(O29, FiresWhenASendIsCountedTwice) {
  expect_wrong("remote_flush_sent", &Counters::remote_flush_sent, 0);
}

TEST(O29, FiresWhenACallIsCountedTwiceWhereItIsReceived) {
  expect_wrong("remote_flush_received", &Counters::remote_flush_received, 1);
}

TEST(O29, FiresWhenATargetTooManyIsCounted) {
  expect_wrong("targets_queued", &Counters::targets_queued, 0);
}

TEST(O29, FiresWhenAPageTooManyIsCounted) {
  expect_wrong("local_flush_one", &Counters::local_flush_one, 0);
  expect_wrong("local_flush_one", &Counters::local_flush_one, 1);
}

TEST(O29, FiresWhenAWholeFlushTooManyIsCounted) {
  expect_wrong("local_flush_all", &Counters::local_flush_all, 0);
}

TEST(O29, FiresWhenABroadcastIsCountedThatNobodyIssued) {
  expect_wrong("broadcasts", &Counters::broadcasts, 0);
}

TEST(O29, FiresWhenAnInvalidationIsNotCounted) {
  Trial trial;
  trial.after(TraceKind::handler_end, 0, [&] { HostHal::invlpg(0); });
  trial.expect("O29 the counter local_flush_one is wrong", two_flushes());
}

}  // namespace
}  // namespace shootdown::fuzz
