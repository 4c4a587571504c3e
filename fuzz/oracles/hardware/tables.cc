#include "fuzz/oracles/hardware/tables.h"

#include <utility>

#include "fuzz/oracles/reports/names.h"
#include "hal/host/device.h"
#include "hal/host/hypervisor.h"

namespace shootdown::fuzz {

using host::Event;
using host::FrameInfo;
using host::FrameKind;
using host::FramePool;
using host::HostCpu;
using host::Machine;
using host::PscEntry;

namespace {

std::string walker_name(CpuId walker) {
  return walker == host::kDevice ? std::string("a device") : cpu_name(walker);
}

}  // namespace

Event pointer_event(CpuId cpu, const PscEntry& pointer) {
  return {.step = pointer.from.step, .cpu = cpu, .what = "cached a pointer to the table"};
}

bool TableChecker::on_walk(CpuId walker, std::uint32_t frame, std::uint32_t life) {
  Machine& machine = truth_.machine();
  machine.record_access(host::place(host::LocationKind::frame, frame), false);
  const FrameInfo& info = machine.frames().info(frame);
  const unsigned owner = owner_mm(info.owner);
  const unsigned mm = truth_.mm_walked_by(walker);
  truth_.on_walk(walker, frame);
  const bool is_alive = info.kind == FrameKind::table && info.life == life;
  if (is_alive && (owner == mm || owner == kKernelMm)) return true;
  const std::string walks = walker_name(walker) + " walks a frame that is ";
  std::string detail =
      walks + (info.kind == FrameKind::free ? "free." : "used for something else.");
  if (is_alive) {
    detail = walker_name(walker) + " walks for " + truth_.owner_name(mm) +
             " and reads a table of " + truth_.owner_name(owner) + ".";
  }
  truth_.fail(Oracle::o5,
              is_alive ? "a walk reads a page table of another address space"
                       : "a walk reads a page table that was released",
              std::move(detail),
              truth_.change_event(
                  info, is_alive ? "made the frame a table" : "released or reused the table"),
              walker == host::kDevice
                  ? truth_.event(machine.running().id, "runs when a device walks it")
                  : truth_.event(walker, "walks it"));
  return false;
}

void TableChecker::on_flush_returned(CpuId cpu, unsigned mm, VirtAddr start, VirtAddr end,
                                     std::uint64_t begin) const {
  Machine& machine = truth_.machine();
  for (CpuId target = 0; target < machine.cpu_count(); ++target) {
    const HostCpu& hardware = machine.cpu(target);
    machine.record_access(host::place(host::LocationKind::table_drops, target), false);
    // Lazy or not: walks need no instruction. A virtual CPU without a processor walks nothing, and
    // the host flushes it before it runs.
    if (truth_.cpu(target).mm != mm || machine.hypervisor().will_flush(hardware)) continue;
    for (const PscEntry& pointer : hardware.tlb.psc) {
      const Truth::UnhookedTable& table = truth_.unhooked(pointer.table);
      const bool covered =
          end == kFlushAll || (table.is_page_table && start <= table.region && table.region < end);
      if (pointer.pcid != hardware.pcid() || pointer.life != table.life || table.step >= begin ||
          !covered) {
        continue;
      }
      truth_.record_cpu_access(target);
      truth_.fail(Oracle::o5, "a flush for freed tables returns while a CPU can walk one",
                  cpu_name(target) + " has a cached pointer to a table that was unhooked before.",
                  pointer_event(target, pointer), truth_.event(cpu, "the flush returns"));
    }
  }
}

bool TableChecker::is_dead(const PscEntry& pointer) const {
  const FrameInfo& info = truth_.machine().frames().info(pointer.table);
  return info.kind != FrameKind::table || info.life != pointer.life;
}

void TableChecker::on_loaded(CpuId cpu) const {
  Machine& machine = truth_.machine();
  const HostCpu& hardware = machine.cpu(cpu);
  const unsigned mm = truth_.cpu(cpu).mm;
  machine.record_access(host::place(host::LocationKind::tables, cpu), false);
  for (const PscEntry& pointer : hardware.tlb.psc) {
    if (pointer.pcid != hardware.pcid()) continue;
    machine.record_access(host::place(host::LocationKind::frame, pointer.table), false);
    if (is_dead(pointer)) {
      truth_.fail(Oracle::o5, "an ASID holds a pointer to a released page table",
                  cpu_name(cpu) + " has " + mm_name(mm) + " loaded and may walk it at any moment.",
                  pointer_event(cpu, pointer), truth_.event(cpu, "may walk it now"));
    }
    if (pointer.from.mm == kKernelMm) continue;
    if (pointer.from.mm == mm && pointer.from.life == truth_.mm(mm).life) continue;
    truth_.fail(Oracle::o4, "an ASID holds pointers to tables of another address space",
                cpu_name(cpu) + " has " + mm_name(mm) + " loaded, with pointers to tables of " +
                    truth_.origin_name(pointer.from) + truth_.same_pcid() + ".",
                pointer_event(cpu, pointer), truth_.event(cpu, "may walk it now"));
  }
}

void TableChecker::on_release(std::uint32_t frame) const {
  const CpuId self = truth_.machine().running().id;
  for (CpuId id = 0; id < truth_.machine().cpu_count(); ++id) {
    check_pointers_to(frame, id);
    truth_.machine().record_access(place(Ghost::walker, id), false);
    if (walker_table_[id] != frame) continue;
    truth_.fail(Oracle::o6, "a page table is released while a lockless walker is in it",
                cpu_name(id) + " is about to read it.", {},
                truth_.event(self, "releases the table"));
  }
}

void TableChecker::check_pointers_to(std::uint32_t table, CpuId target) const {
  Machine& machine = truth_.machine();
  const HostCpu& cpu = machine.cpu(target);
  machine.record_access(host::place(host::LocationKind::table_drops, target), false);
  for (const PscEntry& pointer : cpu.tlb.psc) {
    if (pointer.table != table) continue;
    truth_.record_cpu_access(target);
    // A virtual CPU without a processor walks nothing, and the host flushes it first.
    if (machine.hypervisor().will_flush(cpu)) return;
    if (pointer.pcid == cpu.pcid()) {
      truth_.fail(
          Oracle::o5, "a page table is released while a CPU can walk it",
          cpu_name(target) + " has a cached pointer to the table and may walk it at any moment.",
          pointer_event(target, pointer), truth_.event(machine.running().id, "releases the table"));
      continue;
    }
    truth_.leftovers().on_pointer_left(target, pointer);
  }
}

void TableChecker::on_walker_holds(std::uint32_t frame) {
  const CpuId self = truth_.machine().running().id;
  truth_.machine().record_access(place(Ghost::walker, self), true);
  walker_table_[self] = frame;
}

void TableChecker::on_software_walk(const std::uint64_t* word) const {
  Machine& machine = truth_.machine();
  const std::uint32_t frame = machine.frames().frame_of(word);
  machine.record_access(host::place(host::LocationKind::frame, frame), false);
  const FrameInfo& info = machine.frames().info(frame);
  if (info.kind == FrameKind::table) return;
  truth_.fail(Oracle::o6, "a lockless walker reads a released page table",
              "The frame is no page table any more.",
              truth_.change_event(info, "released or reused the table"),
              truth_.event(machine.running().id, "reads it"));
}

}  // namespace shootdown::fuzz
