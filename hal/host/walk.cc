#include "hal/host/walk.h"

#include "hal/host/device.h"

namespace shootdown::host {

namespace {

/// Sets bits by a locked write, if they are not set.
void set(Machine& machine, std::uint64_t& entry, std::uint64_t bits) {
  machine.touch(&entry, (entry & bits) != bits);
  entry |= bits;
}

/// Reads the leaf and does what the walker does to it.
WalkResult finish(Machine& machine, std::uint64_t& entry, std::uint8_t shift, bool upper_writable,
                  bool write) {
  if ((entry & kPtePresent) == 0) return {};
  WalkResult result{.present = true,
                    .writable = upper_writable && (entry & kPteWritable) != 0,
                    .global = (entry & kPteGlobal) != 0,
                    .shift = shift,
                    .frame = FramePool::frame_at(entry)};
  set(machine, entry, kPteAccessed | (write && result.writable ? kPteDirty : 0));
  result.dirty = (entry & kPteDirty) != 0;
  return result;
}

bool maps_page(std::uint64_t entry, unsigned level) {
  return level == 1 || (level == 2 && (entry & kPteLarge) != 0);
}

}  // namespace

WalkResult walk_tables(Machine& machine, const Walker& walker, const WalkPurpose& purpose,
                       Observer* observer) {
  FramePool& frames = machine.frames();
  const std::uint32_t root = FramePool::frame_at(walker.cr3);
  if (root == FramePool::kNoFrame) return {};
  PscEntry at{.prefix = 0,
              .table = root,
              .life = frames.info(root).life,
              .root = root,
              .pcid = walker.pcid,
              .shift = shift_of_level(kTopLevel + 1),
              .writable = true,
              .from = {}};
  const PscEntry* cached = walker.tlb.find_start(purpose.address, walker.pcid, purpose.stop);
  if (cached != nullptr) at = *cached;
  bool is_stamped = false;  // with what oracles want to know of this walk
  for (unsigned level = at.level();; --level) {
    if (observer != nullptr && !observer->on_walk(walker.id, at.table, at.life)) return {};
    std::uint64_t& entry = frames.words(at.table)[table_index(purpose.address, level)];
    machine.touch(&entry, false);
    const bool is_leaf = maps_page(entry, level);
    if (is_leaf && purpose.stop > 1) return {};
    if (is_leaf) return finish(machine, entry, shift_of_level(level), at.writable, purpose.write);
    if ((entry & kPtePresent) == 0) return {};
    set(machine, entry, kPteAccessed);
    at.writable = at.writable && (entry & kPteWritable) != 0;
    at.table = FramePool::frame_at(entry);
    if (at.table == FramePool::kNoFrame) return {};
    machine.touch(place(Part::frame, at.table), false);
    at.life = frames.info(at.table).life;
    at.shift = shift_of_level(level);
    at.prefix = purpose.address >> at.shift;
    if (!is_stamped && observer != nullptr) {
      observer->on_fill(walker.id, purpose.address, at.from);
    }
    is_stamped = true;
    machine.touch(walker.id == kDevice ? place(Part::device) : place(Part::tables, walker.id),
                  true);
    walker.tlb.psc.insert(at);
    if (level == purpose.stop) return {};
  }
}

}  // namespace shootdown::host
