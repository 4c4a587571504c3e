#include "fuzz/oracles/hardware/contents.h"

#include "fuzz/oracles/reports/names.h"

namespace shootdown::fuzz {

using host::FramePool;
using host::Machine;
using host::TlbEntry;

void ContentsChecker::start() {
  clock_ = 0;
  waiting_ = 0;
  for (auto& pages : mapping_) pages.fill({});
  for (Operation& operation : operation_) {
    operation.replaces = operation.took_accessed = false;
    operation.lookup.active = false;
  }
}

// ---- What is mapped

void ContentsChecker::check_accessed(const std::uint64_t* word, std::uint64_t before,
                                     std::uint64_t after) {
  host::FramePool& frames = truth_.machine().frames();
  const std::uint16_t owner = frames.info(frames.frame_of(word)).owner;
  // Large pages change their size meanwhile, and their parts have accessed bits of their own.
  if (owner_level(owner) != 1 || owner_mm(owner) == kKernelMm) return;
  const auto has = [](std::uint64_t entry, std::uint64_t bits) { return (entry & bits) == bits; };
  constexpr std::uint64_t kUsed = host::kPtePresent | host::kPteAccessed;
  Operation& operation = self();
  bool lost = false;
  if (has(before, host::kPtePresent)) {
    const bool stays =
        has(after, host::kPtePresent) && FramePool::frame_at(before) == FramePool::frame_at(after);
    lost = stays && has(before, kUsed) && !has(after, kUsed);
    operation.took_accessed = operation.replaces && after == 0 && has(before, kUsed);
  } else if (has(after, host::kPtePresent)) {
    lost = operation.took_accessed && !has(after, kUsed);
    operation.took_accessed = false;
  }
  if (!lost) return;
  truth_.fail(Oracle::o34, "an entry loses its accessed bit",
              "Reclaim would take the page for one that was not used.", {},
              truth_.event(truth_.machine().running().id, "writes the entry without the bit"));
}

void ContentsChecker::on_store_arrives(const std::uint64_t* word) {
  host::FramePool& frames = truth_.machine().frames();
  const std::uint16_t owner = frames.info(frames.frame_of(word)).owner;
  if (owner_mm(owner) != kKernelMm) --waiting_;
}

void ContentsChecker::on_table_write(const std::uint64_t* word) {
  Machine& machine = truth_.machine();
  const std::uint32_t frame = machine.frames().frame_of(word);
  const std::uint16_t owner = machine.frames().info(frame).owner;
  const unsigned level = owner_level(owner);
  if (level > 2) return;
  const unsigned mm = owner_mm(owner);
  const VirtAddr address = mapped_by(owner, machine.frames().words(frame), word);
  if (level == 1) {
    if (page_of(address) != kPages) note_mapping(mm, page_of(address));
    return;
  }
  for (unsigned page = 0; page < kPages; ++page) {
    if (page_address(page) >> kLargePageShift == address >> kLargePageShift) {
      note_mapping(mm, page);
    }
  }
}

void ContentsChecker::note_mapping(unsigned mm, unsigned page) {
  const std::uint64_t entry = truth_.kernel().leaf(mm, page);
  Mapping& mapping = mapping_[mm][page];
  if (entry == 0) {
    if (!self().replaces) mapping.mapped = false;
    return;
  }
  const std::uint32_t frame = FramePool::frame_at(entry);
  if (frame == FramePool::kNoFrame) {
    const CpuId cpu = truth_.machine().running().id;
    truth_.fail(Oracle::o6, "an entry is made that names no memory", "There is no such frame.", {},
                truth_.event(cpu, "maps " + page_name(page) + " of " + mm_name(mm)));
    return;
  }
  const bool has_right = truth_.kernel().has_right(entry);
  const bool other_frame = !mapping.mapped || mapping.frame != frame;
  const bool changes = mapping.mapped && has_right != mapping.has_right && self().replaces;
  if (!mapping.mapped) {
    ++clock_;
    mapping = {.mapped = true, .content = content_[frame], .mapped_at = clock_};
  }
  if (has_right && !mapping.has_right) mapping.granted_at = ++clock_;
  mapping.has_right = has_right;
  mapping.frame = frame;
  // A plain store of an operation that gives or takes rights may arrive while another one runs.
  if (changes && waiting_ == 0) {
    truth_.fail(Oracle::o34,
                has_right ? "a right comes back that was taken from a page"
                          : "a page loses a right that was not taken",
                page_name(page) + " of " + mm_name(mm) +
                    (has_right ? " has it again, and it was not given."
                               : " has it no longer, and was only to be replaced."),
                {}, truth_.event(truth_.machine().running().id, "replaces the entry"));
  }
  if (!other_frame) return;
  add_to_lookups(mm, page, frame);
  check_one_frame(mm, page, frame);
}

void ContentsChecker::check_one_frame(unsigned mm, unsigned page, std::uint32_t frame) const {
  truth_.machine().record_access(Truth::version_place(mm, page), true);
  truth_.record_page_access(page);
  const auto leads_elsewhere = [&](const TlbEntry& entry) {
    return entry.from.mm == mm && entry.from.life == truth_.mm(mm).life &&
           page_of(entry.page << entry.shift) == page && entry.frame != frame;
  };
  truth_.for_each_usable(leads_elsewhere, [&](CpuId target, const TlbEntry& entry) {
    truth_.fail(Oracle::o33, "a page is mapped while a CPU can use another one at its address",
                cpu_name(target) + " can use frame " + std::to_string(entry.frame) + ", and " +
                    page_name(page) + " of " + mm_name(mm) + " is frame " + std::to_string(frame) +
                    " from now on.",
                truth_.fill_event(target, entry),
                truth_.event(truth_.machine().running().id, "makes the entry present"));
  });
}

void ContentsChecker::on_page_release(std::uint32_t frame) const {
  // Exhaustive search does not follow which entries a release depends on.
  if (truth_.machine().controlled().is_on()) return;
  for (unsigned mm = 0; mm < truth_.mms(); ++mm) {
    for (unsigned page = 0; page < kPages; ++page) {
      const Mapping& mapping = mapping_[mm][page];
      if (!mapping.mapped || mapping.frame != frame) continue;
      // An entry that is about to be replaced is gone for a moment.
      const std::uint64_t entry = truth_.kernel().leaf(mm, page);
      if (entry == 0 || FramePool::frame_at(entry) != frame) continue;
      truth_.fail(
          Oracle::o6, "a page is released while an entry maps it",
          page_name(page) + " of " + mm_name(mm) + " is frame " + std::to_string(frame) + ".", {},
          truth_.event(truth_.machine().running().id, "releases the page"));
    }
  }
}

// ---- What is stored and loaded

void ContentsChecker::on_use(CpuId cpu, VirtAddr address, const TlbEntry& entry, bool write) {
  const unsigned page = page_of(address);
  const bool outdated = truth_.is_outdated(entry, page);
  check_content(cpu, page, entry, outdated);
  if (write) note_store(entry.from.mm, page, entry, outdated);
}

void ContentsChecker::note_store(unsigned mm, unsigned page, const TlbEntry& entry, bool outdated) {
  content_[entry.frame] = ++clock_;
  if (!outdated) {
    mapping_[mm][page].content = clock_;
    return;
  }
  // The right is being taken away and the flush for that is not complete, so the store counts for
  // the address that has the page by now: the one that it is moved to, or a child's.
  for (auto& pages : mapping_) {
    for (Mapping& mapping : pages) {
      if (mapping.mapped && mapping.frame == entry.frame) mapping.content = clock_;
    }
  }
}

void ContentsChecker::check_content(CpuId cpu, unsigned page, const TlbEntry& entry,
                                    bool outdated) const {
  const unsigned mm = entry.from.mm;
  const Mapping& mapping = mapping_[mm][page];
  // An entry that is outdated may be used until the flush is complete.
  if (!mapping.mapped) return;
  if (mapping.frame != entry.frame) {
    if (truth_.kernel().leaf(mm, page) == 0) return;  // about to be replaced
    truth_.fail(Oracle::o33, "a CPU uses another page than the one that is mapped at the address",
                cpu_name(cpu) + " uses frame " + std::to_string(entry.frame) + ", and " +
                    page_name(page) + " of " + mm_name(mm) + " is frame " +
                    std::to_string(mapping.frame) + ".",
                truth_.fill_event(cpu, entry), truth_.event(cpu, "uses it"));
  } else if (!outdated && content_[entry.frame] != mapping.content) {
    truth_.fail(Oracle::o33, "a page does not hold what was stored to it last",
                "Another task has stored to the frame of " + page_name(page) + " of " +
                    mm_name(mm) + ", or a store is lost.",
                truth_.fill_event(cpu, entry), truth_.event(cpu, "accesses the page"));
  }
}

// ---- What operations leave

bool ContentsChecker::was_mapped_throughout(unsigned mm, unsigned page) const {
  truth_.machine().record_access(Truth::version_place(mm, page), false);
  const Mapping& mapping = mapping_[mm][page];
  return mapping.mapped && mapping.mapped_at <= self().began;
}

void ContentsChecker::on_unmapped(unsigned mm, unsigned first, unsigned last) const {
  for (unsigned page = first; page <= last; ++page) {
    if (!was_mapped_throughout(mm, page)) continue;
    truth_.fail(Oracle::o34, "a page is still mapped when it has been unmapped",
                page_name(page) + " of " + mm_name(mm) + " was there before, and still is.", {},
                truth_.event(truth_.machine().running().id, "has unmapped the range"));
  }
}

void ContentsChecker::on_protected(unsigned mm, unsigned first, unsigned last) const {
  for (unsigned page = first; page <= last; ++page) {
    if (!was_mapped_throughout(mm, page)) continue;
    const Mapping& mapping = mapping_[mm][page];
    if (!mapping.has_right || mapping.granted_at > self().began) continue;
    truth_.fail(Oracle::o34, "a page has kept a right when it has been protected",
                page_name(page) + " of " + mm_name(mm) + " gives it still.", {},
                truth_.event(truth_.machine().running().id, "has protected the range"));
  }
}

void ContentsChecker::begin_fork(unsigned parent) {
  for (unsigned page = 0; page < kPages; ++page) {
    self().before_fork[page] = mapping_[parent][page].content;
  }
}

void ContentsChecker::on_forked(unsigned parent, unsigned child) const {
  const CpuId cpu = truth_.machine().running().id;
  for (unsigned page = 0; page < kPages; ++page) {
    if (!was_mapped_throughout(parent, page)) continue;
    const Mapping& mapping = mapping_[child][page];
    if (!mapping.mapped) {
      truth_.fail(Oracle::o34, "a fork loses a page",
                  page_name(page) + " was mapped in " + mm_name(parent) + " all the time, and " +
                      mm_name(child) + " has not got it.",
                  {}, truth_.event(cpu, "has forked the mm"));
    } else if (mapping.content != self().before_fork[page] && mapping.content <= self().began) {
      truth_.fail(Oracle::o34, "a fork's child has other content than the parent",
                  page_name(page) + " of " + mm_name(child) + " holds what " + mm_name(parent) +
                      " had not there since the fork began.",
                  {}, truth_.event(cpu, "has forked the mm"));
    }
  }
}

// ---- What lockless walks find

void ContentsChecker::begin_lookup(unsigned mm, unsigned page) {
  Machine& machine = truth_.machine();
  machine.record_access(place(Ghost::walker, truth_.running_thread()), true);
  Lookup& lookup = self().lookup;
  lookup.active = true;
  lookup.mm = mm;
  lookup.page = page;
  lookup.seen.clear();
  const Mapping& mapping = mapping_[mm][page];
  if (!mapping.mapped) return;
  lookup.seen.push_back(
      {.frame = mapping.frame, .life = machine.frames().info(mapping.frame).life});
}

void ContentsChecker::add_to_lookups(unsigned mm, unsigned page, std::uint32_t frame) {
  Machine& machine = truth_.machine();
  for (unsigned thread = 0; thread < machine.cpu_count(); ++thread) {
    Lookup& lookup = operation_[thread].lookup;
    if (!lookup.active || lookup.mm != mm || lookup.page != page) continue;
    machine.record_access(place(Ghost::walker, thread), true);
    lookup.seen.push_back({.frame = frame, .life = machine.frames().info(frame).life});
  }
}

void ContentsChecker::end_lookup(std::uint32_t frame) {
  Machine& machine = truth_.machine();
  Lookup& lookup = self().lookup;
  lookup.active = false;
  if (frame == FramePool::kNoFrame) return;
  machine.record_access(host::place(host::LocationKind::frame, frame), false);
  const host::FrameInfo& info = machine.frames().info(frame);
  for (const Lookup::Page& seen : lookup.seen) {
    if (seen.frame == frame && seen.life == info.life) return;
  }
  truth_.fail(Oracle::o34, "a lockless walk returns a page that was not mapped there",
              "Frame " + std::to_string(frame) + " was not " + page_name(lookup.page) + " of " +
                  mm_name(lookup.mm) + " at any moment of the walk.",
              truth_.change_event(info, "gave the frame to another mapping"),
              truth_.event(machine.running().id, "gets the page"));
}

}  // namespace shootdown::fuzz
