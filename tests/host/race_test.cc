// What ThreadSanitizer reports of simulated CPUs: plain data that they share in no order, and
// nothing else. Built in the tsan variant only.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <functional>

#include "hal/host/hal.h"
#include "hal/host/race_detector.h"
#include "tests/host/machine_fixture.h"

namespace shootdown::host {
namespace {

/// ThreadSanitizer's exit status when it has reported something.
constexpr int kReported = 66;

using Word = HostAtomic<std::uint32_t>;

/// What one CPU writes and another reads.
struct Shared {
  std::uint64_t plain{0};
  Word ready{0};
};

/// Runs both programs, the first one first, on two CPUs. Leaves the process, because
/// ThreadSanitizer's own way out is what the test looks at.
[[noreturn]] void run_and_exit(const std::function<void(Shared&)>& first,
                               const std::function<void(Shared&)>& second,
                               const std::function<void(Shared&)>& interrupt = nullptr) {
  auto* fixture = new MachineFixture({.hardware = {.cpus = 2}});
  auto* shared = new Shared;
  fixture->on(0, [&] { first(*shared); });
  fixture->on(1, [&] { second(*shared); });
  if (interrupt) fixture->on_interrupt([&] { interrupt(*shared); });
  const bool failed = fixture->run().failed();
  std::_Exit(failed ? 2 : 0);
}

void write_plain(Shared& shared) { shared.plain = 1; }
void read_plain(Shared& shared) {
  if (shared.plain == 77) std::_Exit(3);
}

ModelCall<FramePool> pool() { return {&current_machine->frames()}; }

class Races : public testing::Test {
 protected:
  // The child starts anew: in a forked one ThreadSanitizer takes fibers for threads that are lost.
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

TEST_F(Races, PlainDataWithoutOrderIsReported) {
  EXPECT_EXIT(run_and_exit(write_plain, read_plain), testing::ExitedWithCode(kReported),
              "data race");
}

TEST_F(Races, ReleaseAndAcquireOrder) {
  EXPECT_EXIT(run_and_exit(
                  [](Shared& shared) {
                    write_plain(shared);
                    shared.ready.store(1, std::memory_order_release);
                  },
                  [](Shared& shared) {
                    while (shared.ready.load(std::memory_order_acquire) == 0) HostHal::pause();
                    read_plain(shared);
                  }),
              testing::ExitedWithCode(0), "");
}

TEST_F(Races, ARelaxedStoreDoesNotOrder) {
  EXPECT_EXIT(run_and_exit(
                  [](Shared& shared) {
                    write_plain(shared);
                    shared.ready.store(1, std::memory_order_relaxed);
                  },
                  [](Shared& shared) {
                    while (shared.ready.load(std::memory_order_acquire) == 0) HostHal::pause();
                    read_plain(shared);
                  }),
              testing::ExitedWithCode(kReported), "data race");
}

TEST_F(Races, ARelaxedLoadDoesNotOrder) {
  EXPECT_EXIT(run_and_exit(
                  [](Shared& shared) {
                    write_plain(shared);
                    shared.ready.store(1, std::memory_order_release);
                  },
                  [](Shared& shared) {
                    while (shared.ready.load(std::memory_order_relaxed) == 0) HostHal::pause();
                    read_plain(shared);
                  }),
              testing::ExitedWithCode(kReported), "data race");
}

TEST_F(Races, AReadModifyWriteOrdersBothWays) {
  EXPECT_EXIT(run_and_exit(
                  [](Shared& shared) {
                    write_plain(shared);
                    shared.ready.fetch_add(1, std::memory_order_acq_rel);
                  },
                  [](Shared& shared) {
                    std::uint32_t one = 1;
                    while (!shared.ready.compare_exchange(one, 2, std::memory_order_acquire)) {
                      one = 1;
                      HostHal::pause();
                    }
                    read_plain(shared);
                  }),
              testing::ExitedWithCode(0), "");
}

TEST_F(Races, AFailedCompareExchangeReleasesNothing) {
  EXPECT_EXIT(run_and_exit(
                  [](Shared& shared) {
                    write_plain(shared);
                    std::uint32_t seven = 7;
                    shared.ready.compare_exchange(seven, 1, std::memory_order_acq_rel);
                  },
                  [](Shared& shared) {
                    static_cast<void>(shared.ready.load(std::memory_order_acquire));
                    read_plain(shared);
                  }),
              testing::ExitedWithCode(kReported), "data race");
}

TEST_F(Races, AnInterruptOrdersNothingByItself) {
  EXPECT_EXIT(run_and_exit(
                  [](Shared& shared) {
                    write_plain(shared);
                    HostCpuMask target;
                    target.set(1);
                    HostHal::send_call_function_ipi(target);
                  },
                  [](Shared&) { HostHal::full_fence(); }, read_plain),
              testing::ExitedWithCode(kReported), "data race");
}

TEST_F(Races, AFrameIsHandedOnInOrder) {
  EXPECT_EXIT(run_and_exit(
                  [](Shared& shared) {
                    const std::uint32_t frame = pool()->allocate(FrameKind::data, 0, 0, 0);
                    write_plain(shared);
                    pool()->release(frame, 0, 0);
                  },
                  [](Shared& shared) {
                    static_cast<void>(pool()->allocate(FrameKind::data, 0, 0, 0));
                    read_plain(shared);
                  }),
              testing::ExitedWithCode(0), "");
}

TEST_F(Races, RunsFollowEachOther) {
  EXPECT_EXIT(
      {
        MachineFixture fixture({.hardware = {.cpus = 2}});
        std::uint64_t plain = 0;
        for (int i = 0; i < 2; ++i) {
          fixture.restart({.hardware = {.cpus = 2}});
          // The second time CPU 1 writes, after what CPU 0 did in a run that was abandoned.
          fixture.on(static_cast<CpuId>(i), [&] {
            ++plain;
            HostHal::disable_interrupts();
            HostHal::pause();
          });
          fixture.run();
        }
        std::_Exit(plain == 2 ? 0 : 2);
      },
      testing::ExitedWithCode(0), "");
}

TEST_F(Races, WhatTheModelSharesIsItsOwn) {
  EXPECT_EXIT(run_and_exit(
                  [](Shared& shared) {
                    const ModelScope scope;
                    write_plain(shared);
                  },
                  [](Shared& shared) {
                    const ModelScope scope;
                    read_plain(shared);
                  }),
              testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace shootdown::host
