// The shared words of the model: values, visibility, timelines.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <string>

#include "tests/host/machine_fixture.h"

namespace shootdown::host {
namespace {

TEST(Atomic, DoesWhatTheNameSays) {
  MachineFixture fixture;
  HostAtomic<std::uint64_t> word{5};
  constexpr auto kOrder = std::memory_order_seq_cst;
  fixture.run([&] {
    EXPECT_EQ(word.load(kOrder), 5u);
    word.store(6, kOrder);
    EXPECT_EQ(word.exchange(7, kOrder), 6u);
    EXPECT_EQ(word.fetch_add(3, kOrder), 7u);
    EXPECT_EQ(word.fetch_or(0x10, kOrder), 10u);
    EXPECT_EQ(word.fetch_and(~std::uint64_t{2}, kOrder), 26u);
    EXPECT_EQ(word.load(kOrder), 24u);
  });
  EXPECT_EQ(word.peek(), 24u);
}

TEST(Atomic, CompareExchangeTellsWhatItFound) {
  MachineFixture fixture;
  HostAtomic<std::uint64_t> word{5};
  fixture.run([&] {
    std::uint64_t expected = 4;
    EXPECT_FALSE(word.compare_exchange(expected, 9, std::memory_order_seq_cst));
    EXPECT_EQ(expected, 5u);
    EXPECT_TRUE(word.compare_exchange(expected, 9, std::memory_order_seq_cst));
  });
  EXPECT_EQ(word.peek(), 9u);
}

TEST(Atomic, EachAccessIsOneVisibleOperation) {
  MachineFixture fixture;
  HostAtomic<std::uint64_t> word;
  constexpr auto kOrder = std::memory_order_relaxed;
  fixture.run([&] {
    std::uint64_t expected = 0;
    static_cast<void>(word.load(kOrder));
    word.store(1, kOrder);
    word.fetch_add(1, kOrder);
    word.compare_exchange(expected, 9, kOrder);
    EXPECT_EQ(fixture.machine().step(), 4u);
    static_cast<void>(word.peek());
    word.poke(3);
    EXPECT_EQ(fixture.machine().step(), 4u) << "set-up and oracles are invisible";
  });
}

TEST(Atomic, OperationsOfTwoCpusInterleaveBetweenOperationsOnly) {
  // A locked add is one step; a load and a store are two, and an addition in between gets lost.
  for (const bool locked : {true, false}) {
    HostAtomic<std::uint64_t> word;
    MachineFixture fixture({.hardware = {.cpus = 2}});
    fixture.at(2, EventKind::preempt, 1);
    const auto add = [&] {
      if (locked) {
        word.fetch_add(1, std::memory_order_relaxed);
        word.fetch_add(1, std::memory_order_relaxed);
      } else {
        word.store(word.load(std::memory_order_relaxed) + 2, std::memory_order_relaxed);
      }
    };
    fixture.on(0, add);
    fixture.on(1, add);
    EXPECT_FALSE(fixture.run().failed());
    EXPECT_EQ(word.peek(), locked ? 4u : 2u);
  }
}

TEST(PageTableWord, IsChangedInOneStep) {
  MachineFixture fixture;
  std::uint64_t word = 0b1100;
  fixture.run([&] {
    Machine& machine = fixture.machine();
    EXPECT_EQ(machine.memory().read_word(&word), 0b1100u);
    EXPECT_EQ(machine.memory().set_bits(&word, 0b0011), 0b1100u);
    EXPECT_EQ(machine.memory().clear_bits(&word, 0b1000), 0b1111u);
    EXPECT_EQ(machine.memory().exchange_word(&word, 42), 0b0111u);
    EXPECT_EQ(machine.step(), 4u);
  });
  EXPECT_EQ(word, 42u);
}

TEST(Timeline, HasOneLineForEachOperationWithItsPlace) {
  MachineFixture fixture({.hardware = {.cpus = 2}});
  Tables tables(fixture.frames());
  tables.map(0x1000);
  HostAtomic<std::uint64_t> word;
  fixture.machine().recorder().turn_timeline(true);
  fixture.at(2, EventKind::fill, 0, 0x1000);
  fixture.on(0, [&] {
    HostHal::write_cr3(tables.cr3(1));
    word.store(7, std::memory_order_relaxed);
    fixture.machine().translation().access(0x1000, false);
    fixture.machine().translation().access(0x5000, true);
    HostHal::invlpg(0x1000);
  });
  EXPECT_FALSE(fixture.run().failed());
  fixture.machine().recorder().turn_timeline(false);
  std::string text;
  for (const TimelineEntry& entry : fixture.machine().recorder().timeline()) {
    text += std::to_string(entry.step) + " " + entry.what + "\n";
    if (entry.what == "store word = 7") {
      EXPECT_TRUE(std::string(entry.where.file_name()).ends_with("atomic_test.cc"));
    }
  }
  EXPECT_EQ(text,
            "1 load CR3, flush 4097\n"
            "2 speculative fill of 4096\n"
            "2 store word = 7\n"
            "3 load from 4096: cached\n"
            "4 store to 20480: page fault\n"
            "5 invlpg 4096\n");
}

TEST(Timeline, IsEmptyUnlessAskedFor) {
  MachineFixture fixture;
  fixture.run([] { HostHal::full_fence(); });
  EXPECT_TRUE(fixture.machine().recorder().timeline().empty());
}

}  // namespace
}  // namespace shootdown::host
