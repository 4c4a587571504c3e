#include "fuzz/oracles/hardware/releases.h"

#include "fuzz/oracles/reports/names.h"
#include "hal/host/walk.h"

namespace shootdown::fuzz {

using host::FrameInfo;
using host::FrameKind;
using host::FramePool;
using host::HostCpu;
using host::Machine;
using host::TlbEntry;

bool ReleaseChecker::check_in_use(std::uint32_t frame) const {
  const FrameInfo& info = truth_.machine().frames().info(frame);
  if (info.kind != FrameKind::free) return true;
  truth_.fail(Oracle::o6, "a frame is released twice", "It was not allocated again since.",
              truth_.change_event(info, "released the frame"),
              truth_.event(truth_.machine().running().id, "releases it again"));
  return false;
}

void ReleaseChecker::on_page_release(std::uint32_t frame) const {
  const Machine& machine = truth_.machine();
  const CpuId self = truth_.machine().running().id;
  for (CpuId id = 0; id < machine.cpu_count(); ++id) {
    const HostCpu& cpu = machine.cpu(id);
    const std::uint16_t pcid = cpu.pcid();
    for (const TlbEntry& entry : cpu.tlb.entries) {
      if (entry.frame != frame) continue;
      truth_.record_cpu_access(id);
      if (truth_.cpu(id).offline) break;
      if (entry.pcid != pcid && !entry.global) continue;
      // Under a kernel thread a CPU may keep a user entry, and flushes before it uses it (R3).
      if (entry.from.mm != kKernelMm && !truth_.may_use_user_addresses(id)) continue;
      truth_.fail(Oracle::o6, "a frame is released while a CPU can use it",
                  cpu_name(id) + " still has a usable translation to the frame.",
                  truth_.fill_event(id, entry), truth_.event(self, "releases the frame"));
    }
  }
  // Pages begin as zeroes, and each store counts one up.
  if (*truth_.machine().frames().words(frame) != 0 && !store_recorded_[frame]) {
    truth_.fail(Oracle::o1, "a page is released, and a store to it left no trace",
                "No dirty bit of the page was seen when its entries went.", {},
                truth_.event(self, "releases the page"));
  }
}

void ReleaseChecker::on_software_use(std::uint32_t frame, FrameKind kind, const char* verb) const {
  Machine& machine = truth_.machine();
  const std::string what = std::string("the memory manager ") + verb;
  if (frame == FramePool::kNoFrame) {
    truth_.fail(Oracle::o6, what + " in a frame that does not exist",
                "No such memory was ever allocated.", {}, truth_.event(machine.running().id, verb));
    return;
  }
  machine.record_access(host::place(host::LocationKind::frame, frame), false);
  const FrameInfo& info = machine.frames().info(frame);
  if (info.kind == kind) return;
  truth_.fail(
      Oracle::o6,
      what + (kind == FrameKind::table ? " in a frame that is no table"
                                       : " in a frame that is no page"),
      info.kind == FrameKind::free ? "The frame was released." : "The frame is something else.",
      truth_.change_event(info, "released or reused the frame"),
      truth_.event(machine.running().id, verb));
}

void ReleaseChecker::on_missing_entry(unsigned index) const {
  truth_.fail(Oracle::o6, "the memory manager looks for an entry that a table does not have",
              "A table has entries 0 to " + std::to_string(FramePool::kWords - 1) +
                  "; asked for entry " + std::to_string(index) + ".",
              {}, truth_.event(truth_.machine().running().id, "looks for the entry"));
}

void ReleaseChecker::on_missing_part(unsigned part) const {
  truth_.fail(Oracle::o6, "the memory manager looks for a part that a page does not have",
              "A large page has parts 0 to " + std::to_string(FramePool::kWords - 1) +
                  ", a small one has none; asked for part " + std::to_string(part) + ".",
              {}, truth_.event(truth_.machine().running().id, "looks for the part"));
}

void ReleaseChecker::on_late_entry_store(CpuId cpu, std::uint32_t frame) const {
  const host::FrameInfo& info = truth_.machine().frames().info(frame);
  truth_.fail(Oracle::o6, "a store reaches a page table that was released",
              cpu_name(cpu) + " stored to an entry, and the store was still in its store buffer.",
              truth_.change_event(info, "released the table"),
              truth_.event(cpu, "has the store in memory only now"));
}

void ReleaseChecker::on_needless_record() const {
  truth_.fail(Oracle::o6, "the memory manager gives a record back that it does not have",
              "It would wait for no table's walkers.", {},
              truth_.event(truth_.machine().running().id, "gives the record back"));
}

void ReleaseChecker::on_page_read(std::uint32_t frame) const {
  Machine& machine = truth_.machine();
  machine.record_access(host::place(host::LocationKind::frame, frame), false);
  const FrameInfo& info = machine.frames().info(frame);
  if (info.kind == FrameKind::data) return;
  truth_.fail(Oracle::o6, "a page is released while a reference to it is held",
              "The frame is no page any more.", truth_.change_event(info, "released the page"),
              truth_.event(machine.running().id, "reads it"));
}

}  // namespace shootdown::fuzz
