// What is misused through the C interface is told, in a sentence.
#include <gtest/gtest.h>

#include "kernel-glue/embed/shootdown.h"
#include "tests/embed/c_interface_fixture.h"

namespace shootdown::host {
namespace {

TEST_F(OneCpu, ATokenOfAnotherSpace) {
  expect_refusal("a token of one space is used for another", [&] {
    const sd_token token = sd_flush_mm(&system, &mm);
    sd_require(&system, &token, &other, SD_DATA);
  });
}
TEST_F(OneCpu, ATokenThatDoesNotPermitTables) {
  expect_refusal("a token does not permit what is done", [&] {
    const sd_token token = sd_flush_mm(&system, &mm);
    sd_require(&system, &token, &mm, SD_TABLES);
  });
}
TEST_F(OneCpu, WalkersOfNoTables) {
  expect_refusal("a token does not permit what is done", [&] {
    sd_token token = sd_flush_mm(&system, &mm);
    static_cast<void>(sd_exclude_walkers(&system, &token));
  });
}
TEST_F(OneCpu, ATokenThatNoFlushHasMade) {
  expect_refusal("a token is used that no flush has made", [&] {
    const sd_token token{};
    sd_require(&system, &token, &mm, 0);
  });
}
TEST_F(OneCpu, AKernelsTokenForASpace) {
  expect_refusal("a token of the kernel's half is used for a space", [&] {
    const sd_token token = sd_flush_all(&system);
    sd_require(&system, &token, &mm, SD_DATA);
  });
}
TEST_F(OneCpu, ASpacesTokenForTheKernel) {
  expect_refusal("a token of a space is used for none", [&] {
    const sd_token token = sd_flush_mm(&system, &mm);
    sd_require(&system, &token, nullptr, SD_DATA);
  });
}
#ifdef SD_DEBUG
TEST_F(OneCpu, ACopyOfASpentToken) {
  expect_refusal("a token is used that was spent", [&] {
    sd_token token = sd_flush_mm(&system, &mm);
    const sd_token copy = token;
    sd_spend(&system, &token);
    sd_require(&system, &copy, &mm, SD_DATA);
  });
}
#endif

TEST_F(OneCpu, AnEmptyRange) {
  expect_refusal("a range to flush is empty",
                 [&] { static_cast<void>(sd_flush_range(&system, &mm, kPage, kPage, 12)); });
}
TEST_F(OneCpu, ARangeInsidePagesIsFlushedWhole) {
  tables.map(kPage, kUserLeaf);
  tables.map(kNext, kUserLeaf);
  EXPECT_EQ(reported([&] {
              switch_to(mm);
              EXPECT_TRUE(can_read(kPage) && can_read(kNext));
              tables.entry(kPage, 1) = tables.entry(kNext, 1) = 0;
              static_cast<void>(sd_flush_range(&system, &mm, kPage + 0xfff, kNext + 1, 12));
              EXPECT_FALSE(can_read(kPage) || can_read(kNext));
            }),
            "");
}
TEST_F(OneCpu, ASpaceBeforeItsInitialisation) {
  expect_refusal("an sd_mm is used before sd_mm_init", [&] {
    sd_mm fresh{};
    static_cast<void>(sd_flush_mm(&system, &fresh));
  });
}
TEST_F(OneCpu, ASwitchToASpaceBeforeItsInitialisation) {
  expect_refusal("an sd_mm is used before sd_mm_init", [&] {
    sd_mm fresh{};
    switch_to(fresh);
  });
}
TEST_F(OneCpu, ALoadedSpaceIsInitialisedAgain) {
  expect_refusal("an mm is initialised while a CPU has it loaded", [&] {
    switch_to(mm);
    sd_mm_init(&system, &mm, tables.cr3(0), 0);
  });
}
TEST_F(OneCpu, ARootWithLowBits) {
  expect_refusal("a root is the physical address of a page", [&] {
    sd_mm fresh{};
    sd_mm_init(&system, &fresh, tables.cr3(0) | 8, 0);
  });
}
TEST_F(OneCpu, ACpuThatIsNotOnline) {
  expect_refusal("a CPU flushes that is not up", [&] {
    HostHal::disable_interrupts();
    sd_cpu_offline(&system);
    HostHal::enable_interrupts();
    static_cast<void>(sd_flush_mm(&system, &mm));
  });
}
TEST_F(OneCpu, ACpuThatComesOnlineTwice) {
  expect_refusal("a CPU is brought up that has not gone offline", [&] {
    HostHal::disable_interrupts();
    sd_cpu_online(&system);
  });
}
TEST_F(OneCpu, ASystemTwice) {
  expect_refusal("a system is initialised twice",
                 [&] { sd_init(&system, &config, kernel.cr3(0)); });
}
TEST_F(OneCpu, NullPointers) {
  expect_refusal("a null or unaligned sd_mm",
                 [&] { static_cast<void>(sd_flush_mm(&system, nullptr)); });
}
TEST_F(OneCpu, AFlushWithInterruptsOff) {
  expect_refusal("a flush needs interrupts on", [&] {
    HostHal::disable_interrupts();
    static_cast<void>(sd_flush_mm(&system, &mm));
  });
}

TEST_F(OneCpu, APlaceThatHasAFlush) {
  sd_pending pending{};
  expect_refusal("an sd_pending has a flush that was not completed", [&] {
    sd_submit_range(&system, &pending, &mm, kPage, kNext, 12);
    sd_submit_range(&system, &pending, &mm, kPage, kNext, 12);
  });
}
TEST_F(OneCpu, AFlushThatIsCompletedTwice) {
  sd_pending pending{};
  expect_refusal("an sd_pending has no flush, or its flush was completed", [&] {
    sd_submit_freed_tables(&system, &pending, &mm, kPage, kNext, 12);
    static_cast<void>(sd_complete(&system, &pending));
    static_cast<void>(sd_complete(&system, &pending));
  });
}
TEST_F(OneCpu, ASubmittedFlushWithInterruptsOff) {
  sd_pending pending{};
  expect_refusal("a flush needs interrupts on", [&] {
    HostHal::disable_interrupts();
    sd_submit_range(&system, &pending, &mm, kPage, kNext, 12);
  });
}

TEST_F(OneCpu, ASpaceThatWasRetired) {
  expect_refusal("a space is used that was retired", [&] {
    const sd_token last = sd_retire_mm(&system, &mm);
    sd_require(&system, &last, &mm, SD_ROOT);
    switch_to(mm);
  });
}
TEST_F(OneCpu, ARetiredSpaceMayBeInitialisedAgain) {
  EXPECT_EQ(reported([&] {
              static_cast<void>(sd_retire_mm(&system, &mm));
              sd_mm_init(&system, &mm, tables.cr3(0), 0);
              switch_to(mm);
            }),
            "");
}
TEST_F(OneCpu, ACopyOfASpace) {
  expect_refusal("an sd_mm was copied", [&] {
    sd_mm copy = mm;
    static_cast<void>(sd_flush_mm(&system, &copy));
  });
}
TEST_F(OneCpu, ACopyThatIsInitialised) {
  expect_refusal("an sd_mm was copied", [&] {
    sd_mm copy = mm;
    sd_mm_init(&system, &copy, others.cr3(0), 0);
  });
}
TEST_F(OneCpu, AFileWithOtherSettings) {
  expect_refusal("this file was compiled with another shootdown.h", [&] {
    sd_mm fresh{};
    sd_mm_init_of(SD_VERSION + 1, &system, &fresh, tables.cr3(0), 0);
  });
}
TEST_F(OneCpu, TheKernelsRootForASpace) {
  expect_refusal("a space has a root of its own", [&] {
    sd_mm fresh{};
    sd_mm_init(&system, &fresh, kernel.cr3(0), 0);
  });
}
TEST_F(OneCpu, GlobalPagesWithoutCr4) {
  expect_refusal("CR4.PGE is off", [&] {
    HostHal::disable_interrupts();
    sd_cpu_offline(&system);
    HostHal::write_cr4(HostHal::read_cr4() & ~kCr4GlobalPages);
    sd_cpu_online(&system);
  });
}
TEST_F(OneCpu, ASwitchOfACpuThatIsOffline) {
  expect_refusal("this CPU is not online", [&] {
    HostHal::disable_interrupts();
    sd_cpu_offline(&system);
    sd_switch_mm(&system, &mm);
  });
}
TEST_F(OneCpu, AnAddressOfTheKernelForASpace) {
  expect_refusal("an address of the kernel's half is flushed for one space",
                 [&] { static_cast<void>(sd_flush_page(&system, &mm, kKernelPage)); });
}
TEST_F(OneCpu, AStrideThatIsNoPageSize) {
  expect_refusal("a stride is 12, 21 or 30",
                 [&] { static_cast<void>(sd_flush_range(&system, &mm, kPage, kNext, 13)); });
}
TEST_F(OneCpu, ATemporarySpaceThatEndsTwice) {
  expect_refusal("an sd_temporary ends that has not begun", [&] {
    sd_temporary place{};
    sd_temporary_end(&system, &place);
  });
}
TEST_F(OneCpu, ATokenWithoutAFlushForWalkers) {
  expect_refusal("a token is used that no flush has made", [&] {
    sd_token token{.covers = 2, .permits = SD_WALKED, .number = 0};
    static_cast<void>(sd_exclude_walkers(&system, &token));
  });
}
TEST_F(OneCpu, BitsOfCr4BothWays) {
  expect_refusal("set and cleared at once", [&] {
    HostHal::disable_interrupts();
    sd_change_cr4(&system, 1, 1);
  });
}
TEST_F(OneCpu, ALazyCpuOnTheWayToUserMode) {
  config.isolation = 1;
  config.global_pages = 0;
  expect_refusal("a lazy CPU goes to user mode", [&] {
    switch_to(mm);
    HostHal::disable_interrupts();
    sd_enter_lazy(&system);
    sd_entry_block block{};
    sd_prepare_return_to_user(&system, &block);
  });
}
TEST_F(OneCpu, WithoutIsolationTheWayToUserModeLoadsNothing) {
  EXPECT_EQ(reported([&] {
              switch_to(mm);
              HostHal::disable_interrupts();
              const std::uint64_t cr3 = HostHal::read_cr3();
              sd_entry_block block{};
              sd_prepare_return_to_user(&system, &block);
              sd_load_user_root(&block);
              EXPECT_EQ(HostHal::read_cr3(), cr3);
              sd_enter_from_user(&block);
              EXPECT_EQ(sd_user_access_ok(&system, nullptr), 0);
            }),
            "");
}

}  // namespace
}  // namespace shootdown::host
