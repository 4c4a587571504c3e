// What the memory manager owes: page-table changes, promises about them, and what may be released.
#include "fuzz/kernel/guest.h"
#include "fuzz/oracles/names.h"
#include "fuzz/oracles/oracles.h"
#include "fuzz/oracles/usable.h"
#include "hal/host/hypervisor.h"

namespace shootdown::fuzz {

using host::FrameInfo;
using host::FrameKind;
using host::FramePool;
using host::HostCpu;
using host::kPteDirty;
using host::kPteLarge;
using host::kPtePresent;
using host::kPteUser;
using host::kPteWritable;
using host::Oracle;
using host::TlbEntry;

namespace {

/// Whether a translation made from `before` may do what `after` does not grant, or does unseen what
/// `after` would record. Not the memory manager's own rule: that one is judged, too.
bool is_weaker(std::uint64_t before, std::uint64_t after) {
  if ((before & kPtePresent) == 0) return false;
  if ((after & kPtePresent) == 0) return true;
  if (FramePool::frame_at(before) != FramePool::frame_at(after)) return true;
  if (((before ^ after) & kPteLarge) != 0) return true;
  return (before & ~after & (kPteWritable | kPteUser | kPteDirty)) != 0;
}

bool is_table(std::uint64_t entry) {
  return (entry & kPtePresent) != 0 && (entry & kPteLarge) == 0;
}

}  // namespace

// ---- Page tables
// ----------------------------------------------------------------------------------

void Oracles::on_table_write(const std::uint64_t* word, std::uint64_t before, std::uint64_t after) {
  if (machine_.memory().reorders()) {
    const CpuId cpu = machine_.running().id;
    order_[cpu].last_event = order_[cpu].last_change = machine_.memory().cxx().now(cpu);
  }
  const std::uint32_t frame = machine_.frames().frame_of(word);
  const FrameInfo& info = machine_.frames().info(frame);
  const auto index = static_cast<VirtAddr>(word - machine_.frames().words(frame));
  const unsigned space = owner_space(info.owner);
  const unsigned level = owner_level(info.owner);
  const bool weaker = is_weaker(before, after);
  if (level > 2) {
    if (weaker) note_unhooked(FramePool::frame_at(before), 0, /*is_page_table=*/false);
    return;
  }
  const VirtAddr address = level == 2 ? (page_address(0) >> kHugePageShift << kHugePageShift) +
                                            (index << kLargePageShift)
                                      : owner_region(info.owner) + (index << kPageShift);
  if (weaker && level == 2 && is_table(before)) {
    on_table_unhooked(space, address, FramePool::frame_at(before));
  } else if (weaker && page_of(address) != kPages) {
    on_entry_changed(space, page_of(address));
  }
  note_mappings(space, level, address);
}

void Oracles::on_entry_changed(unsigned space, unsigned page) {
  CpuGhost& ghost = cpu_[machine_.running().id];
  ghost.changed_space = space;
  ghost.changed_page = page;
  machine_.touch(version_place(space, page), true);
  ++space_[space].pages[page].version;
}

// ---- Promises
// -------------------------------------------------------------------------------------

void Oracles::add_to_batch(CpuId cpu, const TraceEvent& event) {
  machine_.touch(host::place(host::Part::demands), false);
  CpuGhost& ghost = cpu_[cpu];
  const unsigned space = ghost.changed_space;
  const unsigned page = ghost.changed_page;
  ghost.batch.add({.space = space,
                   .life = space_[space].life,
                   .page = page,
                   .version = space_[space].pages[page].version});
  note_log(space, page, event.value);
}

void Oracles::note_promise(unsigned space, VirtAddr start, VirtAddr end) {
  PromiseList& promise = cpu_[machine_.running().id].promise;
  for (unsigned page = 0; page < kPages; ++page) {
    const VirtAddr address = probe_address(page);
    if (address >= start && address < end) machine_.touch(version_place(space, page), false);
    const std::uint64_t version = space_[space].pages[page].version;
    if (address < start || address >= end || version == 0) continue;
    promise.add({.space = space, .life = space_[space].life, .page = page, .version = version});
  }
}

void Oracles::on_promise() {
  const CpuId cpu = machine_.running().id;
  check_promises(cpu, cpu_[cpu].promise, Oracle::o21,
                 "an operation completes over a change that is not flushed");
  cpu_[cpu].promise.size = 0;
}

void Oracles::check_promises(CpuId cpu, const PromiseList& promises, Oracle oracle,
                             const char* title) {
  if (promises.size == 0) return;
  machine_.touch(host::place(host::Part::demands), false);
  for (unsigned i = 0; i < promises.size; ++i) {
    const Promise& promise = promises.items[i];
    touch_page(promise.page);
    if (promise.life != space_[promise.space].life) continue;
    Demand& demand = space_[promise.space].pages[promise.page].demand;
    if (promise.version > demand.version) {
      demand = {.version = promise.version,
                .step = machine_.step(),
                .cpu = cpu,
                .by = oracle == Oracle::o20 ? By::batch : By::operation};
    }
    check_device_promise(cpu, promise, oracle);
  }
  const auto breaks = [&](const TlbEntry& entry) {
    const unsigned page = page_of(entry.page << entry.shift);
    for (unsigned i = 0; i < promises.size; ++i) {
      const Promise& promise = promises.items[i];
      if (promise.space == entry.from.space && promise.page == page &&
          promise.life == entry.from.life && entry.from.version < promise.version) {
        return true;
      }
    }
    return false;
  };
  for_each_usable(breaks, [&](CpuId target, const TlbEntry& entry) {
    fail(oracle, title,
         cpu_name(target) + " runs " + mm_name(entry.from.space) + " with " +
             page_name(page_of(entry.page << entry.shift)) + " from before the change.",
         fill_event(target, entry), event(cpu, "completes"));
  });
}

// ---- Content
// --------------------------------------------------------------------------------------

void Oracles::on_copy(std::uint32_t to, std::uint32_t from) {
  content_[to] = content_[from];
  touch_pages();
  const CpuId self = machine_.running().id;
  // Without the dirty bit in the entry a store walks first, and sees what memory says.
  const auto writes = [&](const TlbEntry& entry) {
    return entry.frame == from && entry.writable && entry.dirty;
  };
  for_each_usable(writes, [&](CpuId target, const TlbEntry& entry) {
    fail(Oracle::o21, "a page is copied while a CPU can still store to it",
         cpu_name(target) + " may store to the old frame behind the copy's back.",
         fill_event(target, entry), event(self, "copies the page"));
  });
}

void Oracles::on_cleaned(unsigned space, VirtAddr start, VirtAddr end) {
  touch_pages();
  const CpuId self = machine_.running().id;
  const auto writes = [&](const TlbEntry& entry) {
    const unsigned page = page_of(entry.page << entry.shift);
    const VirtAddr address = probe_address(page);
    return entry.from.space == space && start <= address && address < end && entry.writable &&
           entry.dirty && (guest_->leaf(space, page) & kPteDirty) == 0;
  };
  for_each_usable(writes, [&](CpuId target, const TlbEntry& entry) {
    const unsigned page = page_of(entry.page << entry.shift);
    fail(Oracle::o21, "a page counts as clean while a CPU can store to it unseen",
         cpu_name(target) + " has " + page_name(page) + " of " + mm_name(space) +
             " cached with the dirty bit set.",
         fill_event(target, entry), event(self, "takes the page for clean"));
  });
}

// ---- Lockless walkers and references
// --------------------------------------------------------------

void Oracles::on_software_use(std::uint32_t frame, FrameKind kind, const char* verb) {
  const std::string what = std::string("the memory manager ") + verb;
  if (frame == FramePool::kNoFrame) {
    fail(Oracle::o6, what + " in a frame that does not exist", "No such memory was ever allocated.",
         {}, event(machine_.running().id, verb));
    return;
  }
  machine_.touch(host::place(host::Part::frame, frame), false);
  const FrameInfo& info = machine_.frames().info(frame);
  if (info.kind == kind) return;
  fail(Oracle::o6,
       what + (kind == FrameKind::table ? " in a frame that is no table"
                                        : " in a frame that is no page"),
       info.kind == FrameKind::free ? "The frame was released." : "The frame is something else.",
       {.step = info.changed_at, .cpu = info.changed_by, .what = "released or reused the frame"},
       event(machine_.running().id, verb));
}

void Oracles::on_needless_record() {
  fail(Oracle::o6, "the memory manager gives a record back that it does not have",
       "It would wait for no table's walkers.", {},
       event(machine_.running().id, "gives the record back"));
}

void Oracles::on_software_walk(const std::uint64_t* word) {
  if (machine_.frames().frame_of(word) == FramePool::kNoFrame) {
    on_software_use(FramePool::kNoFrame, FrameKind::table, "walks");
    return;
  }
  machine_.touch(host::place(host::Part::frame, machine_.frames().frame_of(word)), false);
  const FrameInfo& info = machine_.frames().info(machine_.frames().frame_of(word));
  if (info.kind == FrameKind::table) return;
  fail(Oracle::o6, "a lockless walker reads a released page table",
       "The frame is no page table any more.",
       {.step = info.changed_at, .cpu = info.changed_by, .what = "released or reused the table"},
       event(machine_.running().id, "reads it"));
}

void Oracles::on_walker_holds(std::uint32_t frame) {
  machine_.touch(host::place(host::Part::walker, machine_.running().id), true);
  cpu_[machine_.running().id].walker_table = frame;
}

void Oracles::on_page_read(std::uint32_t frame) {
  machine_.touch(host::place(host::Part::frame, frame), false);
  const FrameInfo& info = machine_.frames().info(frame);
  if (info.kind == FrameKind::data) return;
  fail(Oracle::o6, "a page is released while somebody holds a reference to it",
       "The frame is no page any more.",
       {.step = info.changed_at, .cpu = info.changed_by, .what = "released the page"},
       event(machine_.running().id, "reads it"));
}

// ---- Releases
// -------------------------------------------------------------------------------------

void Oracles::on_release(std::uint32_t frame) {
  const FrameInfo& info = machine_.frames().info(frame);
  if (info.kind == FrameKind::free) {
    fail(Oracle::o6, "a frame is released twice", "Nobody has asked for it since.",
         {.step = info.changed_at, .cpu = info.changed_by, .what = "released the frame"},
         event(machine_.running().id, "releases it again"));
    return;
  }
  if (machine_.memory().reorders()) check_last_uses(frame);
  if (info.kind == FrameKind::table) {
    check_table_release(frame);
  } else {
    check_page_release(frame);
  }
}

void Oracles::check_page_release(std::uint32_t frame) {
  const CpuId self = machine_.running().id;
  touch_pages();
  check_device_before_release(frame);
  for (CpuId id = 0; id < machine_.cpu_count(); ++id) {
    const HostCpu& cpu = machine_.cpu(id);
    const std::uint16_t pcid = machine_.pcid_of(cpu.cr3);
    for (const TlbEntry& entry : cpu.tlb.entries) {
      if (entry.frame != frame) continue;
      touch_cpu(id);
      if (cpu_[id].offline) break;
      if (entry.pcid != pcid && !entry.global) continue;
      // A lazy CPU may keep a user entry: it does not use it, and flushes before it does (R3).
      if (entry.from.space != kKernelSpace && !uses_user_half(id)) continue;
      fail(Oracle::o6, "a frame is released while a CPU can use it",
           cpu_name(id) + " still has a usable translation to the frame.", fill_event(id, entry),
           event(self, "releases the frame"));
    }
  }
  // Pages begin as zeroes, and each store counts one up.
  if (*machine_.frames().words(frame) != 0 && !store_recorded_[frame]) {
    fail(Oracle::o1, "a page is released, and a store to it left no trace",
         "No dirty bit of the page was seen when its entries went.", {},
         event(self, "releases the page"));
  }
}

void Oracles::on_destroy(unsigned space) {
  const GuestMm& guest_mm = guest_->space(space);
  for (CpuId id = 0; id < machine_.cpu_count(); ++id) {
    touch_cpu(id);
    const bool loaded =
        guest_->system().cpus[id].own.loaded_mm.seen_by(machine_.cpu(id)) == &guest_mm.mm;
    if (!loaded &&
        FramePool::frame_at(machine_.cpu(id).cr3) != FramePool::frame_at(guest_mm.mm.root))
      continue;
    // R6: whoever frees tables tells lazy CPUs, too.
    const bool lazy = guest_->system().cpus[id].shared.is_lazy.seen_by(machine_.cpu(id));
    fail(lazy ? Oracle::o5 : Oracle::o31,
         lazy ? "the tables of a space are about to be released while a lazy CPU can walk them"
              : "an address space is destroyed while a CPU has it loaded",
         cpu_name(id) + " has " + mm_name(space) + " loaded.", {},
         event(machine_.running().id, "destroys " + mm_name(space)));
  }
  for (CpuId id = 0; id < machine_.cpu_count(); ++id) {
    if (((mask_word(space) >> id) & 1) == 0) continue;
    touch_cpu(id);
    fail(Oracle::o31, "an address space is destroyed while a CPU is in its mask",
         cpu_name(id) + " has yet to clear its bit, in memory that may be something else by then.",
         {}, event(machine_.running().id, "destroys " + mm_name(space)));
    break;
  }
  mapping_[space].fill({});
  SpaceGhost& ghost = space_[space];
  ++ghost.life;
  ghost.last_generation = kFirstGeneration;
  for (PageGhost& page : ghost.pages) {
    page.log_size = 0;
    page.demand = {};
  }
}

}  // namespace shootdown::fuzz
