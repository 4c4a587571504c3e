#include "hal/host/walk.h"

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
  machine.touch(&entry, false);
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

}  // namespace

WalkResult walk_tables(Machine& machine, HostCpu& cpu, VirtAddr address, std::uint16_t pcid,
                       bool write, Observer* observer) {
  FramePool& frames = machine.frames();
  if (const PscEntry* cached = cpu.tlb.find_table(address, pcid)) {
    if (observer != nullptr && !observer->on_walk(cpu.id, cached->table)) return {};
    std::uint64_t& leaf = frames.words(cached->table)[table_index(address, 1)];
    return finish(machine, leaf, kPageShift, cached->writable, write);
  }
  std::uint32_t table = FramePool::frame_at(cpu.cr3);
  bool writable = true;
  for (unsigned level = 4; level >= 2; --level) {
    if (table == FramePool::kNoFrame) return {};
    if (observer != nullptr && !observer->on_walk(cpu.id, table)) return {};
    std::uint64_t& entry = frames.words(table)[table_index(address, level)];
    machine.touch(&entry, false);
    if ((entry & kPtePresent) == 0) return {};
    if (level == 2 && (entry & kPteLarge) != 0) {
      return finish(machine, entry, kLargePageShift, writable, write);
    }
    writable = writable && (entry & kPteWritable) != 0;
    set(machine, entry, kPteAccessed);
    table = FramePool::frame_at(entry);
  }
  if (table == FramePool::kNoFrame) return {};
  PscEntry upper{.prefix = address >> kLargePageShift,
                 .table = table,
                 .root = FramePool::frame_at(cpu.cr3),
                 .pcid = pcid,
                 .writable = writable,
                 .from = {}};
  if (observer != nullptr) {
    observer->on_fill(cpu.id, address, upper.from);
    if (!observer->on_walk(cpu.id, table)) return {};
  }
  machine.touch(place(Part::tables, cpu.id), true);
  cpu.tlb.psc.insert(upper);
  return finish(machine, frames.words(table)[table_index(address, 1)], kPageShift, writable, write);
}

}  // namespace shootdown::host
