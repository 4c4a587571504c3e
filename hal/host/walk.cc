#include "hal/host/walk.h"

namespace shootdown::host {

namespace {

/// Reads the leaf and does what the walker does to it.
WalkResult finish(std::uint64_t& entry, std::uint8_t shift, bool upper_writable, bool write) {
  if ((entry & kPtePresent) == 0) return {};
  WalkResult result{.present = true,
                    .writable = upper_writable && (entry & kPteWritable) != 0,
                    .global = (entry & kPteGlobal) != 0,
                    .shift = shift,
                    .frame = FramePool::frame_at(entry)};
  entry |= kPteAccessed;
  if (write && result.writable) entry |= kPteDirty;
  result.dirty = (entry & kPteDirty) != 0;
  return result;
}

}  // namespace

WalkResult walk_tables(FramePool& frames, HostCpu& cpu, const WalkPurpose& purpose,
                       Observer* observer) {
  const std::uint32_t root = FramePool::frame_at(cpu.cr3);
  if (root == FramePool::kNoFrame) return {};
  PscEntry at{.prefix = 0,
              .table = root,
              .life = frames.info(root).life,
              .root = root,
              .pcid = purpose.pcid,
              .shift = shift_of_level(kTopLevel + 1),
              .writable = true,
              .from = {}};
  const PscEntry* cached = cpu.tlb.find_start(purpose.address, purpose.pcid, purpose.stop);
  if (cached != nullptr) at = *cached;
  bool is_new = false;  // a pointer of this walk, stamped with what oracles want to know of it
  for (unsigned level = at.level();; --level) {
    if (observer != nullptr && !observer->on_walk(cpu.id, at.table, at.life)) return {};
    std::uint64_t& entry = frames.words(at.table)[table_index(purpose.address, level)];
    const bool is_leaf = level == 1 || (level == 2 && (entry & kPteLarge) != 0);
    if (is_leaf && purpose.stop > 1) return {};
    if (is_leaf) return finish(entry, shift_of_level(level), at.writable, purpose.write);
    if ((entry & kPtePresent) == 0) return {};
    entry |= kPteAccessed;
    at.writable = at.writable && (entry & kPteWritable) != 0;
    at.table = FramePool::frame_at(entry);
    if (at.table == FramePool::kNoFrame) return {};
    at.life = frames.info(at.table).life;
    at.shift = shift_of_level(level);
    at.prefix = purpose.address >> at.shift;
    if (!is_new && observer != nullptr) observer->on_fill(cpu.id, purpose.address, at.from);
    is_new = true;
    cpu.tlb.psc.insert(at);
    if (level == purpose.stop) return {};
  }
}

}  // namespace shootdown::host
