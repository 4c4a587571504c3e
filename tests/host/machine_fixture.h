// The modelled machine by itself, without core and kernel. Sets up CPUs with interrupts on, each
// with a function to run, page tables that are made by hand, and a script of deviations from the
// default schedule. Records nothing of its own: a test looks at the machine, or gives it an
// observer.
//
//   Lab lab({.hardware = {.cpus = 2}});
//   lab.on(0, [] { HostHal::full_fence(); });
//   lab.at(1, EventKind::preempt, 1);  // CPU 1 runs after one visible operation
//   EXPECT_FALSE(lab.run().failed());
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "hal/host/hal.h"
#include "hal/host/machine.h"
#include "hal/host/walk.h"

namespace shootdown::host {

/// Deviations from the default schedule, in order.
class Script final : public ScheduleSource {
 public:
  void add(Action action) { actions_.push_back(action); }
  bool next(Action& action) override {
    if (index_ == actions_.size()) return false;
    action = actions_[index_++];
    return true;
  }

 private:
  std::vector<Action> actions_;
  std::size_t index_{0};
};

/// An observer that is told everything and does nothing, for tests that want one callback.
class SilentObserver : public Observer {
 public:
  void after_change(CpuId /*cpu*/) override {}
  void on_cr3(CpuId /*cpu*/) override {}
  void on_invalidate(CpuId /*cpu*/) override {}
  void on_fill(CpuId /*cpu*/, VirtAddr /*address*/, Provenance& /*from*/) override {}
  bool on_walk(CpuId /*cpu*/, std::uint32_t /*frame*/, std::uint32_t /*life*/) override {
    return true;
  }
  void on_use(CpuId /*cpu*/, VirtAddr /*address*/, const TlbEntry& /*entry*/,
              bool /*write*/) override {}
  void on_ipi(CpuId /*cpu*/, const HostCpuMask& /*targets*/) override {}
  void on_broadcast(CpuId /*cpu*/, const Invlpgb& /*what*/) override {}
  void on_broadcasts_done(CpuId /*cpu*/) override {}
  void on_trace(CpuId /*cpu*/, const TraceEvent& /*event*/) override {}
  std::string label(const void* /*address*/) override { return "something"; }
};

/// A machine whose CPUs start with interrupts on and run the functions given to `on`. Functions own
/// nothing on their stacks that a failure would leak, because a failed run abandons them.
class MachineFixture {
 public:
  using Program = std::function<void()>;

  /// The lab runs programs and schedules of its own; all else is as the set-up says.
  explicit MachineFixture(const Setup& setup = {}) { restart(setup); }

  /// Forgets everything but the machine itself.
  void restart(Setup setup) {
    script_ = Script();
    programs_ = {};
    handler_ = nullptr;
    bau_handler_ = nullptr;
    nmi_handler_ = nullptr;
    reschedule_ = nullptr;
    startup_ = nullptr;
    setup.programs = {
        .boot = [](void*, CpuId) { HostHal::enable_interrupts(); },
        .program = [](void* self,
                      CpuId cpu) { call(static_cast<MachineFixture*>(self)->programs_[cpu]); },
        .interrupt = [](void* self, CpuId) { call(static_cast<MachineFixture*>(self)->handler_); },
        .bau_interrupt = [](void* self,
                            CpuId) { call(static_cast<MachineFixture*>(self)->bau_handler_); },
        .nmi = [](void* self, CpuId) { call(static_cast<MachineFixture*>(self)->nmi_handler_); },
        .startup = [](void* self, CpuId) { call(static_cast<MachineFixture*>(self)->startup_); },
        .reschedule = [](void* self,
                         CpuId) { call(static_cast<MachineFixture*>(self)->reschedule_); },
        .argument = this};
    setup.exploration.schedule = &script_;
    machine_.prepare(setup);
  }

  void on(CpuId cpu, Program program) { programs_[cpu] = std::move(program); }
  void on_interrupt(Program handler) { handler_ = std::move(handler); }
  void on_bau_interrupt(Program handler) { bau_handler_ = std::move(handler); }
  void on_nmi(Program handler) { nmi_handler_ = std::move(handler); }
  void on_reschedule(Program handler) { reschedule_ = std::move(handler); }
  void on_startup(Program program) { startup_ = std::move(program); }
  /// `delay` visible operations after the previous action.
  void at(std::uint64_t delay, EventKind kind, CpuId cpu, std::uint64_t argument = 0,
          unsigned level = 1) {
    script_.add({.delay = delay,
                 .kind = kind,
                 .cpu = cpu,
                 .argument = argument,
                 .level = static_cast<std::uint8_t>(level)});
  }
  const Report& run() { return machine_.run(); }
  /// One CPU, one function, one run.
  const Report& run(Program program) {
    on(0, std::move(program));
    return run();
  }

  [[nodiscard]] Machine& machine() { return machine_; }
  [[nodiscard]] FramePool& frames() { return machine_.frames(); }
  [[nodiscard]] Tlb& tlb(CpuId cpu = 0) { return machine_.cpu(cpu).tlb; }

 private:
  static void call(const Program& program) {
    if (program) program();
  }

  Machine machine_;
  Script script_;
  std::array<Program, kHostCpus> programs_;
  Program handler_;
  Program bau_handler_;
  Program nmi_handler_;
  Program reschedule_;
  Program startup_;
};

/// Page tables of four levels, or more, in modelled frames. Entries are changed as host code
/// changes memory: without a visible operation.
class Tables {
 public:
  static constexpr std::uint64_t kLeaf = kPtePresent | kPteWritable | kPteUser;

  explicit Tables(FramePool& frames, unsigned levels = kTopLevel)
      : frames_(frames), levels_(levels), root_(table()) {}

  /// What CR3 must hold. `pcid` 0 is for a machine without PCIDs.
  [[nodiscard]] std::uint64_t cr3(std::uint16_t pcid) const {
    return FramePool::address(root_) | pcid;
  }

  /// The entry that translates `address` at `level`; 1 is the page table. Tables on the
  /// way are made.
  std::uint64_t& entry(VirtAddr address, unsigned level) {
    std::uint32_t frame = root_;
    for (unsigned at = levels_; at > level; --at) {
      std::uint64_t& upper = frames_.words(frame)[table_index(address, at)];
      if (upper == 0) upper = FramePool::address(table()) | kLeaf;
      frame = FramePool::frame_at(upper);
    }
    return frames_.words(frame)[table_index(address, level)];
  }

  /// Maps a fresh frame and returns it.
  std::uint32_t map(VirtAddr address, std::uint64_t bits = kLeaf) {
    const std::uint32_t frame = frames_.allocate(FrameKind::data, 0, 0, 0);
    entry(address, 1) = FramePool::address(frame) | bits;
    return frame;
  }
  std::uint32_t map_large(VirtAddr address, std::uint64_t bits = kLeaf | kPteLarge) {
    const std::uint32_t frame = frames_.allocate(FrameKind::data, 0, 0, 0);
    entry(address, 2) = FramePool::address(frame) | bits;
    return frame;
  }
  /// A page of 1 GiB.
  std::uint32_t map_huge(VirtAddr address, std::uint64_t bits = kLeaf | kPteLarge) {
    const std::uint32_t frame = frames_.allocate(FrameKind::data, 0, 0, 0);
    entry(address, 3) = FramePool::address(frame) | bits;
    return frame;
  }

 private:
  std::uint32_t table() { return frames_.allocate(FrameKind::table, 0, 0, 0); }

  FramePool& frames_;
  unsigned levels_;
  std::uint32_t root_;
};

}  // namespace shootdown::host
