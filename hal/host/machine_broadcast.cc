// Invalidations that hardware carries to every CPU.
#include <string>
#include <utility>

#include "hal/host/machine.h"

namespace shootdown::host {

namespace {

void invalidate(Tlb& tlb, const Invlpgb& what) {
  const auto pcid = static_cast<std::uint16_t>(what.pcid);
  VirtAddr address = what.address;
  switch (what.scope) {
    case InvlpgbScope::pages:
      for (std::uint32_t i = 0; i < what.count; ++i, address += VirtAddr{1} << what.stride_shift) {
        tlb.flush_address_in(address, pcid);
      }
      break;
    case InvlpgbScope::kernel_pages:
      for (std::uint32_t i = 0; i < what.count; ++i, address += VirtAddr{1} << what.stride_shift) {
        tlb.flush_address_everywhere(address);
      }
      break;
    case InvlpgbScope::context:
      tlb.flush_pcid(pcid);
      break;
    case InvlpgbScope::all_contexts:
      tlb.flush_non_global();
      break;
    case InvlpgbScope::everything:
      tlb.clear();
      break;
  }
}

/// Calls `visit` for each piece that a CPU drops. With a large stride an address is one page each.
template <class Visit>
void for_each_dropped(const Invlpgb& what, Visit&& visit) {
  Dropped dropped{
      .pcid = static_cast<std::uint16_t>(what.pcid),
      .every_pcid = what.scope != InvlpgbScope::pages && what.scope != InvlpgbScope::context,
      .globals =
          what.scope == InvlpgbScope::kernel_pages || what.scope == InvlpgbScope::everything};
  if (what.scope != InvlpgbScope::pages && what.scope != InvlpgbScope::kernel_pages) {
    visit(dropped);
    return;
  }
  dropped.pages = 1;
  for (std::uint32_t i = 0; i < what.count; ++i) {
    dropped.address = what.address + (VirtAddr{i} << what.stride_shift);
    visit(dropped);
  }
}

bool names_pcid(const Invlpgb& what) {
  return what.scope == InvlpgbScope::pages || what.scope == InvlpgbScope::context;
}

bool names_pages(const Invlpgb& what) {
  return what.scope == InvlpgbScope::pages || what.scope == InvlpgbScope::kernel_pages;
}

}  // namespace

void Machine::invlpgb(const Invlpgb& what, Site where) {
  visible();
  barrier();
  const CpuId self = running_->id;
  const bool bad_count = names_pages(what) && (what.count == 0 || what.count > kInvlpgbMaxPages);
  if (bad_count || (names_pcid(what) && what.pcid != 0 && !setup_.hardware.pcid)) {
    Report report;
    report.oracle = Oracle::fault;
    report.title = "INVLPGB faults";
    report.detail = "It names more pages than it can, or a PCID while CR4.PCIDE is off.";
    report.second = {.step = step_, .cpu = self, .what = "executes INVLPGB"};
    fail(std::move(report));
  }
  note(OpClass::broadcast, (what.pcid << 8) ^ what.address ^ static_cast<unsigned>(what.scope));
  if (recording_) {
    static constexpr const char* kVerbs[] = {"pages", "kernel pages", "context", "all contexts",
                                             "everything"};
    std::string text = std::string("invlpgb ") + kVerbs[static_cast<unsigned>(what.scope)];
    if (names_pcid(what)) text += ", PCID " + std::to_string(what.pcid);
    if (names_pages(what))
      text += ", " + std::to_string(what.count) + " from " + name_of(what.address);
    record(std::move(text), where);
  }
  if (observing_) observer_->on_broadcast(self, what);
  BroadcastMessage message{.issuer = self, .what = what, .left = {}};
  for (CpuId id = 0; id < setup_.hardware.cpus; ++id) {
    touch(place(Part::broadcasts, id), true);
    message.left.set(id);
  }
  broadcasts_.push_back(message);
  changed();
}

void Machine::tlbsync(Site where) {
  const CpuId self = running_->id;
  for (;;) {
    // Another CPU, or an interrupt, may run before each arrival; so the search starts anew.
    visible();
    for (CpuId id = 0; id < setup_.hardware.cpus; ++id) touch(place(Part::broadcasts, id), false);
    std::size_t index = 0;
    while (index < broadcasts_.size() && broadcasts_[index].issuer != self) ++index;
    if (index == broadcasts_.size()) break;
    deliver(index, broadcasts_[index].left.first());
    changed();
  }
  drain();
  note(OpClass::broadcast, 0);
  if (recording_) record("tlbsync", where);
  if (observing_) observer_->on_broadcasts_done(self);
  changed();
}

void Machine::deliver(std::size_t message, CpuId target) {
  BroadcastMessage& broadcast = broadcasts_[message];
  touch(place(Part::broadcasts, target), true);
  touch_all_dropped(target);
  invalidate(cpus_[target].tlb, broadcast.what);
  if (observing_) {
    for_each_dropped(broadcast.what,
                     [&](const Dropped& what) { observer_->on_dropped(target, what); });
  }
  note(OpClass::broadcast, (std::uint64_t{target} << 8) | broadcast.issuer);
  if (recording_) {
    timeline_.push_back({.step = step_,
                         .cpu = target,
                         .what = "cpu" + std::to_string(broadcast.issuer) + "'s invlpgb arrives",
                         .where = Site()});
  }
  broadcast.left.clear(target);
  if (broadcast.left.empty()) {
    broadcasts_.erase(broadcasts_.begin() + static_cast<std::ptrdiff_t>(message));
  }
}

void Machine::deliver_some(CpuId target, std::uint64_t choice) {
  std::uint64_t waiting = 0;
  for (const BroadcastMessage& message : broadcasts_) waiting += message.left.test(target) ? 1 : 0;
  if (waiting == 0) return;
  choice %= waiting;
  for (std::size_t index = 0;; ++index) {
    if (!broadcasts_[index].left.test(target)) continue;
    if (choice-- == 0) return deliver(index, target);
  }
}

void Machine::deliver_first(CpuId target, CpuId issuer) {
  for (std::size_t index = 0; index < broadcasts_.size(); ++index) {
    const BroadcastMessage& message = broadcasts_[index];
    if (message.issuer == issuer && message.left.test(target)) return deliver(index, target);
  }
}

}  // namespace shootdown::host
