// The C interface on the modelled machine: each entry point does what the core's does, and tokens
// say what may go.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <functional>
#include <string>

#include "core/config.h"
#include "kernel-glue/embed/model/entry.h"
#include "kernel-glue/embed/shootdown.h"
#include "tests/embed/c_interface_fixture.h"

namespace shootdown::host {
namespace {

TEST(CConfiguration, TheUsualOneIsTheCores) {
  const sd_config usual = SD_CONFIG;
  const Config made = embed::config_on_model(usual);
  const Config core;
  EXPECT_EQ(sd_config_refusal(&usual), nullptr);
  EXPECT_EQ(made.processor.pcid, core.processor.pcid);
  EXPECT_EQ(made.processor.invpcid, core.processor.invpcid);
  // The library cannot see whether entries of the kernel have the bit G, so the kernel says it.
  EXPECT_FALSE(made.processor.global_pages);
  EXPECT_EQ(made.processor.invlpg_leaves_globals, core.processor.invlpg_leaves_globals);
  EXPECT_EQ(made.isolation.enabled, core.isolation.enabled);
  EXPECT_EQ(made.isolation.defer_user_pages, core.isolation.defer_user_pages);
  EXPECT_EQ(made.targets.early_acknowledgement, core.targets.early_acknowledgement);
  EXPECT_EQ(made.targets.closed_waits, core.targets.closed_waits);
  EXPECT_EQ(made.targets.mask_policy, core.targets.mask_policy);
  EXPECT_EQ(made.targets.lazy_test, core.targets.lazy_test);
  EXPECT_EQ(made.targets.target_test, core.targets.target_test);
  EXPECT_EQ(made.targets.trim_interval, core.targets.trim_interval);
  EXPECT_EQ(made.broadcast.enabled, core.broadcast.enabled);
  EXPECT_EQ(made.broadcast.max_pages, core.broadcast.max_pages);
  EXPECT_EQ(made.broadcast.threshold, core.broadcast.threshold);
  EXPECT_EQ(made.broadcast.global_asids, core.broadcast.global_asids);
  EXPECT_EQ(made.limits.ceiling_strides, core.limits.ceiling_strides);
  EXPECT_EQ(made.limits.stall_limit, core.limits.stall_limit);
}

TEST(CConfiguration, EachSwitchIsPassedOn) {
  sd_config from = SD_CONFIG;
  from.pcid = from.invpcid = 0;
  from.global_pages = 1;
  from.invlpg_leaves_globals = from.isolation = from.defer_user_pages = 1;
  from.early_acknowledgement = from.masks_kept_lazily = from.lazy_test_up_front = 1;
  from.targets_by_loaded_mm = from.broadcast = from.closed_waits = 1;
  from.trim_interval = 7;
  from.ceiling_strides = 8;
  from.broadcast_pages = 9;
  from.broadcast_threshold = 10;
  from.global_asids = 11;
  from.stall_limit = 12;
  const Config made = embed::config_on_model(from);
  EXPECT_FALSE(made.processor.pcid || made.processor.invpcid);
  EXPECT_TRUE(made.processor.global_pages);
  EXPECT_TRUE(made.processor.invlpg_leaves_globals && made.isolation.enabled &&
              made.isolation.defer_user_pages && made.targets.early_acknowledgement &&
              made.targets.closed_waits && made.broadcast.enabled);
  EXPECT_EQ(made.targets.mask_policy, MaskPolicy::kept_lazily);
  EXPECT_EQ(made.targets.lazy_test, LazyTest::up_front);
  EXPECT_EQ(made.targets.target_test, TargetTest::by_loaded_mm);
  EXPECT_EQ(made.targets.trim_interval, 7U);
  EXPECT_EQ(made.limits.ceiling_strides, 8U);
  EXPECT_EQ(made.broadcast.max_pages, 9U);
  EXPECT_EQ(made.broadcast.threshold, 10U);
  EXPECT_EQ(made.broadcast.global_asids, 11U);
  EXPECT_EQ(made.limits.stall_limit, 12U);
}

TEST(CConfiguration, AnotherHeaderIsRefused) {
  sd_config config = SD_CONFIG;
  ++config.version;
  EXPECT_NE(sd_config_refusal(&config), nullptr);
  config = SD_CONFIG;
  config.bytes -= 8;
  EXPECT_NE(sd_config_refusal(&config), nullptr);
  config = SD_CONFIG;
  config.trim_interval = 0;
  EXPECT_NE(sd_config_refusal(&config), nullptr);
  EXPECT_NE(sd_config_refusal(nullptr), nullptr);
}

/// What another CPU can still read after each flush, where it has read the page before.
struct TwoCpus : CInterface {
  using CInterface::CInterface;
  using Flush = std::function<sd_token()>;

  static void wait_for(const HostHal::Atomic<bool>& sign) {
    while (!sign.load(std::memory_order_acquire)) HostHal::pause();
  }

  void expect_flushed(const Flush& flush, std::uint32_t permits, VirtAddr address = kPage) {
    if (address == kPage) {
      tables.map(kPage, kUserLeaf);
    } else {
      tables.entry(kKernelPage, 4) = 0;
      tables.map(kKernelPage, kUserLeaf | kPteGlobal);
    }
    bool cached = false;
    bool gone = false;
    bool done = false;
    fixture.on(0, [&, address] {
      begin();
      switch_to(mm);
      ready.store(true, std::memory_order_release);
      wait_for(flushed);
      gone = !can_read(address);
    });
    fixture.on(1, [&, address] {
      wait_for(ready);
      begin();
      switch_to(mm);
      cached = can_read(address);
      tables.entry(address, 1) = 0;
      token = flush();
      done = true;
      flushed.store(true, std::memory_order_release);
    });
    const Report& report = fixture.run();
    EXPECT_FALSE(report.failed()) << report.title << report.detail;
    EXPECT_TRUE(cached && gone && done);
    EXPECT_EQ(token.permits & ~std::uint32_t{64}, permits);
  }

  HostHal::Atomic<bool> ready{false};
  HostHal::Atomic<bool> flushed{false};
  sd_token token{};
};

constexpr std::uint32_t kQuiet = SD_USER_RETURN | SD_DATA;
constexpr std::uint32_t kTables = kQuiet | SD_WALKED;

TEST_F(TwoCpus, ARange) {
  expect_flushed([&] { return sd_flush_range(&system, &mm, kPage, kNext, 12); }, kQuiet);
}
TEST_F(TwoCpus, APage) {
  expect_flushed([&] { return sd_flush_page(&system, &mm, kPage); }, kQuiet);
}
TEST_F(TwoCpus, AnMm) {
  expect_flushed([&] { return sd_flush_mm(&system, &mm); }, kQuiet);
}
TEST_F(TwoCpus, FreedTables) {
  expect_flushed([&] { return sd_flush_freed_tables(&system, &mm, kPage, kNext, 12); }, kTables);
}
TEST_F(TwoCpus, TablesThatNoWalkerIsIn) {
  expect_flushed(
      [&] {
        sd_token tables_token = sd_flush_freed_tables(&system, &mm, kPage, kNext, 12);
        const sd_token quiet = sd_exclude_walkers(&system, &tables_token);
        EXPECT_EQ(tables_token.permits, 0U);
        return quiet;
      },
      kTables | SD_TABLES);
}
TEST_F(TwoCpus, Early) {
  config.early_acknowledgement = 1;
  expect_flushed([&] { return sd_flush_early(&system, &mm, kPage, kNext, 12); }, SD_USER_RETURN);
}
TEST_F(TwoCpus, Serial) {
  config.serial = 1;
  expect_flushed([&] { return sd_flush_page(&system, &mm, kPage); }, kQuiet);
  EXPECT_FALSE(embed::config_on_model(config).targets.concurrent);
}
TEST_F(TwoCpus, ABatch) {
  sd_batch batch{};
  EXPECT_EQ(sd_batch_is_empty(&batch), 1);
  expect_flushed(
      [&] {
        sd_batch_add(&system, &batch, &mm);
        EXPECT_EQ(sd_batch_is_empty(&batch), 0);
        const sd_token flushed_batch = sd_batch_flush(&system, &batch);
        sd_require(&system, &flushed_batch, &mm, SD_DATA);
        return flushed_batch;
      },
      kQuiet);
}
TEST_F(TwoCpus, ASettledBatch) {
  sd_batch batch{};
  expect_flushed(
      [&] {
        sd_batch_add(&system, &batch, &mm);
        sd_batch_settle(&system, &mm);
        return sd_token{};
      },
      0);
}
TEST_F(TwoCpus, TheKernelsHalf) {
  expect_flushed([&] { return sd_flush_kernel_range(&system, kKernelPage, kKernelPage + 0x1000); },
                 kQuiet | SD_KERNEL, kKernelPage);
}
TEST_F(TwoCpus, Everything) {
  expect_flushed([&] { return sd_flush_all(&system); }, kTables | SD_KERNEL, kKernelPage);
}
TEST_F(TwoCpus, ASubmittedRange) {
  sd_pending pending{};
  expect_flushed(
      [&] {
        sd_submit_range(&system, &pending, &mm, kPage, kNext, 12);
        EXPECT_EQ(sd_is_done(&system, &pending), 0) << "CPU 0 has not run since";
        while (sd_is_done(&system, &pending) == 0) HostHal::pause();
        const sd_token quiet = sd_complete(&system, &pending);
        sd_require(&system, &quiet, &mm, SD_DATA);
        return quiet;
      },
      kQuiet);
}
TEST_F(TwoCpus, SubmittedFreedTablesThatAreWaitedFor) {
  sd_pending pending{};
  expect_flushed(
      [&] {
        sd_submit_freed_tables(&system, &pending, &mm, kPage, kNext, 12);
        return sd_complete(&system, &pending);
      },
      kTables);
}
TEST_F(TwoCpus, APlaceIsUsedAgain) {
  sd_pending pending{};
  expect_flushed(
      [&] {
        sd_submit_range(&system, &pending, &mm, kNext, kNext + 0x1000, 12);
        static_cast<void>(sd_complete(&system, &pending));
        sd_submit_range(&system, &pending, &mm, kPage, kNext, 12);
        return sd_complete(&system, &pending);
      },
      kQuiet);
}

/// A kernel whose flushes may have interrupts off.
struct TwoClosedCpus : TwoCpus {
  TwoClosedCpus() : TwoCpus(2, /*closed_waits=*/true) {}
};

/// Each of the two waits for the other.
TEST_F(TwoClosedCpus, FlushEachOther) {
  tables.map(kPage, kUserLeaf);
  tables.map(kNext, kUserLeaf);
  std::array<bool, 2> gone{};
  for (CpuId cpu = 0; cpu < 2; ++cpu) {
    const VirtAddr address = cpu == 0 ? kPage : kNext;
    HostHal::Atomic<bool>& mine = cpu == 0 ? ready : flushed;
    HostHal::Atomic<bool>& others_sign = cpu == 0 ? flushed : ready;
    fixture.on(cpu, [this, cpu, address, &mine, &others_sign, &gone] {
      if (cpu == 1) wait_for(ready);
      begin();
      switch_to(mm);
      EXPECT_TRUE(can_read(kPage) && can_read(kNext));
      mine.store(true, std::memory_order_release);
      wait_for(others_sign);
      tables.entry(address, 1) = 0;
      HostHal::disable_interrupts();
      static_cast<void>(sd_flush_page(&system, &mm, address));
      EXPECT_FALSE(HostHal::interrupts_enabled());
      gone[cpu] = !can_read(address);
      HostHal::enable_interrupts();
    });
  }
  const Report& report = fixture.run();
  EXPECT_FALSE(report.failed()) << report.title << report.detail;
  EXPECT_TRUE(gone[0] && gone[1]);
}
TEST_F(TwoClosedCpus, WaitForASubmittedFlush) {
  sd_pending pending{};
  expect_flushed(
      [&] {
        HostHal::disable_interrupts();
        sd_submit_range(&system, &pending, &mm, kPage, kNext, 12);
        const sd_token quiet = sd_complete(&system, &pending);
        HostHal::enable_interrupts();
        return quiet;
      },
      kQuiet);
}

TEST_F(TwoCpus, ALazyCpuIsSparedAndSeesTheFlushWhenItComesBack) {
  tables.map(kPage, kUserLeaf);
  bool gone = false;
  fixture.on(0, [&] {
    begin();
    switch_to(mm);
    EXPECT_TRUE(can_read(kPage));
    HostHal::disable_interrupts();
    sd_enter_lazy(&system);
    HostHal::enable_interrupts();
    ready.store(true, std::memory_order_release);
    wait_for(flushed);
    switch_to(mm);
    gone = !can_read(kPage);
  });
  fixture.on(1, [&] {
    wait_for(ready);
    begin();
    tables.entry(kPage, 1) = 0;
    token = sd_flush_page(&system, &mm, kPage);
    flushed.store(true, std::memory_order_release);
  });
  EXPECT_FALSE(fixture.run().failed());
  EXPECT_TRUE(gone);
  for (unsigned i = 0; sd_counter_name(i) != nullptr; ++i) {
    if (std::string(sd_counter_name(i)) == "targets_queued") {
      EXPECT_EQ(sd_counter(&system, i), 0U);
    }
  }
}

// ---- One CPU: what else there is

TEST_F(OneCpu, ATemporarySpaceComesAndGoes) {
  others.map(kPage, kUserLeaf);
  EXPECT_EQ(reported([&] {
              switch_to(mm);
              HostHal::disable_preemption();
              sd_temporary place{};
              sd_temporary_begin(&system, &place, &other);
              EXPECT_TRUE(can_read(kPage));
              EXPECT_FALSE(HostHal::interrupts_enabled());
              EXPECT_EQ(sd_user_access_ok(&system, &mm), 0);
              sd_temporary_end(&system, &place);
              EXPECT_TRUE(HostHal::interrupts_enabled());
              EXPECT_FALSE(can_read(kPage));
              EXPECT_EQ(sd_user_access_ok(&system, &mm), 1);
              HostHal::enable_preemption();
            }),
            "");
}

TEST_F(OneCpu, AnMmRetiresAndACpuGoes) {
  EXPECT_EQ(reported([&] {
              switch_to(mm);
              HostHal::disable_interrupts();
              sd_leave_mm(&system);
              HostHal::enable_interrupts();
              sd_token last = sd_retire_mm(&system, &mm);
              sd_require(&system, &last, &mm, SD_ROOT | SD_DATA);
              sd_spend(&system, &last);
              EXPECT_EQ(last.permits, 0U);
              switch_to(*sd_kernel_mm(&system));
              HostHal::disable_interrupts();
              sd_cpu_offline(&system);
              sd_cpu_online(&system);
              HostHal::enable_interrupts();
            }),
            "");
}

TEST_F(OneCpu, ChangesOfCr4FlushWhatTheyMust) {
  EXPECT_EQ(reported([&] {
              HostHal::disable_interrupts();
              sd_change_cr4(&system, 0, kCr4GlobalPages);
              HostHal::enable_interrupts();
              EXPECT_EQ(HostHal::read_cr4() & kCr4GlobalPages, 0U);
            }),
            "");
}

TEST_F(OneCpu, TheWayToUserModeAndBackUnderIsolation) {
  config.isolation = 1;
  config.global_pages = 0;
  EXPECT_EQ(reported([&] {
              switch_to(mm);
              sd_entry_block block{};
              HostHal::disable_interrupts();
              const std::uint64_t kernels = HostHal::read_cr3();
              sd_prepare_return_to_user(&system, &block);
              sd_load_user_root(&block);
              EXPECT_EQ(HostHal::read_cr3() & ~std::uint64_t{0xfff}, others.cr3(0));
              const std::uint64_t held = sd_enter_nmi(&block);
              EXPECT_EQ(HostHal::read_cr3(), kernels);
              sd_leave_nmi(&block, held);
              EXPECT_EQ(HostHal::read_cr3(), held);
              sd_enter_from_user(&block);
              EXPECT_EQ(HostHal::read_cr3(), kernels);
              HostHal::enable_interrupts();
            }),
            "");
}

}  // namespace
}  // namespace shootdown::host
