// What a compiler may reorder, and what it may not: the classic shapes, each tried under every
// script of a few actions. Then what each CPU knows: happens-before.
#include "hal/host/cxx_memory.h"

#include <gtest/gtest.h>

#include <functional>
#include <set>
#include <vector>

#include "hal/host/hal.h"
#include "tests/host/machine_fixture.h"

namespace shootdown::host {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr auto kAcquire = std::memory_order_acquire;
constexpr auto kRelease = std::memory_order_release;
constexpr auto kAcqRel = std::memory_order_acq_rel;
constexpr auto kSeqCst = std::memory_order_seq_cst;
using Word = HostAtomic<std::uint64_t>;
using Values = std::vector<std::uint64_t>;
using Outcomes = std::set<Values>;

/// Two words, and what the CPUs saw.
struct Shape {
  Word x{0};
  Word y{0};
  Values seen;
};
using Program = std::function<void(Shape&)>;

struct Move {
  EventKind kind;
  CpuId cpu;
  std::uint64_t argument;
};

/// What the two programs can see, over all scripts of three of these moves, each up to three
/// visible operations after the one before. The values of both words at the end come behind what
/// was seen.
Outcomes outcomes(Memory memory, const Program& first, const Program& second) {
  static const std::vector<Move> kMoves{
      {EventKind::preempt, 0, 0}, {EventKind::preempt, 1, 0},  {EventKind::drain, 0, 1},
      {EventKind::drain, 1, 1},   {EventKind::overtake, 0, 0}, {EventKind::overtake, 1, 0},
      {EventKind::stale, 0, 1},   {EventKind::stale, 1, 1},
  };
  constexpr unsigned kDelays = 4;
  const auto kinds = static_cast<unsigned>(kMoves.size()) * kDelays;
  Outcomes all;
  MachineFixture fixture;
  for (unsigned script = 0; script < kinds * kinds * kinds; ++script) {
    fixture.restart({.hardware = {.cpus = 2}, .memory = memory});
    Shape shape;
    shape.seen.assign(2, 9);
    fixture.on(0, [&] { first(shape); });
    fixture.on(1, [&] { second(shape); });
    for (unsigned rest = script, i = 0; i < 3; ++i, rest /= kinds) {
      const Move& move = kMoves[rest % kinds / kDelays];
      fixture.at(rest % kDelays + (i == 0 ? 1 : 0), move.kind, move.cpu, move.argument);
    }
    EXPECT_FALSE(fixture.run().failed());
    shape.seen.push_back(shape.x.peek());
    shape.seen.push_back(shape.y.peek());
    all.insert(shape.seen);
  }
  return all;
}

/// Whether some outcome begins with these values.
bool can_see(const Outcomes& all, const Values& values) {
  for (const Values& one : all) {
    if (std::equal(values.begin(), values.end(), one.begin())) return true;
  }
  return false;
}
bool can_end(const Outcomes& all, std::uint64_t x, std::uint64_t y) {
  for (const Values& one : all) {
    if (one[2] == x && one[3] == y) return true;
  }
  return false;
}

/// CPU 0 stores to x and publishes by y, CPU 1 looks at y and then at x.
Outcomes message_passing(
    Memory memory, std::memory_order store, std::memory_order load,
    const std::function<void()>& between = [] {}) {
  return outcomes(
      memory,
      [&](Shape& s) {
        s.x.store(1, kRelaxed);
        between();
        s.y.store(1, store);
        // Something to do, so that the end of the program does not drain.
        for (int i = 0; i < 3; ++i) static_cast<void>(s.y.load(kRelaxed));
      },
      [&](Shape& s) {
        s.seen[0] = s.y.load(load);
        between();
        s.seen[1] = s.x.load(kRelaxed);
      });
}

TEST(CxxMemory, MP_NeedsReleaseAndAcquire) {
  EXPECT_TRUE(can_see(message_passing(Memory::compiler_reordering, kRelaxed, kAcquire), {1, 0}))
      << "stores sink";
  EXPECT_TRUE(can_see(message_passing(Memory::compiler_reordering, kRelease, kRelaxed), {1, 0}))
      << "loads rise";
  const Outcomes right = message_passing(Memory::compiler_reordering, kRelease, kAcquire);
  EXPECT_FALSE(can_see(right, {1, 0}));
  for (const Values& allowed : {Values{0, 0}, Values{0, 1}, Values{1, 1}}) {
    EXPECT_TRUE(can_see(right, allowed));
  }
}

TEST(CxxMemory, MP_IsSavedByTheHardwareUnderTso) {
  EXPECT_FALSE(can_see(message_passing(Memory::tso, kRelaxed, kRelaxed), {1, 0}));
}

TEST(CxxMemory, InstructionsOfTheHalAreCompilerBarriers) {
  const std::vector<std::function<void()>> instructions{
      [] { HostHal::full_fence(); },
      [] { HostHal::pause(); },
      [] { HostHal::disable_interrupts(); },
      [] { HostHal::enable_interrupts(); },
      [] { HostHal::send_call_function_ipi({}); },
      [] { HostHal::invlpg(0x1000); },
      [] { HostHal::invpcid(InvpcidType::everything, 0, 0); },
      [] { HostHal::write_cr3(0x5001); },
      [] { HostHal::write_cr4(HostHal::read_cr4()); },
  };
  for (const auto& instruction : instructions) {
    EXPECT_FALSE(can_see(
        message_passing(Memory::compiler_reordering, kRelaxed, kRelaxed, instruction), {1, 0}))
        << &instruction - instructions.data();
  }
}

TEST(CxxMemory, SB_NeedsTwoFullBarriers) {
  const auto store_buffering = [](Memory memory, std::memory_order store, std::memory_order load) {
    return outcomes(
        memory,
        [&](Shape& s) {
          s.x.store(1, store);
          s.seen[0] = s.y.load(load);
          static_cast<void>(s.y.load(load));
        },
        [&](Shape& s) {
          s.y.store(1, store);
          s.seen[1] = s.x.load(load);
        });
  };
  EXPECT_TRUE(can_see(store_buffering(Memory::compiler_reordering, kRelease, kAcquire), {0, 0}));
  EXPECT_TRUE(can_see(store_buffering(Memory::tso, kRelease, kAcquire), {0, 0}));
  EXPECT_FALSE(can_see(store_buffering(Memory::compiler_reordering, kSeqCst, kSeqCst), {0, 0}));
  EXPECT_FALSE(can_see(store_buffering(Memory::tso, kSeqCst, kSeqCst), {0, 0}));
}

// It is in the litmus mode of this name; README.md of hal/host says why it is not here.
TEST(CxxMemory, LB_IsNotModelled) {
  const Outcomes all = outcomes(
      Memory::compiler_reordering,
      [](Shape& s) {
        s.seen[0] = s.x.load(kRelaxed);
        s.y.store(1, kRelaxed);
      },
      [](Shape& s) {
        s.seen[1] = s.y.load(kRelaxed);
        s.x.store(1, kRelaxed);
      });
  EXPECT_FALSE(can_see(all, {1, 1}));
  EXPECT_TRUE(can_see(all, {1, 0}));
  EXPECT_TRUE(can_see(all, {0, 1}));
}

TEST(CxxMemory, TwoPlusTwoW_RelaxedStoresEndInAnyOrder) {
  const auto two_plus_two = [](Memory memory, std::memory_order order) {
    return outcomes(
        memory,
        [&](Shape& s) {
          s.x.store(1, order);
          s.y.store(2, order);
          for (int i = 0; i < 2; ++i) static_cast<void>(s.y.load(kRelaxed));
        },
        [&](Shape& s) {
          s.y.store(1, order);
          s.x.store(2, order);
          for (int i = 0; i < 2; ++i) static_cast<void>(s.x.load(kRelaxed));
        });
  };
  EXPECT_TRUE(can_end(two_plus_two(Memory::compiler_reordering, kRelaxed), 1, 1));
  EXPECT_FALSE(can_end(two_plus_two(Memory::compiler_reordering, kRelease), 1, 1));
  EXPECT_FALSE(can_end(two_plus_two(Memory::tso, kRelaxed), 1, 1));
}

TEST(CxxMemory, AWordNeverGoesBack) {
  const Outcomes all = outcomes(
      Memory::compiler_reordering,
      [](Shape& s) {
        s.x.store(1, kRelaxed);
        s.x.store(2, kRelaxed);
        for (int i = 0; i < 3; ++i) static_cast<void>(s.y.load(kRelaxed));
      },
      [](Shape& s) {
        s.seen[0] = s.x.load(kRelaxed);
        s.seen[1] = s.x.load(kRelaxed);
      });
  for (const Values& one : all) {
    EXPECT_LE(one[0], one[1]);
    EXPECT_EQ(one[2], 2u) << "and its stores stay in their order";
  }
  EXPECT_TRUE(can_see(all, {1, 2})) << "stale, then not";
}

TEST(CxxMemory, ACpuReadsItsOwnStores) {
  const auto stores_and_reads = [](Shape& s) {
    s.x.store(1, kRelaxed);
    s.y.store(1, kRelaxed);
    s.seen[0] = s.x.load(kRelaxed);
    s.x.store(2, kRelaxed);
    s.seen[1] = s.x.load(kRelaxed);
  };
  for (const Values& one : outcomes(Memory::compiler_reordering, stores_and_reads,
                                    [](Shape& s) { static_cast<void>(s.x.load(kRelaxed)); })) {
    EXPECT_EQ(one[0], 1u);
    EXPECT_EQ(one[1], 2u);
  }
}

TEST(CxxMemory, AReadModifyWriteActsOnTheNewestValue) {
  for (const auto order : {kRelaxed, kAcqRel}) {
    const auto increment = [order](std::uint64_t& seen, Shape& s) {
      s.y.store(1, kRelaxed);
      seen = s.x.fetch_add(1, order);
    };
    const Outcomes all = outcomes(
        Memory::compiler_reordering, [&](Shape& s) { increment(s.seen[0], s); },
        [&](Shape& s) { increment(s.seen[1], s); });
    for (const Values& one : all) {
      EXPECT_EQ(one[0] + one[1], 1u);
      EXPECT_EQ(one[2], 2u);
    }
  }
}

TEST(CxxMemory, AReadModifyWriteWaitsForOlderStoresOnlyIfItReleases) {
  const auto publish = [](Memory memory, std::memory_order order) {
    return outcomes(
        memory,
        [&](Shape& s) {
          s.x.store(1, kRelaxed);
          s.y.fetch_add(1, order);
          for (int i = 0; i < 3; ++i) static_cast<void>(s.y.load(kRelaxed));
        },
        [&](Shape& s) {
          s.seen[0] = s.y.load(kAcquire);
          s.seen[1] = s.x.load(kRelaxed);
        });
  };
  EXPECT_TRUE(can_see(publish(Memory::compiler_reordering, kRelaxed), {1, 0}));
  EXPECT_TRUE(can_see(publish(Memory::compiler_reordering, kAcquire), {1, 0}));
  EXPECT_FALSE(can_see(publish(Memory::compiler_reordering, kRelease), {1, 0}));
  EXPECT_FALSE(can_see(publish(Memory::compiler_reordering, kAcqRel), {1, 0}));
  EXPECT_FALSE(can_see(publish(Memory::tso, kRelaxed), {1, 0})) << "it is a locked instruction";
}

TEST(CxxMemory, AReadModifyWriteKeepsLoadsBehindItOnlyIfItAcquires) {
  const auto take = [](std::memory_order order) {
    return outcomes(
        Memory::compiler_reordering,
        [&](Shape& s) {
          s.x.store(1, kRelaxed);
          s.y.fetch_add(1, kRelease);
        },
        [&](Shape& s) {
          s.seen[0] = s.y.fetch_or(0, order);
          s.seen[1] = s.x.load(kRelaxed);
        });
  };
  EXPECT_TRUE(can_see(take(kRelaxed), {1, 0}));
  EXPECT_TRUE(can_see(take(kRelease), {1, 0}));
  EXPECT_FALSE(can_see(take(kAcquire), {1, 0}));
}

TEST(CxxMemory, AReadModifyWriteComesAfterOlderStoresToItsWord) {
  const Outcomes all = outcomes(
      Memory::compiler_reordering,
      [](Shape& s) {
        s.y.store(1, kRelaxed);
        s.x.store(5, kRelaxed);
        s.seen[0] = s.x.fetch_add(1, kRelaxed);
      },
      [](Shape& s) { static_cast<void>(s.x.load(kRelaxed)); });
  for (const Values& one : all) {
    EXPECT_EQ(one[0], 5u);
    EXPECT_EQ(one[2], 6u);
  }
}

TEST(CxxMemory, AStaleLookIsNoWait) {
  MachineFixture fixture({.hardware = {.cpus = 2}, .memory = Memory::compiler_reordering});
  Word word{0};
  fixture.on(0, [&] {
    while (word.load(kRelaxed) == 0) HostHal::pause();
  });
  fixture.on(1, [&] { word.store(1, kRelaxed); });
  fixture.at(0, EventKind::stale, 0, 1);
  EXPECT_FALSE(fixture.run().failed()) << "a wait looks again behind its pause, and sees the store";
}

/// CPU 0 does `first`, then CPU 1 does `second`. Whether what CPU 0 did before `first` happens
/// before what CPU 1 does after `second`.
bool passes(const std::function<void(Word&)>& first, const std::function<void(Word&)>& second) {
  MachineFixture fixture({.hardware = {.cpus = 2}, .memory = Memory::compiler_reordering});
  Word word{0};
  std::uint32_t time = 0;
  bool known = false;
  fixture.on(0, [&] {
    time = fixture.machine().memory().compiler_reordering().now(0);
    first(word);
  });
  fixture.on(1, [&] {
    second(word);
    known = fixture.machine().memory().compiler_reordering().knows(1, 0, time);
  });
  EXPECT_FALSE(fixture.run().failed());
  return known;
}

TEST(HappensBefore, PassesFromAReleaseToAnAcquireThatReadsIt) {
  const auto store = [](std::memory_order order) {
    return [order](Word& word) { word.store(1, order); };
  };
  const auto modify = [](std::memory_order order) {
    return [order](Word& word) { word.fetch_add(1, order); };
  };
  const auto load = [](std::memory_order order) {
    return [order](Word& word) { static_cast<void>(word.load(order)); };
  };
  EXPECT_TRUE(passes(store(kRelease), load(kAcquire)));
  EXPECT_TRUE(passes(store(kSeqCst), load(kSeqCst)));
  EXPECT_TRUE(passes(modify(kAcqRel), modify(kAcqRel)));
  EXPECT_TRUE(passes(modify(kRelease), load(kAcquire)));
  EXPECT_FALSE(passes(store(kRelaxed), load(kAcquire)));
  EXPECT_FALSE(passes(store(kRelease), load(kRelaxed)));
  EXPECT_FALSE(passes(modify(kRelaxed), modify(kAcqRel)));
  EXPECT_FALSE(passes(modify(kAcqRel), modify(kRelease)));
  EXPECT_FALSE(passes(modify(kAcquire), load(kAcquire)));
}

TEST(HappensBefore, PassesByFencesAroundRelaxedAccesses) {
  const auto fenced_store = [](Word& word) {
    HostHal::full_fence();
    word.store(1, kRelaxed);
  };
  const auto fenced_load = [](Word& word) {
    static_cast<void>(word.load(kRelaxed));
    HostHal::full_fence();
  };
  EXPECT_TRUE(passes(fenced_store, fenced_load));
  EXPECT_FALSE(passes([](Word& word) { word.store(1, kRelaxed); }, fenced_load));
  EXPECT_FALSE(passes(fenced_store, [](Word& word) { static_cast<void>(word.load(kRelaxed)); }));
}

TEST(HappensBefore, GoesOnThroughOthersReadModifyWrites) {
  const auto release = [](Word& word) {
    word.store(1, kRelease);
    word.fetch_add(1, kRelaxed);
  };
  EXPECT_TRUE(passes(release, [](Word& word) { static_cast<void>(word.load(kAcquire)); }));
}

TEST(HappensBefore, IsThatOfTheValueThatWasRead) {
  MachineFixture fixture({.hardware = {.cpus = 2}, .memory = Memory::compiler_reordering});
  Word word{0};
  std::uint32_t time = 0;
  std::vector<bool> known;
  fixture.on(0, [&] {
    time = fixture.machine().memory().compiler_reordering().now(0);
    word.store(1, kRelease);
  });
  fixture.on(1, [&] {
    for (int i = 0; i < 2; ++i) {
      static_cast<void>(word.load(kAcquire));
      known.push_back(fixture.machine().memory().compiler_reordering().knows(1, 0, time));
    }
  });
  fixture.at(2, EventKind::stale, 1, 1);
  EXPECT_FALSE(fixture.run().failed());
  EXPECT_EQ(known, (std::vector<bool>{false, true}));
}

}  // namespace
}  // namespace shootdown::host
