#include "hal/host/device.h"

#include <string>

#include "hal/host/machine.h"
#include "hal/host/walk.h"

namespace shootdown::host {

void Device::prepare() {
  tlb_.clear();
  roots_.fill(0);
}

void Device::bind(unsigned context, PhysAddr root) {
  machine_.record_access(place(LocationKind::device), true);
  roots_[context] = root;
}

void Device::unbind(unsigned context) {
  machine_.record_access(place(LocationKind::device), true);
  roots_[context] = 0;
  tlb_.flush_pcid(static_cast<std::uint16_t>(context));
}

void Device::forget(unsigned context, VirtAddr start, VirtAddr end) {
  machine_.record_access(place(LocationKind::device), true);
  tlb_.flush_range_in(static_cast<std::uint16_t>(context), start, end);
}

void Device::forget_everywhere(VirtAddr start, VirtAddr end) {
  for (unsigned context = 0; context < kContexts; ++context) forget(context, start, end);
}

void Device::walk(unsigned context, VirtAddr address, unsigned level) {
  machine_.record_access(place(LocationKind::device), false);
  if (!is_bound(context)) return;
  const auto tag = static_cast<std::uint16_t>(context);
  walked_context_ = context;
  if (level == 1) {
    if (tlb_.find(address, tag) == nullptr) cache_page(context, address);
  } else if (tlb_.find_table(address, tag, level - 1) == nullptr) {
    walk_tables(machine_, {.id = kDevice, .cr3 = roots_[context], .pcid = tag, .tlb = tlb_},
                {.address = address, .access = {}, .stop = level}, machine_.observer());
  }
}

void Device::cache_page(unsigned context, VirtAddr address) {
  const auto tag = static_cast<std::uint16_t>(context);
  const WalkResult found =
      walk_tables(machine_, {.id = kDevice, .cr3 = roots_[context], .pcid = tag, .tlb = tlb_},
                  {.address = address, .access = {}, .stop = 1}, machine_.observer());
  if (!found.present || machine_.report().failed()) return;
  machine_.record_access(place(LocationKind::device), true);
  machine_.record_access(place(LocationKind::frame, found.frame), false);
  TlbEntry entry{.page = address >> found.shift,
                 .frame = found.frame,
                 .root = FramePool::frame_at(roots_[context]),
                 .pcid = tag,
                 .shift = found.shift,
                 .global = false,  // contexts share nothing
                 .rights = found.rights,
                 .dirty = found.dirty,
                 .from = found.from};
  entry.from.speculative = true;
  tlb_.entries.insert(entry);
}

}  // namespace shootdown::host
