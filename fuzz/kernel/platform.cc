#include "fuzz/kernel/platform.h"

#include <bit>
#include <memory>
#include <string>

#include "fuzz/events/layout.h"
#include "fuzz/kernel/sim_kernel.h"
#include "hal/host/device.h"
#include "hal/host/walk.h"

namespace shootdown::fuzz {

using host::FrameKind;
using host::FramePool;

namespace {

static_assert(kUserRootLevel == vm::kUserRootLevel);

/// Whether the frame was allocated where an entry can map 2 MiB.
bool is_large_page(const FramePool& frames, std::uint32_t number) {
  if (number == FramePool::kNoFrame) return false;
  const host::FrameInfo& info = frames.info(number);
  const unsigned page = owner_what(info.owner);
  return info.kind == FrameKind::data && page >= kSmallPages && page < kPages;
}

}  // namespace

void SimMemory::prepare_entry(PhysAddr table, unsigned index, vm::Pte value) {
  const host::ModelScope scope;
  if (!expect(table, FrameKind::table, "writes an entry")) return;
  if (std::uint64_t* word = entry(table, index).word_) *word = value;
}

bool SimMemory::expect(PhysAddr frame, FrameKind kind, const char* verb) {
  const std::uint32_t number = FramePool::frame_at(frame);
  if (number != FramePool::kNoFrame && machine_.frames().info(number).kind == kind) return true;
  events_.on_software_use(number, kind, verb);
  machine_.stop_if_failed();
  return false;
}

SimMemory::Word& SimMemory::word_for(Words& words, PhysAddr frame) {
  const std::uint32_t number = FramePool::frame_at(frame);
  if (number != FramePool::kNoFrame) return words[number];
  const host::ModelScope scope;
  events_.on_software_use(number, FrameKind::data, "looks for a lock or a count");
  machine_.stop_if_failed();
  return nowhere_;
}

// ---- Frames
// ---------------------------------------------------------------------------------------

void SimMemory::prepare(std::uint64_t kernel_entry, std::uint64_t user_entry) {
  kernel_entry_ = kernel_entry;
  user_entry_ = user_entry;
  std::destroy_at(&locks_);
  std::construct_at(&locks_);
  std::destroy_at(&references_);
  std::construct_at(&references_);
  std::destroy_at(&nowhere_);
  std::construct_at(&nowhere_, 0U);
  records_used_ = 0;
  fails_in_.fill(0);
}

bool SimMemory::fails() {
  unsigned& left = fails_in_[machine_.running().thread->number];
  if (left == 0) return false;
  --left;
  return left == 0;
}

void SimMemory::record_frame_access(std::uint32_t frame) {
  machine_.record_access(place(host::LocationKind::frames), true);
  machine_.record_access(place(host::LocationKind::frame, frame), true);
}

std::uint32_t SimMemory::take(FrameKind kind, std::uint16_t owner) {
  return fails() ? FramePool::kNoFrame : allocate_frame(kind, owner);
}

std::uint32_t SimMemory::allocate_frame(FrameKind kind, std::uint16_t owner) {
  const host::ModelScope scope;
  const std::uint32_t frame =
      machine_.frames().allocate(kind, owner, machine_.step(), machine_.running().id);
  if (frame == FramePool::kNoFrame) machine_.reach(host::Limit::frames);
  record_frame_access(frame);
  return frame;
}

PhysAddr SimMemory::allocate_table(const vm::FrameHint<Hal>& hint) {
  const host::ModelScope scope;
  const std::uint16_t owner =
      owner_tag(sim_.index_of(*hint.mm), table_what(hint.level, hint.address));
  const std::uint32_t table = take(FrameKind::table, owner);
  if (table == FramePool::kNoFrame) return vm::kNoFrame;
  if (hint.level >= vm::kRootLevel) {
    machine_.frames().words(table)[host::table_index(kKernelBase, 4)] =
        hint.level == vm::kRootLevel ? kernel_entry_ : user_entry_;
  }
  return FramePool::address(table);
}

PhysAddr SimMemory::allocate_page(const vm::FrameHint<Hal>& hint) {
  const host::ModelScope scope;
  const std::uint32_t page =
      take(FrameKind::data, owner_tag(sim_.index_of(*hint.mm), page_of(hint.address)));
  if (page == FramePool::kNoFrame) return vm::kNoFrame;
  references_[page].poke(1);
  events_.on_page_allocated(page);
  return FramePool::address(page);
}

void SimMemory::copy_page(PhysAddr to, PhysAddr from, unsigned /*level*/) {
  const host::ModelScope scope;
  if (!expect(from, FrameKind::data, "copies a page") ||
      !expect(to, FrameKind::data, "copies a page")) {
    return;
  }
  events_.on_copy(FramePool::frame_at(to), FramePool::frame_at(from));
  machine_.stop_if_failed();
  FramePool& frames = machine_.frames();
  machine_.record_access(frames.words(FramePool::frame_at(to)), true);
  machine_.record_access(frames.words(FramePool::frame_at(from)), false);
  *frames.words(FramePool::frame_at(to)) = *frames.words(FramePool::frame_at(from));
}

PhysAddr SimMemory::part(PhysAddr page, unsigned index) const {
  const std::uint32_t number = FramePool::frame_at(page);
  if (index < vm::kEntries && is_large_page(machine_.frames(), number)) [[likely]] {
    return index == kLargePagePart ? page : vm::kNoFrame;
  }
  const host::ModelScope scope;
  events_.on_software_use(number, FrameKind::data, "looks for a part");
  events_.on_missing_part(index);
  machine_.stop_if_failed();
  return vm::kNoFrame;
}

void SimMemory::read_page(PhysAddr page) {
  const host::ModelScope scope;
  machine_.scheduler().visible();
  if (FramePool::frame_at(page) == FramePool::kNoFrame) {
    expect(page, FrameKind::data, "reads a page");
    return;
  }
  events_.on_page_read(FramePool::frame_at(page));
  machine_.stop_if_failed();
  const std::uint64_t* word = machine_.frames().words(FramePool::frame_at(page));
  machine_.memory().record_read(machine_.running(), word);
  machine_.note(host::OpClass::load, machine_.memory().seen_by(machine_.running(), word));
}

bool SimMemory::expect_allocated(PhysAddr frame, FrameKind kind, const char* verb) {
  const std::uint32_t number = FramePool::frame_at(frame);
  // That it was released before is reported by the oracle for that, with its own words.
  const bool was_released =
      number != FramePool::kNoFrame && machine_.frames().info(number).kind == FrameKind::free;
  return was_released || expect(frame, kind, verb);
}

void SimMemory::release(PhysAddr frame) {
  const std::uint32_t number = FramePool::frame_at(frame);
  events_.on_release(number);
  machine_.stop_if_failed();
  record_frame_access(number);
  machine_.frames().release(number, machine_.step(), machine_.running().id);
}

void SimMemory::release_page(PhysAddr page) {
  const host::ModelScope scope;
  if (!expect_allocated(page, FrameKind::data, "releases a page")) return;
  release(page);
}

void SimMemory::release_table(PhysAddr table) {
  const host::ModelScope scope;
  if (!expect_allocated(table, FrameKind::table, "releases a table")) return;
  const std::uint16_t owner = machine_.frames().info(FramePool::frame_at(table)).owner;
  if (owner_level(owner) == vm::kRootLevel) {
    events_.on_destroy(owner_mm(owner));
    machine_.stop_if_failed();
  }
  release(table);
}

void SimMemory::discard_table(PhysAddr table) {
  const host::ModelScope scope;
  if (!expect(table, FrameKind::table, "discards a table")) return;
  record_frame_access(FramePool::frame_at(table));
  machine_.frames().release(FramePool::frame_at(table), machine_.step(), machine_.running().id);
}

vm::DeferredTable<HostHal>* SimMemory::allocate_record() {
  const host::ModelScope scope;
  machine_.record_access(place(host::LocationKind::frames), true);
  const auto free = static_cast<unsigned>(std::countr_one(records_used_));
  if (free == kRecords || fails()) return nullptr;
  records_used_ |= 1U << free;
  host::acquired(&records_[free]);
  return &records_[free];
}

void SimMemory::release_record(vm::DeferredTable<Hal>* record) {
  const host::ModelScope scope;
  const auto index = static_cast<std::size_t>(record - records_.data());
  if (record == nullptr || index >= kRecords || ((records_used_ >> index) & 1) == 0) {
    events_.on_needless_record();
    machine_.stop_if_failed();
    return;
  }
  host::released(record);
  machine_.record_access(place(host::LocationKind::frames), true);
  records_used_ &= ~(1U << index);
}

// ---- The device
// ------------------------------------------------------------------------------------

void SimMemory::begin_secondary(const Mm<Hal>& mm) {
  const host::ModelScope scope;
  if (sim_.has_device()) machine_.device().bind(sim_.index_of(mm), mm.root);
}

void SimMemory::end_secondary(const Mm<Hal>& mm) {
  const host::ModelScope scope;
  if (!sim_.has_device()) return;
  machine_.scheduler().visible();
  machine_.device().unbind(sim_.index_of(mm));
  machine_.changed();
}

void SimMemory::flush_secondary(const Mm<Hal>& mm, VirtAddr start, VirtAddr end) {
  const host::ModelScope scope;
  if (!sim_.has_device()) return;
  machine_.scheduler().visible();
  machine_.device().forget(sim_.index_of(mm), start, end);
  machine_.changed();
}

void SimMemory::flush_secondary_kernel(VirtAddr start, VirtAddr end) {
  const host::ModelScope scope;
  if (!sim_.has_device()) return;
  machine_.scheduler().visible();
  machine_.device().forget_everywhere(start, end);
  machine_.changed();
}

// ---- What the oracles hear
// ------------------------------------------------------------------------

void SimMemory::note_dirty(PhysAddr page) {
  const host::ModelScope scope;
  if (!expect(page, FrameKind::data, "remembers a store")) return;
  events_.on_store_recorded(FramePool::frame_at(page));
}

// The operation has looked at each entry of the range, and promises that no CPU uses an older one.
void SimMemory::looked(const Mm<Hal>& mm, VirtAddr start, VirtAddr end) {
  const host::ModelScope scope;
  events_.note_promise(sim_.index_of(mm), start, end);
}

void SimMemory::cleaned(const Mm<Hal>& mm, VirtAddr start, VirtAddr end) {
  const host::ModelScope scope;
  events_.on_cleaned(sim_.index_of(mm), start, end);
  machine_.stop_if_failed();
}

void SimMemory::walker_holds(PhysAddr table) {
  const host::ModelScope scope;
  events_.on_walker_holds(FramePool::frame_at(table));
}

void SimMemory::walker_done() {
  const host::ModelScope scope;
  events_.on_walker_holds(FramePool::kNoFrame);
}

}  // namespace shootdown::fuzz
