// The memory manager on the recording HAL, with a fake of physical memory. Sets up two mms on
// four CPUs, of which none runs them; pages 0 to 3 of the first are mapped. Records releases,
// copies and hooks in the log of the core's operations, so that tests can ask what came first.
//
//   MemoryFixture b;
//   b.run_on({1});
//   vm::unmap(b.manager, b.mm, b.pages(1, 2));
//   EXPECT_BEFORE("invlpg", "release page");
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "kernel-glue/mm/mm.h"
#include "tests/core/core_fixture.h"
#include "tests/core/recording_hal.h"

namespace shootdown::test {

enum class FrameUse : std::uint8_t { free, page, large_page, table };

class FakeMemory {
 public:
  using Hal = RecordingHal<4>;
  static constexpr unsigned kFrames = 96;
  /// A large page here is so many frames long.
  static constexpr unsigned kParts = 4;

  struct Frame {
    FrameUse use{FrameUse::free};
    unsigned level{0};
    PhysAddr head{vm::kNoFrame};
    std::uint64_t content{0};
    RecordedWord<std::uint32_t> lock{0};
    RecordedWord<std::uint32_t> references{0};
    std::array<RecordedWord<vm::Pte>, vm::kEntries> words{};
  };

  FakeMemory() : frames_(std::make_unique<std::array<Frame, kFrames>>()) {
    recorder.list({"copy page", "release page", "release table", "note dirty", "looked", "cleaned",
                   "walker holds", "walker done", "secondary begins", "secondary ends",
                   "flush secondary", "flush secondary kernel"});
  }

  Frame& at(PhysAddr frame) { return (*frames_)[(frame >> kPageShift) - 1]; }
  [[nodiscard]] unsigned in_use() const {
    unsigned used = 0;
    for (const Frame& frame : *frames_) used += frame.use != FrameUse::free ? 1 : 0;
    return used;
  }

  PhysAddr allocate_table(const vm::FrameHint<Hal>& hint) {
    const PhysAddr frame = take(1, FrameUse::table, hint.level);
    if (frame != vm::kNoFrame) {
      for (auto& word : at(frame).words) word.poke(0);
      recorder.names[&at(frame).lock] = "lock" + std::to_string(hint.level);
    }
    return frame;
  }
  PhysAddr allocate_page(const vm::FrameHint<Hal>& hint) {
    const bool large = hint.level == 2;
    const PhysAddr frame =
        take(large ? kParts : 1, large ? FrameUse::large_page : FrameUse::page, hint.level);
    if (frame != vm::kNoFrame) at(frame).references.poke(1);
    return frame;
  }
  vm::AtomicEntry<Hal> entry(PhysAddr table, unsigned index) {
    EXPECT_EQ(at(table).use, FrameUse::table) << "an operation uses a table that was released";
    return vm::AtomicEntry<Hal>(at(table).words[index]);
  }
  void prepare_entry(PhysAddr table, unsigned index, vm::Pte value) {
    at(table).words[index].poke(value);
  }
  void copy_page(PhysAddr to, PhysAddr from, unsigned level) {
    recorder.note("copy page", from);
    for (unsigned i = 0; i < (level == 2 ? kParts : 1); ++i) {
      at(to + (i << kPageShift)).content = at(from + (i << kPageShift)).content;
    }
  }
  PhysAddr part(PhysAddr frame, unsigned index) {
    return index < kParts ? frame + (PhysAddr{index} << kPageShift) : vm::kNoFrame;
  }
  RecordedWord<std::uint32_t>& table_lock(PhysAddr table) { return at(table).lock; }
  RecordedWord<std::uint32_t>& references(PhysAddr page) { return at(at(page).head).references; }

  void release_page(PhysAddr page) {
    const PhysAddr head = at(page).head;
    EXPECT_EQ(references(page).peek(), 0u);
    recorder.note("release page", head);
    free(head, at(head).use == FrameUse::large_page ? kParts : 1);
  }
  void release_table(PhysAddr table) {
    EXPECT_EQ(at(table).use, FrameUse::table);
    recorder.note("release table", table);
    free(table, 1);
  }
  void discard_table(PhysAddr table) { free(table, 1); }

  vm::DeferredTable<Hal>* allocate_record() {
    if (records_left == 0) return nullptr;
    --records_left;
    return new vm::DeferredTable<Hal>;
  }
  void release_record(vm::DeferredTable<Hal>* record) {
    ++records_left;
    delete record;
  }

  void note_dirty(PhysAddr page) {
    recorder.note("note dirty", page);
    dirty.insert(page);
  }
  void looked(const Mm<Hal>& /*mm*/, VirtAddr start, VirtAddr /*end*/) {
    recorder.note("looked", start);
  }
  void cleaned(const Mm<Hal>& /*mm*/, VirtAddr start, VirtAddr /*end*/) {
    recorder.note("cleaned", start);
  }
  void walker_holds(PhysAddr table) { recorder.note("walker holds", table); }
  void walker_done() { recorder.note("walker done"); }
  void begin_secondary(const Mm<Hal>& /*mm*/) { recorder.note("secondary begins"); }
  void end_secondary(const Mm<Hal>& /*mm*/) { recorder.note("secondary ends"); }
  void flush_secondary(const Mm<Hal>& /*mm*/, VirtAddr start, VirtAddr /*end*/) {
    recorder.note("flush secondary", start);
  }
  void flush_secondary_kernel(VirtAddr start, VirtAddr /*end*/) {
    recorder.note("flush secondary kernel", start);
  }

  unsigned records_left{4};
  /// Frames that may still be allocated.
  unsigned allocations_left{~0U};
  std::set<PhysAddr> dirty;

 private:
  PhysAddr take(unsigned count, FrameUse use, unsigned level) {
    if (allocations_left == 0) return vm::kNoFrame;
    --allocations_left;
    for (unsigned first = 0; first + count <= kFrames; ++first) {
      unsigned fit = 0;
      while (fit < count && (*frames_)[first + fit].use == FrameUse::free) ++fit;
      if (fit < count) continue;
      const PhysAddr head = PhysAddr{first + 1} << kPageShift;
      for (unsigned i = 0; i < count; ++i) {
        Frame& frame = (*frames_)[first + i];
        frame.use = use;
        frame.level = level;
        frame.head = head;
        frame.content = 0;
      }
      return head;
    }
    return vm::kNoFrame;
  }
  void free(PhysAddr head, unsigned count) {
    for (unsigned i = 0; i < count; ++i)
      at(head + (PhysAddr{i} << kPageShift)).use = FrameUse::free;
  }

  std::unique_ptr<std::array<Frame, kFrames>> frames_;
};

static_assert(vm::MemoryPlatform<FakeMemory>);

/// Two mms on four CPUs. mm 0 has the pages 0 to 3 of `kBase` mapped; no CPU runs it.
struct MemoryFixture {
  using P = FakeMemory;
  using H = P::Hal;
  static constexpr VirtAddr kBase = 0x4000'0000;
  static constexpr VirtAddr kLargeBase = kBase + vm::kLargePage;
  static constexpr vm::Pte kRights = vm::kPteWritable | vm::kPteUser;

  explicit MemoryFixture(const vm::ManagerConfig& config = {}, const Config& core_config = {})
      : fixture(core_config), manager(fixture.system, memory, config) {
    EXPECT_TRUE(vm::create(manager, mm));
    EXPECT_TRUE(vm::create(manager, other));
    EXPECT_TRUE(vm::map(manager, mm, pages(0, 4), kRights));
    name();
    recorder.clear();
  }

  static vm::Range pages(unsigned first, unsigned count) {
    const VirtAddr start = kBase + (VirtAddr{first} << kPageShift);
    return {.start = start, .end = start + (VirtAddr{count} << kPageShift)};
  }
  static vm::Range large(unsigned first = 0, unsigned count = 1) {
    const VirtAddr start = kLargeBase + (VirtAddr{first} << kLargePageShift);
    return {.start = start, .end = start + (VirtAddr{count} << kLargePageShift)};
  }
  static VirtAddr page(unsigned number) { return pages(number, 1).start; }

  /// The entry of `level` at `address`; a word of zero if there is no table.
  RecordedWord<vm::Pte>& entry(vm::AddressSpace<P>& in, VirtAddr address, unsigned level = 1) {
    PhysAddr table = in.core.root;
    for (unsigned at = vm::kRootLevel; at > level; --at) {
      const vm::Pte value = memory.at(table).words[vm::entry_index(address, at)].peek();
      if (!vm::is_table(value)) return nothing;
      table = vm::frame_of(value);
    }
    return memory.at(table).words[vm::entry_index(address, level)];
  }
  vm::Pte pte(unsigned number) { return entry(mm, page(number)).peek(); }
  void set_dirty(unsigned number) {
    entry(mm, page(number)).poke(pte(number) | vm::kPteDirty | vm::kPteAccessed);
  }
  void name() {
    recorder.names[&mm.pending] = "pending";
    recorder.names[&mm.core.tlb_gen] = "tlb_gen";
    for (unsigned number = 0; number < 16; ++number) {
      auto& word = entry(mm, page(number));
      if (&word != &nothing) recorder.names[&word] = "pte" + std::to_string(number);
    }
  }
  void run_on(std::initializer_list<CpuId> cpus) {
    for (const CpuId cpu : cpus) fixture.switch_to(cpu, mm.core);
    recorder.clear();
  }

  CoreFixture<4> fixture;
  FakeMemory memory;
  vm::Manager<P> manager;
  vm::AddressSpace<P> mm;
  vm::AddressSpace<P> other;
  RecordedWord<vm::Pte> nothing{0};
};

}  // namespace shootdown::test
