// The machine by itself: what CPUs pay for lines, instructions and interrupts.
#include "hal/timed/machine.h"

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "hal/timed/prices.h"

namespace shootdown::timed {
namespace {

/// Two clusters of two CPUs, and prices of which no two are equal.
Prices prices() {
  Prices list{};
  list.levels = {{.name = "cluster", .cpus = 2, .line = 10},
                 {.name = "all", .cpus = 0, .line = 50}};
  list.loads = 5;
  list.locked = 3;
  list.pause = 7;
  list.memory = 1000;
  list.reader = 2;
  list.sharer = 4;
  list.command = 20;
  list.delivery = 100;
  list.next_delivery = 5;
  list.entry = 30;
  list.exit = 6;
  list.invlpg = 8;
  list.invlpgb = 9;
  list.tlbsync = 11;
  list.next_broadcast = 1;
  return list;
}

class MachineTest : public testing::Test {
 public:
  using Job = void (*)(MachineTest& test);

  MachineTest() { cpus(4); }
  void cpus(CpuId count, bool fetches_ahead = false) {
    machine = std::make_unique<Machine>(list, count, kCacheLine, fetches_ahead);
    for (unsigned i = 0; i < 8; ++i) {
      machine->directory().name(word_of(i), 8, i < 4 ? "word" : std::to_string(i));
    }
  }
  /// CPU 0 runs the program.
  std::string run(Job program, Job handler = [](MachineTest&) {}) {
    program_ = program;
    handler_ = handler;
    return machine->run([](void* it) { of(it).program_(of(it)); },
                        [](void* it) { of(it).handler_(of(it)); }, this);
  }
  static MachineTest& of(void* it) { return *static_cast<MachineTest*>(it); }

  std::uint64_t* word_of(std::size_t word) { return &words[word * 8]; }
  void read(unsigned word) { machine->access(word_of(word), 8, false); }
  void write(unsigned word) { machine->access(word_of(word), 8, true); }
  void modify(unsigned word) {
    machine->begin_locked(word_of(word));
    machine->end_locked();
  }
  /// What passes on this CPU.
  template <class Action>
  Time time_of(Action&& action) {
    const Time begin = machine->now();
    action();
    return machine->now() - begin;
  }
  void on(CpuId cpu, Job job) {
    job_ = job;
    machine->start(cpu, [](void* it) { of(it).job_(of(it)); });
    machine->settle();
  }
  /// The same on all CPUs but 0, at the same time; `ends` has when each was done.
  void on_all(Job job) {
    job_ = job;
    begin = machine->now();
    for (CpuId cpu = 1; cpu < machine->cpus(); ++cpu) {
      machine->start(cpu, [](void* it) {
        of(it).job_(of(it));
        of(it).ends.push_back(of(it).machine->now() - of(it).begin);
      });
    }
    machine->settle();
  }

  Prices list{prices()};
  std::unique_ptr<Machine> machine;
  alignas(kCacheLine) std::array<std::uint64_t, 64> words{};
  std::map<std::string, Time> times{};
  std::vector<Time> ends{};
  Time begin{0};

 private:
  Job program_{};
  Job handler_{};
  Job job_{};
};

TEST_F(MachineTest, ALineCostsWhereItComesFrom) {
  EXPECT_EQ(
      run([](MachineTest& test) {
        test.times["memory"] = test.time_of([&] { test.modify(0); });
        test.times["own"] = test.time_of([&] { test.modify(0); });
        test.on(1, [](MachineTest& it) { it.times["near"] = it.time_of([&] { it.read(0); }); });
        test.on(2, [](MachineTest& it) { it.times["far"] = it.time_of([&] { it.read(0); }); });
        test.on(3, [](MachineTest& it) { it.times["nearest"] = it.time_of([&] { it.read(0); }); });
        test.times["shared"] = test.time_of([&] { test.read(0); });
        test.times["upgrade"] = test.time_of([&] { test.modify(0); });
      }),
      "");
  EXPECT_EQ(times, (std::map<std::string, Time>{{"memory", 1003},
                                                {"own", 3},
                                                {"near", 10},
                                                {"far", 50},
                                                {"nearest", 10},
                                                {"shared", 0},
                                                // The farthest sharer, and two more.
                                                {"upgrade", 3 + 50 + 2 * 4}}));
}

TEST_F(MachineTest, WritersOfALineTakeTurns) {
  EXPECT_EQ(run([](MachineTest& test) {
              test.modify(0);
              test.machine->settle();
              test.on_all([](MachineTest& it) { it.modify(0); });
            }),
            "");
  // From CPU 0 to 1, to 2 in the other cluster, and to 3.
  EXPECT_EQ(ends, (std::vector<Time>{3 + 10, 3 + 10 + 50, 3 + 10 + 50 + 10}));
}

TEST_F(MachineTest, ReadersOfASharedLineOnlyKeepItsHomeBusy) {
  EXPECT_EQ(run([](MachineTest& test) {
              test.modify(0);
              test.on(1, [](MachineTest& it) { it.read(0); });
              test.on_all([](MachineTest& it) { it.read(0); });
            }),
            "");
  // CPU 1 has it; CPU 2 gets it from the other cluster, and CPU 3 from CPU 2, when that has it.
  EXPECT_EQ(ends, (std::vector<Time>{0, 50, 50 + 10}));
}

TEST_F(MachineTest, TheHomeOfASharedLineServesOneAfterTheOther) {
  cpus(6);
  EXPECT_EQ(run([](MachineTest& test) {
              test.modify(0);
              test.on(2, [](MachineTest& it) { it.read(0); });
              test.on(4, [](MachineTest& it) { it.read(0); });
              test.on_all([](MachineTest& it) { it.read(0); });
            }),
            "");
  // CPUs 1, 3 and 5 get it from their neighbours, each 2 later than the one before.
  EXPECT_EQ(ends, (std::vector<Time>{10, 0, 2 + 10, 0, 4 + 10}));
}

TEST_F(MachineTest, AStoreDoesNotWaitForItsLineAndALockedInstructionDoes) {
  EXPECT_EQ(run([](MachineTest& test) {
              test.on(2, [](MachineTest& it) {
                it.modify(0);
                it.modify(1);
              });
              test.modify(2);
              test.times["stores"] = test.time_of([&] {
                test.write(0);
                test.write(1);
              });
              test.times["own"] = test.time_of([&] { test.modify(2); });
            }),
            "");
  EXPECT_EQ(times["stores"], 0u);
  EXPECT_EQ(times["own"], 50u + 3);
}

TEST_F(MachineTest, TheNextReaderWaitsForAStoreThatIsOnItsWay) {
  EXPECT_EQ(run([](MachineTest& test) {
              test.on(2, [](MachineTest& it) { it.modify(0); });
              test.write(0);
              test.on_all([](MachineTest& it) { it.read(0); });
            }),
            "");
  EXPECT_EQ(ends.front(), 50u + 10);
}

TEST_F(MachineTest, LoadsOfOneKindOverlapAndOthersDoNot) {
  EXPECT_EQ(run([](MachineTest& test) {
              test.on(1, [](MachineTest& it) {
                for (unsigned word = 0; word < 8; ++word) it.modify(word);
              });
              test.times["a kind"] = test.time_of([&] {
                for (unsigned word = 0; word < 4; ++word) test.read(word);
              });
              test.times["others"] = test.time_of([&] {
                for (unsigned word = 4; word < 8; ++word) test.read(word);
              });
            }),
            "");
  EXPECT_EQ(times["a kind"], 10u + 3 * (10 / 5));
  EXPECT_EQ(times["others"], 4u * 10);
}

TEST_F(MachineTest, LockedInstructionsOverlapIfTheirLinesAreFetchedAhead) {
  for (const bool ahead : {false, true}) {
    cpus(4, ahead);
    EXPECT_EQ(run([](MachineTest& test) {
                test.on(1, [](MachineTest& it) {
                  for (unsigned word = 0; word < 4; ++word) it.modify(word);
                });
                test.times["a kind"] = test.time_of([&] {
                  for (unsigned word = 0; word < 4; ++word) test.modify(word);
                });
              }),
              "");
    EXPECT_EQ(times["a kind"], ahead ? 4u * 3 + 10 + 3 * (10 / 5) : 4u * (3 + 10));
  }
}

TEST_F(MachineTest, AnInterruptCostsItsWayAndItsHandler) {
  EXPECT_EQ(run(
                [](MachineTest& test) {
                  test.on_all([](MachineTest& it) { it.machine->enable_interrupts(); });
                  test.begin = test.machine->now();
                  for (const CpuId target : {1, 2, 3}) test.machine->add_target(target);
                  test.times["send"] = test.time_of([&] { test.machine->send_interrupts(); });
                  test.machine->settle();
                },
                [](MachineTest& test) {
                  test.times[std::to_string(test.machine->this_cpu())] =
                      test.machine->now() - test.begin;
                }),
            "");
  EXPECT_EQ(times, (std::map<std::string, Time>{{"send", 20},
                                                {"1", 20 + 100 + 10 + 30},
                                                {"2", 20 + 100 + 50 + 5 + 30},
                                                {"3", 20 + 100 + 50 + 10 + 30}}));
}

TEST_F(MachineTest, AnInterruptThatIsPendingTakesOnLaterOnes) {
  EXPECT_EQ(run(
                [](MachineTest& test) {
                  test.on(1, [](MachineTest& it) { it.machine->enable_interrupts(); });
                  test.begin = test.machine->now();
                  for (unsigned i = 0; i < 2; ++i) {
                    test.machine->add_target(1);
                    test.machine->send_interrupts();
                  }
                  test.machine->settle();
                },
                [](MachineTest& test) { test.ends.push_back(test.machine->now() - test.begin); }),
            "");
  EXPECT_EQ(ends, (std::vector<Time>{20 + 100 + 10 + 30}));
}

TEST_F(MachineTest, AnInterruptWaitsUntilInterruptsAreOn) {
  EXPECT_EQ(run(
                [](MachineTest& test) {
                  test.on(1, [](MachineTest& it) { it.machine->enable_interrupts(); });
                  test.machine->add_target(1);
                  test.machine->send_interrupts();
                  test.machine->add_target(1);
                  test.machine->send_interrupts();
                  test.on(1, [](MachineTest& it) {
                    it.machine->disable_interrupts();
                    for (unsigned i = 0; i < 100; ++i) it.machine->instruct(Cause::invlpg);
                    it.modify(0);
                    it.times["taken"] = it.machine->now();
                    it.machine->enable_interrupts();
                    it.ends.push_back(it.machine->now());
                  });
                },
                [](MachineTest& test) {
                  test.begin = test.machine->now();
                  ++test.times["handlers"];
                }),
            "");
  EXPECT_EQ(times["handlers"], 1u) << "what arrives while one is pending is merged";
  EXPECT_EQ(begin, times["taken"] + 30);
  EXPECT_EQ(ends.front(), begin + 6);
}

TEST_F(MachineTest, ABroadcastIsWaitedFor) {
  EXPECT_EQ(run([](MachineTest& test) {
              test.times["issue"] = test.time_of([&] { test.machine->broadcast_invalidation(); });
              test.times["wait"] = test.time_of([&] { test.machine->await_broadcasts(); });
              test.times["again"] = test.time_of([&] { test.machine->await_broadcasts(); });
            }),
            "");
  EXPECT_EQ(times, (std::map<std::string, Time>{
                       {"issue", 9}, {"wait", 50 + 3 * 1 + 8 + 50 + 11}, {"again", 11}}));
}

TEST_F(MachineTest, AWaitThatHasNoEndIsReported) {
  EXPECT_EQ(run([](MachineTest& test) {
              for (;;) test.machine->pause();
            }),
            "CPU 0: waits for a CPU that has nothing to do");
}

TEST_F(MachineTest, AFailureEndsTheRun) {
  EXPECT_EQ(run([](MachineTest& test) {
              test.on(3, [](MachineTest& it) { it.machine->fail("cannot go on"); });
              ADD_FAILURE() << "the run went on";
            }),
            "CPU 3: cannot go on");
}

TEST_F(MachineTest, TheCpuThatIsFurthestBehindRunsNext) {
  EXPECT_EQ(run([](MachineTest& test) {
              test.on_all([](MachineTest& it) {
                const CpuId self = it.machine->this_cpu();
                // CPU 3 comes first, since the others have more to do before.
                for (CpuId i = self; i < 3; ++i) it.machine->instruct(Cause::invlpg);
                it.modify(0);
              });
            }),
            "");
  EXPECT_EQ(ends, (std::vector<Time>{1003, 1013, 1063}));
  EXPECT_EQ(machine->directory().moves().size(), 0u) << "nothing is recorded";
}

}  // namespace
}  // namespace shootdown::timed
