// What pages hold and what operations leave, judged from outside: O33 and O34.
//
// The oracle keeps, for each page of each space, whether a program may rely on it and when it was
// stored to last; and for each frame the time of the last store to it. A load has to find the
// frame that was stored to at the page's time.
#include "fuzz/kernel/guest.h"
#include "fuzz/oracles/names.h"
#include "fuzz/oracles/oracles.h"
#include "fuzz/oracles/usable.h"

namespace shootdown::fuzz {

using host::FramePool;
using host::kPteWritable;
using host::Oracle;
using host::TlbEntry;

namespace {

/// Whether the entries that the operation takes away come back, and nobody is to notice.
bool only_replaces(OpKind kind) {
  return kind == OpKind::replace || kind == OpKind::cow || kind == OpKind::split ||
         kind == OpKind::collapse;
}

}  // namespace

// ---- What is mapped
// ---------------------------------------------------------------------------------

void Oracles::note_mappings(unsigned space, unsigned level, VirtAddr address) {
  if (level == 1) {
    if (page_of(address) != kPages) note_mapping(space, page_of(address));
    return;
  }
  for (unsigned page = 0; page < kPages; ++page) {
    if (page_address(page) >> kLargePageShift == address >> kLargePageShift) {
      note_mapping(space, page);
    }
  }
}

void Oracles::note_mapping(unsigned space, unsigned page) {
  const OpKind operation = cpu_[machine_.running().id].operation;
  const std::uint64_t entry = guest_->leaf(space, page);
  Mapping& mapping = mapping_[space][page];
  if (entry == 0) {
    if (!only_replaces(operation)) mapping.mapped = false;
    return;
  }
  const std::uint32_t frame = FramePool::frame_at(entry);
  if (frame == FramePool::kNoFrame) {
    fail(Oracle::o6, "an entry is made that names no memory", "There is no such frame.", {},
         event(machine_.running().id, "maps " + page_name(page) + " of " + mm_name(space)));
    return;
  }
  const bool may_store = (entry & (kPteWritable | vm::kPteCow)) != 0;
  const bool other_frame = !mapping.mapped || mapping.frame != frame;
  if (!mapping.mapped) {
    ++clock_;
    mapping = {.mapped = true, .content = content_[frame], .mapped_at = clock_};
  }
  if (may_store && !mapping.may_store) mapping.granted_at = ++clock_;
  mapping.may_store = may_store;
  mapping.frame = frame;
  if (!other_frame) return;
  add_to_lookups(space, page, frame);
  check_one_frame(space, page, frame);
}

void Oracles::check_one_frame(unsigned space, unsigned page, std::uint32_t frame) {
  machine_.touch(version_place(space, page), true);
  touch_page(page);
  const auto leads_elsewhere = [&](const TlbEntry& entry) {
    return entry.from.space == space && entry.from.life == space_[space].life &&
           page_of(entry.page << entry.shift) == page && entry.frame != frame;
  };
  for_each_usable(leads_elsewhere, [&](CpuId target, const TlbEntry& entry) {
    fail(Oracle::o33, "a page is mapped while a CPU can use another one at its address",
         cpu_name(target) + " can use frame " + std::to_string(entry.frame) + ", and " +
             page_name(page) + " of " + mm_name(space) + " is frame " + std::to_string(frame) +
             " from now on.",
         fill_event(target, entry), event(machine_.running().id, "makes the entry present"));
  });
}

// ---- What is stored and loaded
// ----------------------------------------------------------------------

void Oracles::note_store(unsigned space, unsigned page, const TlbEntry& entry, bool outdated) {
  content_[entry.frame] = ++clock_;
  if (!outdated) {
    mapping_[space][page].content = clock_;
    return;
  }
  // The right is being taken away and the flush for that is not complete, so the store counts for
  // whoever has the page by now: the address that it is moved to, or a child.
  for (auto& pages : mapping_) {
    for (Mapping& mapping : pages) {
      if (mapping.mapped && mapping.frame == entry.frame) mapping.content = clock_;
    }
  }
}

void Oracles::check_content(CpuId cpu, unsigned space, unsigned page, const TlbEntry& entry,
                            bool outdated) {
  const Mapping& mapping = mapping_[space][page];
  // An entry that is outdated may be used until the flush is complete.
  if (!mapping.mapped) return;
  if (mapping.frame != entry.frame) {
    if (guest_->leaf(space, page) == 0) return;  // about to be replaced
    fail(Oracle::o33, "a CPU uses another page than the one that is mapped at the address",
         cpu_name(cpu) + " uses frame " + std::to_string(entry.frame) + ", and " + page_name(page) +
             " of " + mm_name(space) + " is frame " + std::to_string(mapping.frame) + ".",
         fill_event(cpu, entry), event(cpu, "uses it"));
  } else if (!outdated && content_[entry.frame] != mapping.content) {
    fail(Oracle::o33, "a page does not hold what was stored to it last",
         "Somebody else has stored to the frame of " + page_name(page) + " of " + mm_name(space) +
             ", or a store is lost.",
         fill_event(cpu, entry), event(cpu, "accesses the page"));
  }
}

// ---- What operations leave
// --------------------------------------------------------------------------

bool Oracles::was_mapped_throughout(unsigned space, unsigned page) const {
  machine_.touch(version_place(space, page), false);
  const Mapping& mapping = mapping_[space][page];
  return mapping.mapped && mapping.mapped_at <= cpu_[machine_.running().id].began;
}

void Oracles::on_done(const Op& op) {
  const CpuId self = machine_.running().id;
  unsigned first = op.page;
  unsigned last = op.page;
  if (op.kind == OpKind::free_table && op.page < kSmallPages) {
    first = op.page / kPagesPerTable * kPagesPerTable;
    last = first + kPagesPerTable - 1;
  } else if (op.kind != OpKind::free_table) {
    last = op.page + op.count - 1;
  }
  const bool unmaps = op.kind == OpKind::unmap || op.kind == OpKind::free_table;
  const bool protects = op.kind == OpKind::protect || op.kind == OpKind::protect_early;
  if (!unmaps && !protects) return;
  for (unsigned page = first; page <= last; ++page) {
    if (!was_mapped_throughout(op.mm, page)) continue;
    const Mapping& mapping = mapping_[op.mm][page];
    if (unmaps) {
      fail(Oracle::o34, "a page is still mapped when it has been unmapped",
           page_name(page) + " of " + mm_name(op.mm) + " was there before, and still is.", {},
           event(self, "has unmapped the range"));
    } else if (mapping.may_store && mapping.granted_at <= cpu_[self].began) {
      fail(Oracle::o34, "a page may still be stored to when it has been protected",
           page_name(page) + " of " + mm_name(op.mm) + " has kept the right.", {},
           event(self, "has protected the range"));
    }
  }
}

void Oracles::begin_fork(unsigned parent) {
  for (unsigned page = 0; page < kPages; ++page) {
    cpu_[machine_.running().id].before_fork[page] = mapping_[parent][page].content;
  }
}

void Oracles::on_forked(unsigned parent, unsigned child) {
  const CpuId self = machine_.running().id;
  for (unsigned page = 0; page < kPages; ++page) {
    if (!was_mapped_throughout(parent, page)) continue;
    const Mapping& mapping = mapping_[child][page];
    if (!mapping.mapped) {
      fail(Oracle::o34, "a fork loses a page",
           page_name(page) + " was mapped in " + mm_name(parent) + " all the time, and " +
               mm_name(child) + " has not got it.",
           {}, event(self, "has forked the space"));
    } else if (mapping.content != cpu_[self].before_fork[page] &&
               mapping.content <= cpu_[self].began) {
      fail(Oracle::o34, "a fork's child has other content than the parent",
           page_name(page) + " of " + mm_name(child) + " holds what " + mm_name(parent) +
               " had not there since the fork began.",
           {}, event(self, "has forked the space"));
    }
  }
}

// ---- What lockless walks find
// -----------------------------------------------------------------------

void Oracles::begin_lookup(unsigned space, unsigned page) {
  const CpuId self = machine_.running().id;
  machine_.touch(host::place(host::Part::walker, self), true);
  Lookup& lookup = cpu_[self].lookup;
  lookup.active = true;
  lookup.space = space;
  lookup.page = page;
  lookup.size = 0;
  const Mapping& mapping = mapping_[space][page];
  if (!mapping.mapped) return;
  lookup.seen[lookup.size++] = {.frame = mapping.frame,
                                .life = machine_.frames().info(mapping.frame).life};
}

void Oracles::add_to_lookups(unsigned space, unsigned page, std::uint32_t frame) {
  for (CpuId cpu = 0; cpu < machine_.cpu_count(); ++cpu) {
    Lookup& lookup = cpu_[cpu].lookup;
    if (!lookup.active || lookup.space != space || lookup.page != page) continue;
    machine_.touch(host::place(host::Part::walker, cpu), true);
    if (lookup.size == lookup.seen.size()) continue;
    lookup.seen[lookup.size++] = {.frame = frame, .life = machine_.frames().info(frame).life};
  }
}

void Oracles::end_lookup(std::uint32_t frame) {
  const CpuId self = machine_.running().id;
  Lookup& lookup = cpu_[self].lookup;
  lookup.active = false;
  // With a full list nobody knows.
  if (frame == FramePool::kNoFrame || lookup.size == lookup.seen.size()) return;
  machine_.touch(host::place(host::Part::frame, frame), false);
  const std::uint32_t life = machine_.frames().info(frame).life;
  for (unsigned i = 0; i < lookup.size; ++i) {
    if (lookup.seen[i].frame == frame && lookup.seen[i].life == life) return;
  }
  fail(Oracle::o34, "a lockless walk returns a page that was not mapped there",
       "Frame " + std::to_string(frame) + " was not " + page_name(lookup.page) + " of " +
           mm_name(lookup.space) + " at any moment of the walk.",
       {.step = machine_.frames().info(frame).changed_at,
        .cpu = machine_.frames().info(frame).changed_by,
        .what = "gave the frame to somebody else"},
       event(self, "gets the page"));
}

}  // namespace shootdown::fuzz
