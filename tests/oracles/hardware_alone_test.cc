// The oracles of hardware truth judge a kernel that has no core. They link without one, and know
// the kernel by fuzz/events alone: this one has one mm, one page and no flush function.
#include <gtest/gtest.h>

#include <array>
#include <string>

#include "fuzz/events/events.h"
#include "fuzz/events/layout.h"
#include "fuzz/oracles/hardware/hardware_truth.h"
#include "hal/host/machine.h"

namespace shootdown::fuzz {
namespace {

using host::FrameKind;
using host::FramePool;
using host::Machine;
using host::Site;

constexpr unsigned kPage = 1;
constexpr std::uint64_t kBits = host::kPtePresent | host::kPteWritable | host::kPteUser;

/// What the kernel does wrong.
enum class Wrong : std::uint8_t {
  nothing,
  no_invalidation,  // it forgets the INVLPG
  no_flush,         // ... and to flush at all
  early_release,    // it releases the page before
  early_table,      // it releases the page's table before
};

class TinyKernel final : public KernelView, public host::Observer {
 public:
  explicit TinyKernel(Wrong wrong) : wrong_(wrong) {}

  std::string run() {
    machine_.prepare({.hardware = {.pcid = false},
                      .programs = {.boot = &boot, .program = &program, .argument = this},
                      .observer = this});
    oracles_.start(*this, 1);
    build();
    const host::Report& report = machine_.run();
    return report.failed() ? std::string(report.name()) + " " + report.title : "ok";
  }

  // KernelView.
  [[nodiscard]] unsigned mm_of(const void* /*mm*/) const override { return 0; }
  [[nodiscard]] CpuId cpu_of(const void* /*word*/) const override { return kNoCpu; }
  [[nodiscard]] PhysAddr root(unsigned /*mm*/) const override {
    return FramePool::address(tables_[4]);
  }
  [[nodiscard]] std::uint64_t leaf(unsigned /*mm*/, unsigned page) const override {
    return page == kPage ? *entry_ : 0;
  }
  [[nodiscard]] bool may_use_user_memory(CpuId /*cpu*/) const override { return true; }
  [[nodiscard]] bool has_right(std::uint64_t entry) const override {
    return (entry & host::kPteWritable) != 0;
  }
  [[nodiscard]] bool in_user_mode(CpuId /*cpu*/) const override { return false; }
  [[nodiscard]] bool answers_early() const override { return false; }
  [[nodiscard]] bool kernel_is_global() const override { return false; }
  [[nodiscard]] std::uint32_t references(std::uint32_t /*frame*/) const override { return 1; }
  [[nodiscard]] bool waits_for_walkers(std::uint32_t /*frame*/) const override { return false; }
  [[nodiscard]] bool broadcasts() const override { return false; }

  // Observer.
  void after_change(CpuId /*cpu*/) override {}
  void on_cr3(CpuId cpu) override {
    oracles_.truth.on_cr3(cpu);
    oracles_.roots.on_cr3(cpu);
  }
  void on_invalidate(CpuId /*cpu*/) override {}
  void on_fill(CpuId cpu, VirtAddr address, host::Provenance& from) override {
    oracles_.truth.on_fill(cpu, address, from);
  }
  bool on_walk(CpuId cpu, std::uint32_t frame, std::uint32_t life) override {
    return oracles_.tables.on_walk(cpu, frame, life);
  }
  void on_use(CpuId cpu, VirtAddr address, const host::TlbEntry& entry, bool write) override {
    if (oracles_.use.on_use(cpu, address, entry)) {
      oracles_.contents.on_use(cpu, address, entry, write);
    }
  }
  void on_ipi(CpuId /*cpu*/, const host::HostCpuMask& /*targets*/) override {}
  void on_broadcast(CpuId /*cpu*/, const Invlpgb& /*what*/) override {}
  void on_broadcasts_done(CpuId /*cpu*/) override {}
  void on_trace(CpuId /*cpu*/, const TraceEvent& /*event*/) override {}
  std::string label(const void* /*address*/) override { return ""; }

 private:
  std::uint32_t take(FrameKind kind, unsigned what) {
    return machine_.frames().allocate(kind, owner_tag(0, what), 0, 0);
  }
  void build() {
    const VirtAddr address = page_address(kPage);
    page_ = take(FrameKind::data, kPage);
    std::uint32_t below = page_;
    for (unsigned level = 1; level <= 4; ++level) {
      tables_[level] = take(FrameKind::table, table_what(level, address));
      entry_ = machine_.frames().words(tables_[level]) + host::table_index(address, level);
      *entry_ = FramePool::address(below) | kBits;
      below = tables_[level];
    }
    entry_ = machine_.frames().words(tables_[1]) + host::table_index(address, 1);
  }

  static void boot(void* self, CpuId /*cpu*/) {
    auto& kernel = *static_cast<TinyKernel*>(self);
    kernel.machine_.instructions().write_cr3(kernel.root(0), Site::current());
  }
  static void program(void* self, CpuId cpu) { static_cast<TinyKernel*>(self)->unmap(cpu); }

  /// Uses the page, unmaps it, flushes it and releases it with its table.
  void unmap(CpuId cpu) {
    const VirtAddr address = page_address(kPage);
    static_cast<void>(machine_.translation().access(address, /*write=*/false));
    if (wrong_ == Wrong::early_release) release(page_);
    if (wrong_ == Wrong::early_table) release(tables_[1]);
    clear(entry_);
    if (wrong_ == Wrong::early_table) return;
    oracles_.flushes.on_flush_begun(cpu, 0, {.start = address, .end = address + 0x1000});
    if (wrong_ == Wrong::nothing) machine_.instructions().invlpg(address, Site::current());
    oracles_.flushes.on_flush_returns(cpu);
    if (wrong_ != Wrong::no_flush) oracles_.flushes.on_flush_returned(cpu, /*early=*/false);
    machine_.stop_if_failed();
    static_cast<void>(machine_.translation().access(address, /*write=*/false));
    release(page_);
  }
  void clear(std::uint64_t* word) {
    const std::uint64_t before = machine_.memory().exchange_word(word, 0);
    oracles_.truth.on_table_write(word, before, 0);
    oracles_.contents.on_table_write(word);
  }
  void release(std::uint32_t frame) {
    if (machine_.frames().info(frame).kind == FrameKind::table) {
      oracles_.tables.on_release(frame);
    } else {
      oracles_.releases.on_page_release(frame);
    }
    machine_.stop_if_failed();
    machine_.frames().release(frame, machine_.step(), 0);
  }

  Wrong wrong_;
  Machine machine_;
  HardwareTruth oracles_{machine_};
  std::array<std::uint32_t, 5> tables_{};  // by level
  std::uint32_t page_{0};
  std::uint64_t* entry_{nullptr};
};

TEST(HardwareAlone, IsSilentWhereTheKernelIsRight) {
  EXPECT_EQ(TinyKernel(Wrong::nothing).run(), "ok");
}

TEST(HardwareAlone, SeesWhatAFlushHasLeft) {
  EXPECT_EQ(TinyKernel(Wrong::no_invalidation).run(),
            "O1 a flush returns while a CPU can still use an older translation");
}

TEST(HardwareAlone, SeesWhatACpuUses) {
  EXPECT_EQ(TinyKernel(Wrong::no_flush).run(),
            "O2 a CPU uses a translation older than a completed flush");
}

TEST(HardwareAlone, SeesWhatIsReleased) {
  EXPECT_EQ(TinyKernel(Wrong::early_release).run(),
            "O6 a frame is released while a CPU can use it");
  EXPECT_EQ(TinyKernel(Wrong::early_table).run(),
            "O5 a page table is released while a CPU can walk it");
}

}  // namespace
}  // namespace shootdown::fuzz
