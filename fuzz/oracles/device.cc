// What a device that walks the page tables may keep: nothing that is released, and nothing older
// than what an operation has promised.
#include "hal/host/device.h"

#include <string>

#include "fuzz/kernel/guest.h"
#include "fuzz/oracles/names.h"
#include "fuzz/oracles/oracles.h"

namespace shootdown::fuzz {

using host::Device;
using host::Event;
using host::Oracle;
using host::PscEntry;
using host::TlbEntry;

unsigned Oracles::space_walked_by(CpuId walker) const {
  return walker == host::kDevice ? machine_.device().walked_context() : cpu_[walker].space;
}

void Oracles::check_device_before_release(std::uint32_t frame) {
  const Device& device = machine_.device();
  const CpuId self = machine_.running().id;
  machine_.touch(place(host::Part::device), false);
  for (const TlbEntry& entry : device.tlb().entries) {
    if (entry.frame != frame) continue;
    fail(Oracle::o6, "a frame is released while a device can use it",
         "A device has a translation to the frame, in " + mm_name(entry.pcid) +
             ", and has not been told to forget it since.",
         {.step = entry.from.step, .cpu = self, .what = "ran when the device cached it"},
         event(self, "releases the frame"));
  }
  for (const PscEntry& pointer : device.tlb().psc) {
    if (pointer.table != frame) continue;
    fail(Oracle::o5, "a page table is released while a device can walk it",
         "A device has a pointer to the table, in " + mm_name(pointer.pcid) +
             ", and has not been told to forget it since.",
         {.step = pointer.from.step, .cpu = self, .what = "ran when the device cached it"},
         event(self, "releases the table"));
  }
}

void Oracles::check_device_promise(CpuId cpu, const Promise& promise, Oracle oracle) {
  machine_.touch(place(host::Part::device), false);
  for (const TlbEntry& entry : machine_.device().tlb().entries) {
    if (promise.space != entry.from.space || promise.life != entry.from.life ||
        promise.page != page_of(entry.page << entry.shift) ||
        entry.from.version >= promise.version) {
      continue;
    }
    fail(oracle, "a change is complete while a device can use what was before",
         "A device has " + page_name(promise.page) + " of " + mm_name(promise.space) +
             " from before the change.",
         {.step = entry.from.step, .cpu = cpu, .what = "ran when the device cached it"},
         event(cpu, "completes"));
  }
}

}  // namespace shootdown::fuzz
