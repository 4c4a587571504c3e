// Store buffers: what a CPU sees of another's stores, and what drains them. Each test names the
// shape that the x86-TSO papers give it.
#include "hal/host/store_buffer.h"

#include <gtest/gtest.h>

#include <functional>
#include <vector>

#include "hal/host/hal.h"
#include "tests/host/machine_fixture.h"

namespace shootdown::host {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
using Word = HostAtomic<std::uint64_t>;
using Code = std::function<void()>;

struct Pair {
  std::uint64_t first;
  std::uint64_t second;
  friend bool operator==(const Pair&, const Pair&) = default;
};

/// CPU 0 stores to x and reads y, with `between` in between, which has as many `operations`. Then
/// CPU 1 stores to y and reads x, while CPU 0's store is held back unless something drains it.
Pair store_buffering(Memory memory, const Code& between, std::uint64_t operations) {
  MachineFixture fixture({.hardware = {.cpus = 2}, .memory = memory});
  Word x{0};
  Word y{0};
  Pair seen{9, 9};
  fixture.on(0, [&] {
    x.store(1, kRelaxed);
    between();
    seen.first = y.load(kRelaxed);
    // Something to do, so that the end of the program does not drain.
    for (int i = 0; i < 4; ++i) static_cast<void>(y.load(kRelaxed));
  });
  fixture.on(1, [&] {
    y.store(1, kRelaxed);
    seen.second = x.load(kRelaxed);
  });
  // The first operation has number 1, and an action comes before the operation of its number.
  fixture.at(3 + operations, EventKind::preempt, 1);
  EXPECT_FALSE(fixture.run().failed());
  return seen;
}

TEST(StoreBuffer, SB_BothMayReadTheOldValue) {
  EXPECT_EQ(store_buffering(Memory::tso, [] {}, 0), (Pair{0, 0}));
  EXPECT_EQ(store_buffering(Memory::sc, [] {}, 0), (Pair{0, 1})) << "not under sc";
}

TEST(StoreBuffer, IsDrainedByWhateverWaitsForStores) {
  static Word other;
  static std::uint64_t table_word;
  struct Case {
    const char* what;
    Code code;
    std::uint64_t operations;
  };
  const std::vector<Case> cases{
      {"MFENCE", [] { HostHal::full_fence(); }, 1},
      {"MFENCE before an interrupt", [] { HostHal::order_stores_before_ipi(); }, 1},
      {"XCHG", [] { other.exchange(1, kRelaxed); }, 1},
      {"LOCK XADD", [] { other.fetch_add(1, kRelaxed); }, 1},
      {"LOCK OR", [] { other.fetch_or(1, kRelaxed); }, 1},
      {"LOCK AND", [] { other.fetch_and(1, kRelaxed); }, 1},
      {"LOCK CMPXCHG that fails",
       [] {
         std::uint64_t expected = 77;
         other.compare_exchange(expected, 1, kRelaxed);
       },
       1},
      {"MOV to CR3", [] { HostHal::write_cr3(0x5001); }, 1},
      {"INVLPG", [] { HostHal::invlpg(0x1000); }, 1},
      {"INVPCID", [] { HostHal::invpcid(InvpcidType::everything, 0, 0); }, 1},
      {"MOV to CR4", [] { HostHal::write_cr4(HostHal::read_cr4()); }, 1},
      {"a locked page-table write", [] { current_machine->memory().exchange_word(&table_word, 0); },
       1},
  };
  for (const Case& one : cases) {
    EXPECT_EQ(store_buffering(Memory::tso, one.code, one.operations), (Pair{0, 1})) << one.what;
  }
}

TEST(StoreBuffer, IsNotDrainedByWhatDoesNotWait) {
  static Word other;
  struct Case {
    const char* what;
    Code code;
    std::uint64_t operations;
  };
  const std::vector<Case> cases{
      {"a load", [] { static_cast<void>(other.load(std::memory_order_seq_cst)); }, 1},
      {"a store", [] { other.store(1, kRelaxed); }, 1},
      {"CLI", [] { HostHal::disable_interrupts(); }, 1},
      {"PAUSE", [] { HostHal::pause(); }, 1},
      {"a write of the x2APIC's command register", [] { HostHal::send_call_function_ipi({}); }, 1},
  };
  for (const Case& one : cases) {
    EXPECT_EQ(store_buffering(Memory::tso, one.code, one.operations), (Pair{0, 0})) << one.what;
  }
}

TEST(StoreBuffer, ACpuReadsItsOwnStores) {
  MachineFixture fixture({.memory = Memory::tso});
  Word word{0};
  std::vector<std::uint64_t> seen;
  EXPECT_FALSE(fixture
                   .run([&] {
                     word.store(1, kRelaxed);
                     seen.push_back(word.load(kRelaxed));
                     word.store(2, kRelaxed);
                     seen.push_back(word.load(kRelaxed));
                     seen.push_back(word.owner_load());
                     seen.push_back(word.peek());
                   })
                   .failed());
  EXPECT_EQ(seen, (std::vector<std::uint64_t>{1, 2, 2, 0})) << "and memory is last to know";
  EXPECT_EQ(word.peek(), 2u) << "nothing stays in the buffer for ever";
}

TEST(StoreBuffer, MP_StoresArriveInOrder) {
  // CPU 1 sees the flag and so the data, wherever CPU 0's buffer drains.
  for (std::uint64_t drained = 0; drained < 4; ++drained) {
    for (std::uint64_t delay = 0; delay < 10; ++delay) {
      MachineFixture fixture({.hardware = {.cpus = 2}, .memory = Memory::tso});
      Word data{0};
      Word flag{0};
      Pair seen{9, 9};
      fixture.on(0, [&] {
        data.store(1, kRelaxed);
        flag.store(1, kRelaxed);
        for (int i = 0; i < 4; ++i) static_cast<void>(data.load(kRelaxed));
      });
      fixture.on(1, [&] {
        seen.first = flag.load(kRelaxed);
        seen.second = data.load(kRelaxed);
      });
      fixture.at(delay, EventKind::drain, 0, drained);
      fixture.at(0, EventKind::preempt, 1);
      EXPECT_FALSE(fixture.run().failed());
      EXPECT_FALSE((seen == Pair{1, 0})) << drained << " " << delay;
    }
  }
}

TEST(StoreBuffer, IsDrainedOnTheWayIntoAnInterrupt) {
  MachineFixture fixture({.hardware = {.cpus = 2}, .memory = Memory::tso});
  Word word{0};
  std::uint64_t in_handler = 9;
  fixture.on(0, [&] {
    word.store(1, kRelaxed);
    for (int i = 0; i < 8; ++i) static_cast<void>(word.load(kRelaxed));
  });
  fixture.on(1, [&] {
    CpuMask<kHostCpus> target;
    target.set(0);
    HostHal::send_call_function_ipi(target);
  });
  fixture.on_interrupt([&] { in_handler = word.peek(); });
  fixture.at(2, EventKind::preempt, 1);
  EXPECT_FALSE(fixture.run().failed());
  EXPECT_EQ(in_handler, 1u);
}

TEST(StoreBuffer, AnInterruptOvertakesStoresUnlessItIsItselfOne) {
  for (const bool xapic : {false, true}) {
    MachineFixture fixture({.hardware = {.cpus = 2, .xapic = xapic}, .memory = Memory::tso});
    Word word{0};
    std::uint64_t in_handler = 9;
    fixture.on(0, [&] {
      word.store(1, kRelaxed);
      CpuMask<kHostCpus> target;
      target.set(1);
      HostHal::send_call_function_ipi(target);
      for (int i = 0; i < 4; ++i) static_cast<void>(word.load(kRelaxed));
    });
    fixture.on_interrupt([&] { in_handler = word.load(kRelaxed); });
    fixture.at(3, EventKind::preempt, 1);
    EXPECT_FALSE(fixture.run().failed());
    EXPECT_EQ(in_handler, xapic ? 1u : 0u);
  }
}

TEST(StoreBuffer, DrainsWhenItsCpuWaits) {
  MachineFixture fixture({.hardware = {.cpus = 2}, .memory = Memory::tso});
  Word ping{0};
  Word pong{0};
  fixture.on(0, [&] {
    ping.store(1, kRelaxed);
    while (pong.load(kRelaxed) == 0) HostHal::pause();
  });
  fixture.on(1, [&] {
    while (ping.load(kRelaxed) == 0) HostHal::pause();
    pong.store(1, kRelaxed);
  });
  EXPECT_FALSE(fixture.run().failed()) << "a store that is held back is no deadlock";
}

TEST(StoreBuffer, TheScheduleDrainsTheOldestStores) {
  MachineFixture fixture({.memory = Memory::tso});
  Word first{0};
  Word second{0};
  Pair seen{9, 9};
  fixture.at(3, EventKind::drain, 0, 1);
  EXPECT_FALSE(fixture
                   .run([&] {
                     first.store(1, kRelaxed);
                     second.store(1, kRelaxed);
                     static_cast<void>(first.load(kRelaxed));
                     seen = {first.peek(), second.peek()};
                   })
                   .failed());
  EXPECT_EQ(seen, (Pair{1, 0}));
}

TEST(StoreBuffer, AFullOneDrainsItsOldestStore) {
  MachineFixture fixture({.memory = Memory::tso});
  std::vector<Word> words(StoreBuffer::kStores + 1);
  Pair seen{9, 9};
  EXPECT_FALSE(fixture
                   .run([&] {
                     for (Word& word : words) word.store(1, kRelaxed);
                     seen = {words[0].peek(), words[1].peek()};
                   })
                   .failed());
  EXPECT_EQ(seen, (Pair{1, 0}));
}

// ---- Stores through pages

/// Two pages of one frame, and one of another.
struct Pages {
  Pages() : fixture({.hardware = {.cpus = 2}, .memory = Memory::tso}), tables(fixture.frames()) {
    frame = tables.map(kAt);
    tables.entry(kAlias, 1) = tables.entry(kAt, 1);
    tables.map(kOther);
    for (CpuId cpu = 0; cpu < 2; ++cpu) machine().cpu(cpu).cr3 = tables.cr3(1);
  }
  Machine& machine() { return fixture.machine(); }
  std::uint64_t load(VirtAddr page) { return machine().translation().load(page).value_or(99); }
  void store(VirtAddr page, std::uint64_t value) {
    EXPECT_EQ(machine().translation().store(page, value), AccessResult::done);
  }
  std::uint64_t in_memory() { return *fixture.frames().words(frame); }

  static constexpr VirtAddr kAt = 0x4000;
  static constexpr VirtAddr kAlias = 0x5000;
  static constexpr VirtAddr kOther = 0x6000;
  static constexpr VirtAddr kNowhere = 0x7000;
  MachineFixture fixture;
  Tables tables;
  std::uint32_t frame{0};
};

TEST(PageStores, AreForwardedByTheFrameAndNotByTheAddress) {
  Pages pages;
  EXPECT_FALSE(pages.fixture
                   .run([&] {
                     pages.store(Pages::kAt, 5);
                     EXPECT_EQ(pages.load(Pages::kAlias), 5u);
                     EXPECT_EQ(pages.load(Pages::kOther), 0u);
                     EXPECT_EQ(pages.in_memory(), 0u) << "and no other CPU sees it";
                   })
                   .failed());
  EXPECT_EQ(pages.in_memory(), 5u);
}

TEST(PageStores, KeepTheFrameThatTheyWereExecutedWith) {
  Pages pages;
  EXPECT_FALSE(pages.fixture
                   .run([&] {
                     pages.store(Pages::kAt, 5);
                     pages.tables.entry(Pages::kAt, 1) = pages.tables.entry(Pages::kOther, 1);
                     pages.machine().cpu(0).tlb.clear();
                     EXPECT_EQ(pages.load(Pages::kAt), 0u);
                   })
                   .failed());
  EXPECT_EQ(pages.in_memory(), 5u);
}

TEST(PageStores, AreDrainedByWhatDrainsAllOthersAndByAPageFault) {
  const std::vector<std::function<void(Pages&)>> drains{
      [](Pages&) { HostHal::full_fence(); },
      [](Pages&) { HostHal::invlpg(0x1000); },
      [](Pages& pages) { static_cast<void>(pages.machine().translation().modify(Pages::kOther)); },
      [](Pages& pages) { EXPECT_EQ(pages.load(Pages::kNowhere), 99u); },
  };
  for (const auto& drain : drains) {
    Pages pages;
    EXPECT_FALSE(pages.fixture
                     .run([&] {
                       pages.store(Pages::kAt, 5);
                       EXPECT_EQ(pages.in_memory(), 0u);
                       drain(pages);
                       EXPECT_EQ(pages.in_memory(), 5u);
                     })
                     .failed());
  }
}

TEST(PageStores, AreDrainedByABroadcastThatArrivesAndWithThemOnlyWhatIsOlder) {
  Pages pages;
  Word before{0};
  Word after{0};
  pages.fixture.on(0, [&] {
    before.store(1, kRelaxed);
    pages.store(Pages::kAt, 5);
    after.store(1, kRelaxed);
    for (int i = 0; i < 8; ++i) static_cast<void>(after.load(kRelaxed));
  });
  pages.fixture.on(1, [&] {
    HostHal::invlpgb({.scope = InvlpgbScope::everything});
    HostHal::tlbsync();
    EXPECT_EQ(pages.in_memory(), 5u);
    EXPECT_EQ(before.peek(), 1u);
    EXPECT_EQ(after.peek(), 0u);
  });
  pages.fixture.at(4, EventKind::preempt, 1);
  EXPECT_FALSE(pages.fixture.run().failed());
}

TEST(PageStores, OfALifeThatIsOverAreToldAndDoNotReachTheFrame) {
  struct Listener final : SilentObserver {
    std::vector<std::uint32_t> lives;
    void on_page_store(CpuId, VirtAddr, const TlbEntry&, std::uint32_t life) override {
      lives.push_back(life);
    }
  };
  Listener listener;
  Pages pages;
  pages.fixture.restart({.memory = Memory::tso, .observer = &listener});
  Tables tables(pages.fixture.frames());
  const std::uint32_t frame = tables.map(Pages::kAt);
  pages.machine().cpu(0).cr3 = tables.cr3(1);
  const std::uint32_t life = pages.fixture.frames().info(frame).life;
  EXPECT_FALSE(pages.fixture
                   .run([&] {
                     pages.store(Pages::kAt, 5);
                     pages.fixture.frames().release(frame, 0, 0);
                     EXPECT_EQ(pages.fixture.frames().allocate(FrameKind::data, 0, 0, 0), frame);
                     HostHal::full_fence();
                   })
                   .failed());
  EXPECT_EQ(listener.lives, std::vector<std::uint32_t>{life});
  EXPECT_EQ(*pages.fixture.frames().words(frame), 0u);
}

}  // namespace
}  // namespace shootdown::host
