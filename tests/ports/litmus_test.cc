// The runtime of foreign code, exhaustively: which outcomes plain C has on the modelled machine,
// with store buffers and without.
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "hal/host/explore.h"
#include "hal/host/hal.h"
#include "hal/host/machine.h"
#include "ports/runtime/code.h"
#include "ports/runtime/memory.h"
#include "tests/ports/litmus_programs.h"

namespace shootdown::model {
namespace {

using host::Explorer;
using host::ExploreResult;
using host::FramePool;
using host::Report;
using Outcomes = std::set<std::string>;

/// There are no frames, and no oracle.
class Programs final : public Frames, public host::Observer {
 public:
  Programs() {
    litmus = {};
    code_.adopt(&litmus, sizeof litmus);
  }

  const Report& run(const litmus_program& program, host::Memory memory,
                    host::Controller& controller) {
    code_.reset();
    memory_.start();
    current_memory = &memory_;
    program_ = &program;
    machine_.prepare({.hardware = {.cpus = 2},
                      .memory = memory,
                      .programs = {.boot = &boot, .program = &body, .argument = this},
                      .exploration = {.controller = &controller},
                      .observer = this});
    return machine_.run();
  }
  std::string outcome() {
    if (program_->shows_x != 0) litmus.seen[3] = litmus.x;
    std::string text;
    for (const auto value : litmus.seen) text += std::to_string(value) + " ";
    return text.substr(0, text.size() - 1);
  }
  Memory& memory() { return memory_; }

  void on_word(std::uint64_t*, std::uint64_t, std::uint64_t, bool) override {}
  void on_use(std::uint32_t, const char*) override {}
  bool is_shared(std::uint32_t) override { return true; }
  std::uint64_t allocate() override { return 0; }
  void release(std::uint64_t) override {}
  std::uint64_t kernel_root() override { return 0; }
  void after_change(CpuId) override {}
  void on_cr3(CpuId) override {}
  void on_invalidate(CpuId) override {}
  void on_fill(CpuId, VirtAddr, host::Provenance&) override {}
  bool on_walk(CpuId, std::uint32_t, std::uint32_t) override { return true; }
  void on_use(CpuId, VirtAddr, const host::TlbEntry&, bool) override {}
  void on_ipi(CpuId, const host::HostCpuMask&) override {}
  void on_broadcast(CpuId, const Invlpgb&) override {}
  void on_broadcasts_done(CpuId) override {}
  void on_trace(CpuId, const TraceEvent&) override {}
  std::string label(const void*) override { return {}; }

 private:
  static void boot(void*, CpuId) {}
  static void body(void* self, unsigned thread) {
    auto& programs = *static_cast<Programs*>(self);
    programs.program_->code[thread]();
    programs.memory_.settle();
  }

  host::Machine machine_;
  Code code_;
  Memory memory_{machine_, *this, code_};
  const litmus_program* program_{nullptr};
};

const litmus_program& program_named(const std::string& name) {
  const litmus_program* program = litmus_programs;
  while (program->name != nullptr && name != program->name) ++program;
  return *program;
}

struct Explored {
  Outcomes outcomes;
  ExploreResult result;
};

Explored explored(const std::string& name, host::Memory memory, bool learns = false) {
  Programs programs;
  programs.memory().sharing().turn(learns);
  Explored explored;
  const litmus_program& program = program_named(name);
  for (bool again = true; again;) {
    again = false;
    explored.outcomes.clear();
    Explorer explorer({});
    Report stop;
    stop.kind = &host::kStuck;
    explored.result = explorer.explore(
        [&]() -> const Report& {
          const Report& report = programs.run(program, memory, explorer);
          again = programs.memory().sharing().has_learned();
          return again ? stop : report;
        },
        [&] { explored.outcomes.insert(programs.outcome()); });
  }
  EXPECT_TRUE(explored.result.complete) << name;
  EXPECT_FALSE(explored.result.failed) << name;
  return explored;
}

Outcomes outcomes(const std::string& name, host::Memory memory) {
  const Explored all = explored(name, memory);
  // What one CPU alone uses is no choice point, and makes no difference.
  EXPECT_EQ(explored(name, memory, /*learns=*/true).outcomes, all.outcomes) << name;
  return all.outcomes;
}
Outcomes sc(const std::string& name) { return outcomes(name, host::Memory::sc); }
Outcomes tso(const std::string& name) { return outcomes(name, host::Memory::tso); }

const Outcomes kAllButBothOld{"0 1 0 0", "1 0 0 0", "1 1 0 0"};
const Outcomes kAll{"0 0 0 0", "0 1 0 0", "1 0 0 0", "1 1 0 0"};

TEST(PlainC, StoresAreDelayedPastLoads) {
  for (const char* name : {"SB", "SB+once"}) {
    EXPECT_EQ(sc(name), kAllButBothOld) << name;
    EXPECT_EQ(tso(name), kAll) << name;
  }
}

TEST(PlainC, FencesAndLockedInstructionsEndThat) {
  for (const char* name : {"SB+fences", "SB+locked"}) {
    EXPECT_EQ(sc(name), kAllButBothOld) << name;
    EXPECT_EQ(tso(name), kAllButBothOld) << name;
  }
}

TEST(PlainC, StoresStayInOrder) {
  // The flag, and the data behind it.
  const Outcomes expected{"0 0 0 0", "0 1 0 0", "1 1 0 0"};
  EXPECT_EQ(sc("MP"), expected);
  EXPECT_EQ(tso("MP"), expected);
}

TEST(PlainC, LoadsAreNotDelayedPastStores) {
  const Outcomes expected{"0 0 0 0", "0 1 0 0", "1 0 0 0"};
  EXPECT_EQ(sc("LB"), expected);
  EXPECT_EQ(tso("LB"), expected);
}

TEST(PlainC, ACpuReadsItsOwnStoreBeforeOthersDo) {
  Outcomes expected{"1 0 0 2", "1 1 0 1", "1 1 0 2", "2 1 0 2"};
  EXPECT_EQ(sc("n6"), expected);
  expected.insert("1 0 0 1");
  EXPECT_EQ(tso("n6"), expected);
}

TEST(PlainC, AByteOfAnOwnStoreIsForwarded) {
  // It is read while the whole store still waits: the load of y comes before it.
  EXPECT_EQ(sc("narrow"), (Outcomes{"2 0 513 0", "2 1 0 0", "2 1 513 0"}));
  EXPECT_EQ(tso("narrow"), (Outcomes{"2 0 0 0", "2 0 513 0", "2 1 0 0", "2 1 513 0"}));
}

TEST(PlainC, AWordWaitsForAByteOfItsOwn) {
  const Outcomes expected{"512 0 512 0", "512 1 0 0", "512 1 512 0"};
  EXPECT_EQ(sc("wide"), expected);
  EXPECT_EQ(tso("wide"), expected);
}

TEST(PlainC, StoresChangeTheirBytesOnly) {
  EXPECT_EQ(sc("bytes"), Outcomes{"0 0 0 257"});
  EXPECT_EQ(tso("bytes"), Outcomes{"0 0 0 257"});
}

TEST(PlainC, AnAdditionWithoutALockGetsLost) {
  EXPECT_EQ(sc("lost"), (Outcomes{"0 0 0 1", "0 0 0 2"}));
  EXPECT_EQ(tso("lost"), (Outcomes{"0 0 0 1", "0 0 0 2"}));
  EXPECT_EQ(sc("kept"), Outcomes{"0 0 0 2"});
  EXPECT_EQ(tso("kept"), Outcomes{"0 0 0 2"});
}

TEST(PlainC, SixteenBytesAreStoredInTwoParts) {
  EXPECT_EQ(tso("pair"), (Outcomes{"0 0 0 0", "0 1 0 0", "1 1 0 0"}));
  // Without buffers nothing comes between the two.
  EXPECT_EQ(sc("pair"), (Outcomes{"0 0 0 0", "0 1 0 0", "1 1 0 0"}));
}

TEST(PlainC, ABlockIsOneOperation) {
  const std::string whole = std::to_string(0x0101010101010101ULL);
  const Outcomes expected{"0 0 0 0", "0 " + whole + " 0 0", whole + " " + whole + " 0 0"};
  EXPECT_EQ(sc("block"), expected);
  EXPECT_EQ(tso("block"), expected);
}

TEST(PlainC, WhatOneCpuAloneUsesIsNoChoicePoint) {
  EXPECT_EQ(explored("own", host::Memory::tso, true).result.executions, 1U);
  EXPECT_EQ(explored("own", host::Memory::tso, true).outcomes, Outcomes{"3 3 0 0"});
  // Words that are shared are learned once: afterwards each run counts.
  EXPECT_EQ(explored("SB", host::Memory::sc, true).result.executions, 3U);
}

}  // namespace
}  // namespace shootdown::model
