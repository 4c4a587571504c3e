// Page tables and the pointers to them that hardware keeps, at every level (SDM vol. 3, 4.10.3).
//
// A cached pointer names a life of a frame: a frame that was released and became a table again is
// another table, even where nobody could tell by its content.
#include "fuzz/kernel/guest.h"
#include "fuzz/oracles/names.h"
#include "fuzz/oracles/oracles.h"
#include "hal/host/device.h"
#include "hal/host/hypervisor.h"

namespace shootdown::fuzz {

using host::Event;
using host::FrameInfo;
using host::FrameKind;
using host::FramePool;
using host::HostCpu;
using host::kPtePresent;
using host::Oracle;
using host::PscEntry;

namespace {

std::string walker_name(CpuId walker) {
  return walker == host::kDevice ? std::string("a device") : cpu_name(walker);
}

Event pointer_event(CpuId cpu, const PscEntry& pointer) {
  return {.step = pointer.from.step, .cpu = cpu, .what = "cached a pointer to the table"};
}

}  // namespace

// ---- Walks
// ----------------------------------------------------------------------------------------

bool Oracles::on_walk(CpuId cpu, std::uint32_t frame, std::uint32_t life) {
  machine_.touch(host::place(host::Part::frame, frame), false);
  const FrameInfo& info = machine_.frames().info(frame);
  const unsigned owner = owner_space(info.owner);
  const unsigned space = space_walked_by(cpu);
  (cpu == host::kDevice ? walked_by_device_ : cpu_[cpu].walked) = frame;
  const bool is_alive = info.kind == FrameKind::table && info.life == life;
  if (is_alive && (owner == space || owner == kKernelSpace)) return true;
  const std::string walks = walker_name(cpu) + " walks a frame that is ";
  std::string detail =
      walks + (info.kind == FrameKind::free ? "free." : "used for something else.");
  if (is_alive) {
    detail = walker_name(cpu) + " walks for " + space_name(space) + " and reads a table of " +
             space_name(owner) + ".";
  }
  fail(Oracle::o5,
       is_alive ? "a walk reads a page table of another address space"
                : "a walk reads a page table that was released",
       std::move(detail),
       {.step = info.changed_at,
        .cpu = info.changed_by,
        .what = is_alive ? "made the frame a table" : "released or reused the table"},
       cpu == host::kDevice ? event(machine_.running().id, "runs when a device walks it")
                            : event(cpu, "walks it"));
  return false;
}

// ---- Tables that are unhooked
// ---------------------------------------------------------------------

void Oracles::note_unhooked(std::uint32_t table, VirtAddr region, bool is_page_table) {
  // What a walk finds through an old pointer to the table counts as old from here on.
  machine_.touch(host::place(host::Part::frame, table), true);
  unhooked_[table] = {.life = machine_.frames().info(table).life,
                      .step = machine_.step(),
                      .region = region,
                      .is_page_table = is_page_table};
}

bool Oracles::is_unhooked(std::uint32_t table) const {
  return unhooked_[table].life == machine_.frames().info(table).life;
}

void Oracles::on_table_unhooked(unsigned space, VirtAddr region, std::uint32_t table) {
  note_unhooked(table, region, /*is_page_table=*/true);
  const std::uint64_t* words = machine_.frames().words(table);
  for (unsigned page = 0; page < kPages; ++page) {
    const VirtAddr address = probe_address(page);
    if (address >> kLargePageShift != region >> kLargePageShift) continue;
    const std::uint64_t entry = words[(address >> kPageShift) % FramePool::kWords];
    if ((entry & kPtePresent) == 0) continue;
    PageGhost& ghost = space_[space].pages[page];
    ghost.before_unhook = ghost.version;
    on_entry_changed(space, page);
  }
}

// ---- Flushes that free tables
// ---------------------------------------------------------------------

void Oracles::check_pointers_flushed(CpuId cpu, const FlushGhost& flush) {
  const FlushRequest<host::HostHal>& request = *flush.request;
  if (!flush.frees_tables) return;
  for (CpuId target = 0; target < machine_.cpu_count(); ++target) {
    const HostCpu& hardware = machine_.cpu(target);
    machine_.touch(host::place(host::Part::table_drops, target), false);
    // Lazy or not: walks need no instruction. Nobody walks for a virtual CPU without a processor,
    // and the host flushes it before it runs.
    if (cpu_[target].space != flush.space || machine_.hypervisor().will_flush(hardware)) continue;
    for (const PscEntry& pointer : hardware.tlb.psc) {
      const UnhookedTable& table = unhooked_[pointer.table];
      const bool covered = request.all() || (table.is_page_table && request.start <= table.region &&
                                             table.region < request.end);
      if (pointer.pcid != machine_.pcid_of(hardware.cr3) || pointer.life != table.life ||
          table.step >= flush.begin || !covered) {
        continue;
      }
      touch_cpu(target);
      fail(Oracle::o5, "a flush for freed tables returns while a CPU can walk one",
           cpu_name(target) + " has a cached pointer to a table that was unhooked before.",
           pointer_event(target, pointer), event(cpu, "the flush returns"));
    }
  }
}

bool Oracles::is_dead(const PscEntry& pointer) const {
  const FrameInfo& info = machine_.frames().info(pointer.table);
  return info.kind != FrameKind::table || info.life != pointer.life;
}

void Oracles::audit_pointers(CpuId cpu) {
  const HostCpu& hardware = machine_.cpu(cpu);
  const unsigned space = cpu_[cpu].space;
  machine_.touch(host::place(host::Part::tables, cpu), false);
  for (const PscEntry& pointer : hardware.tlb.psc) {
    if (pointer.pcid != machine_.pcid_of(hardware.cr3)) continue;
    machine_.touch(host::place(host::Part::frame, pointer.table), false);
    if (is_dead(pointer)) {
      fail(Oracle::o5, "a slot holds a pointer to a released page table",
           cpu_name(cpu) + " has " + mm_name(space) + " loaded and may walk it at any moment.",
           pointer_event(cpu, pointer), event(cpu, "may walk it now"));
    }
    if (pointer.from.space == kKernelSpace) continue;
    if (pointer.from.space == space && pointer.from.life == space_[space].life) continue;
    fail(Oracle::o4, "a slot holds pointers to tables of another address space",
         cpu_name(cpu) + " has " + mm_name(space) + " loaded, with pointers to tables of " +
             origin_name(pointer.from) + same_pcid() + ".",
         pointer_event(cpu, pointer), event(cpu, "may walk it now"));
  }
}

// ---- Releases
// -------------------------------------------------------------------------------------

void Oracles::check_table_release(std::uint32_t frame) {
  const CpuId self = machine_.running().id;
  check_device_before_release(frame);
  for (CpuId id = 0; id < machine_.cpu_count(); ++id) {
    check_pointers_to(frame, id);
    machine_.touch(host::place(host::Part::walker, id), false);
    if (cpu_[id].walker_table != frame) continue;
    fail(Oracle::o6, "a page table is released while a lockless walker is in it",
         cpu_name(id) + " is about to read it.", {}, event(self, "releases the table"));
  }
}

void Oracles::check_pointers_to(std::uint32_t table, CpuId target) {
  const HostCpu& cpu = machine_.cpu(target);
  machine_.touch(host::place(host::Part::table_drops, target), false);
  const System<host::HostHal>& system = guest_->system();
  const CpuPrivate<host::HostHal>& own = system.cpus[target].own;
  const bool has_twin = system.config.pti && system.config.pcid && !cpu_[target].in_switch;
  const auto kernel_half = pcid_of(own.loaded_slot);
  for (const PscEntry& pointer : cpu.tlb.psc) {
    if (pointer.table != table) continue;
    touch_cpu(target);
    // Nobody walks for a virtual CPU without a processor, and the host flushes it first.
    if (machine_.hypervisor().will_flush(cpu)) return;
    if (pointer.pcid == machine_.pcid_of(cpu.cr3)) {
      fail(Oracle::o5, "a page table is released while a CPU can walk it",
           cpu_name(target) + " has a cached pointer to the table and may walk it at any moment.",
           pointer_event(target, pointer), event(machine_.running().id, "releases the table"));
    }
    if (!has_twin || pointer.pcid != (kernel_half | kUserPcidBit)) continue;
    if (twin_is_owed(target, own.loaded_slot)) continue;
    fail(Oracle::o12, "the user half keeps a pointer to a page table that is released",
         cpu_name(target) + " will go to user mode with it, and may walk the table there.",
         pointer_event(target, pointer), event(machine_.running().id, "releases the table"));
  }
}

}  // namespace shootdown::fuzz
