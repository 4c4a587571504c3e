#include "fuzz/oracles/hardware/device.h"

#include "fuzz/oracles/reports/names.h"
#include "hal/host/device.h"

namespace shootdown::fuzz {

using host::PscEntry;
using host::TlbEntry;

void DeviceChecker::on_release(std::uint32_t frame) const {
  const host::Device& device = truth_.machine().device();
  const CpuId self = truth_.machine().running().id;
  truth_.machine().record_access(host::place(host::LocationKind::device), false);
  for (const TlbEntry& entry : device.tlb().entries) {
    if (entry.frame != frame) continue;
    truth_.fail(Oracle::o6, "a frame is released while a device can use it",
                "A device has a translation to the frame, in " + mm_name(entry.pcid) +
                    ", and has not been told to forget it since.",
                {.step = entry.from.step, .cpu = self, .what = "ran when the device cached it"},
                truth_.event(self, "releases the frame"));
  }
  for (const PscEntry& pointer : device.tlb().psc) {
    if (pointer.table != frame) continue;
    truth_.fail(Oracle::o5, "a page table is released while a device can walk it",
                "A device has a pointer to the table, in " + mm_name(pointer.pcid) +
                    ", and has not been told to forget it since.",
                {.step = pointer.from.step, .cpu = self, .what = "ran when the device cached it"},
                truth_.event(self, "releases the table"));
  }
}

void DeviceChecker::on_promised(CpuId cpu, unsigned mm, std::uint32_t life, unsigned page,
                                std::uint64_t version, Oracle oracle) const {
  truth_.machine().record_access(host::place(host::LocationKind::device), false);
  for (const TlbEntry& entry : truth_.machine().device().tlb().entries) {
    if (mm != entry.from.mm || life != entry.from.life ||
        page != page_of(entry.page << entry.shift) || entry.from.version >= version) {
      continue;
    }
    truth_.fail(
        oracle, "a change is complete while a device can use what was before",
        "A device has " + page_name(page) + " of " + mm_name(mm) + " from before the change.",
        {.step = entry.from.step, .cpu = cpu, .what = "ran when the device cached it"},
        truth_.event(cpu, "completes"));
  }
}

}  // namespace shootdown::fuzz
