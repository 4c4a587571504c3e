#include "hal/host/walk.h"

#include "hal/host/device.h"

namespace shootdown::host {

namespace {

/// A walk on its way.
struct Walk {
  Machine& machine;
  const Walker& walker;
  const WalkPurpose& purpose;
  Observer* observer;
  PscEntry at;               // how it has come to the table that it reads
  bool is_overtaken{false};  // by an invalidation, and must begin again
};

/// False: the table must not be used, and the run has failed or does without.
bool may_use_table(const Walk& walk) {
  if (walk.observer != nullptr) {
    return walk.observer->on_walk(walk.walker.id, walk.at.table, walk.at.life);
  }
  return true;
}

/// Sets bits by a locked write, if they are not set. Returns what the walker takes the entry for.
std::uint64_t set(Walk& walk, std::uint64_t& entry, std::uint64_t bits) {
  Machine& machine = walk.machine;
  const Errata& errata = machine.setup().errata;
  const std::uint64_t read = entry;
  const bool changes = (read & bits) != bits;
  const bool is_erratum = errata.walker_overwrites || errata.walker_is_late;
  const bool races = machine.setup().hardware.dirty_races && (bits & kPteDirty) != 0;
  if (changes && walk.purpose.is_instruction && (is_erratum || races)) {
    const std::uint64_t invalidations = walk.walker.tlb.invalidations;
    machine.scheduler().visible_uninterrupted();
    // A broadcast or a hypervisor drops what this walk has read, too.
    walk.is_overtaken = walk.walker.tlb.invalidations != invalidations;
    if (walk.is_overtaken) return 0;
    const FrameInfo& info = machine.frames().info(walk.at.table);
    const bool is_there = info.kind == FrameKind::table && info.life == walk.at.life;
    if (!may_use_table(walk) || !is_there) return read | bits;
    // Without an erratum the bit goes into the entry that the walk has read, or it walks again.
    constexpr std::uint64_t kMayDiffer = kPteWritable | kPteAccessed | kPteDirty | kPteSoftware;
    walk.is_overtaken = !is_erratum && ((entry ^ read) & ~kMayDiffer) != 0;
    if (walk.is_overtaken) return 0;
  }
  machine.record_access(&entry, changes);
  entry = errata.walker_overwrites ? read | bits : entry | bits;
  return read | bits;
}

/// Does what the walker does to the leaf.
WalkResult finish(Walk& walk, std::uint64_t& entry, unsigned level) {
  if ((entry & kPtePresent) == 0) return {};
  WalkResult result{.present = true,
                    .rights = walk.at.rights.and_of(entry),
                    .global = (entry & kPteGlobal) != 0,
                    .shift = shift_of_level(level),
                    .frame = FramePool::frame_at(entry),
                    .from = {.step = walk.machine.step()}};
  // Before the bits are set: an entry that changes meanwhile makes the translation an old one.
  if (walk.observer != nullptr) {
    walk.observer->on_fill(walk.walker.id, walk.purpose.address, result.from);
  }
  const PageAccess& access = walk.purpose.access;
  const bool dirties = access.write && result.rights.permit(access);
  const std::uint64_t seen = set(walk, entry, kPteAccessed | (dirties ? kPteDirty : 0));
  result.dirty = (seen & kPteDirty) != 0;
  return result;
}

bool maps_page(std::uint64_t entry, unsigned level) {
  return level == 1 || (level <= 3 && (entry & kPteLarge) != 0);
}

}  // namespace

std::uint8_t mapped_shift(Machine& machine, std::uint64_t cr3, VirtAddr address, unsigned lowest) {
  FramePool& frames = machine.frames();
  std::uint32_t table = FramePool::frame_at(cr3);
  for (unsigned level = machine.top_level(); level >= lowest; --level) {
    if (table == FramePool::kNoFrame || frames.info(table).kind != FrameKind::table) return 0;
    const std::uint64_t& entry = frames.words(table)[table_index(address, level)];
    machine.record_access(&entry, false);
    if ((entry & kPtePresent) == 0) return 0;
    if (maps_page(entry, level)) return shift_of_level(level);
    table = FramePool::frame_at(entry);
  }
  return 0;
}

WalkResult walk_tables(Machine& machine, const Walker& walker, const WalkPurpose& purpose,
                       Observer* observer) {
  FramePool& frames = machine.frames();
  const std::uint32_t root = FramePool::frame_at(walker.cr3);
  if (root == FramePool::kNoFrame) return {};
  Walk walk{.machine = machine,
            .walker = walker,
            .purpose = purpose,
            .observer = observer,
            .at = {.prefix = 0,
                   .table = root,
                   .life = frames.info(root).life,
                   .root = root,
                   .pcid = walker.pcid,
                   .shift = shift_of_level(machine.top_level() + 1),
                   .rights = {},
                   .from = {}}};
  PscEntry& at = walk.at;
  const PscEntry* cached = walker.tlb.find_start(purpose.address, walker.pcid, purpose.stop);
  if (cached != nullptr) at = *cached;
  bool is_stamped = false;  // with what oracles want to know of this walk
  for (unsigned level = at.level();; --level) {
    if (!may_use_table(walk)) return {};
    std::uint64_t& entry = frames.words(at.table)[table_index(purpose.address, level)];
    // A walk sees memory: what this CPU has stored to the entry comes there first.
    if (purpose.is_instruction) machine.memory().drain_through(machine.cpu(walker.id), &entry);
    machine.record_access(&entry, false);
    const bool is_leaf = maps_page(entry, level);
    if (is_leaf && purpose.stop > 1) return {};
    if (!is_leaf && (entry & kPtePresent) == 0) return {};
    if (!is_leaf && !is_stamped && observer != nullptr) {
      observer->on_fill(walker.id, purpose.address, at.from);
    }
    is_stamped = true;
    const WalkResult result = is_leaf ? finish(walk, entry, level) : WalkResult{};
    const std::uint64_t seen = is_leaf ? 0 : set(walk, entry, kPteAccessed);
    if (walk.is_overtaken) return walk_tables(machine, walker, purpose, observer);
    if (is_leaf) return result;
    at.rights = at.rights.and_of(seen);
    at.table = FramePool::frame_at(seen);
    if (at.table == FramePool::kNoFrame) return {};
    machine.record_access(place(LocationKind::frame, at.table), false);
    at.life = frames.info(at.table).life;
    at.shift = shift_of_level(level);
    at.prefix = purpose.address >> at.shift;
    machine.record_access(
        walker.id == kDevice ? place(LocationKind::device) : place(LocationKind::tables, walker.id),
        true);
    walker.tlb.psc.insert(at);
    if (level == purpose.stop) return {};
  }
}

}  // namespace shootdown::host
