#include "hal/threads/hal.h"

namespace shootdown::threads {

namespace {

constexpr std::uint64_t kKeepEntries = std::uint64_t{1} << 63;

void drop_whole(Cpu& self) {
  ++self.counts.whole;
  processors->spend();
}

}  // namespace

void ThreadHal::write_cr3(std::uint64_t value) {
  Cpu& self = *this_thread;
  self.cr3 = value & ~kKeepEntries;
  // A load of CR3 serialises (SDM vol. 3, 9.3), whether it flushes or not.
  full_fence();
  if ((value & kKeepEntries) != 0) return;
  const std::uint16_t pcid = current_pcid();
  self.tlb.drop([&](const Tlb::Entry& entry) { return !entry.global && entry.pcid == pcid; });
  drop_whole(self);
}

void ThreadHal::invlpg(VirtAddr address) {
  Cpu& self = *this_thread;
  const std::uint16_t pcid = current_pcid();
  self.tlb.drop([&](const Tlb::Entry& entry) {
    return entry.page == address >> kPageShift && (entry.global || entry.pcid == pcid);
  });
  full_fence();
  ++self.counts.pages;
  processors->spend();
}

void ThreadHal::invpcid(InvpcidType type, std::uint64_t pcid, VirtAddr address) {
  Cpu& self = *this_thread;
  full_fence();
  self.tlb.drop([&](const Tlb::Entry& entry) {
    switch (type) {
      case InvpcidType::address:
        return !entry.global && entry.pcid == pcid && entry.page == address >> kPageShift;
      case InvpcidType::context:
        return !entry.global && entry.pcid == pcid;
      case InvpcidType::everything:
        return true;
      case InvpcidType::all_contexts:
        return !entry.global;
    }
    return true;
  });
  if (type == InvpcidType::address) {
    ++self.counts.pages;
    processors->spend();
  } else {
    drop_whole(self);
  }
}

void ThreadHal::write_cr4(std::uint64_t value) {
  Cpu& self = *this_thread;
  const bool drops = ((self.cr4 ^ value) & (kCr4GlobalPages | kCr4Pcid)) != 0;
  self.cr4 = value;
  full_fence();
  if (!drops) return;
  self.tlb.clear();
  drop_whole(self);
}

}  // namespace shootdown::threads
