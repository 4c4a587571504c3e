#include "hal/host/broadcasts.h"

#include <algorithm>
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

void Broadcasts::invlpgb(const Invlpgb& what, Site where) {
  Recorder& recorder = machine_.recorder();
  Observer* const observer = machine_.observer();
  machine_.scheduler().visible();
  machine_.memory().barrier(machine_.running());
  // A fence before it orders earlier stores before what it invalidates, as before any access.
  machine_.memory().complete_fence(machine_.running());
  const CpuId self = machine_.running().id;
  const bool bad_count = names_pages(what) && (what.count == 0 || what.count > kInvlpgbMaxPages);
  if (bad_count || (names_pcid(what) && what.pcid != 0 && !machine_.running().has_pcids())) {
    Report report;
    report.kind = &kFault;
    report.title = "INVLPGB faults";
    report.detail = "It names more pages than it can, or a PCID while CR4.PCIDE is off.";
    report.second = {.step = machine_.step(), .cpu = self, .what = "executes INVLPGB"};
    machine_.fail(std::move(report));
  }
  machine_.note(OpClass::broadcast,
                (what.pcid << 8) ^ what.address ^ static_cast<unsigned>(what.scope));
  if (recorder.has_timeline()) {
    static constexpr const char* kVerbs[] = {"pages", "kernel pages", "context", "all contexts",
                                             "everything"};
    std::string text = std::string("invlpgb ") + kVerbs[static_cast<unsigned>(what.scope)];
    if (names_pcid(what)) text += ", PCID " + std::to_string(what.pcid);
    if (names_pages(what))
      text += ", " + std::to_string(what.count) + " from " + recorder.name_of(what.address);
    recorder.line(std::move(text), where);
  }
  if (observer != nullptr) observer->on_broadcast(self, what);
  BroadcastMessage message{.issuer = self, .what = what, .left = {}};
  for (CpuId id = 0; id < machine_.setup().hardware.cpus; ++id) {
    machine_.record_access(place(LocationKind::broadcasts, id), true);
    message.left.set(id);
  }
  in_flight_.push_back(message);
  machine_.changed();
}

void Broadcasts::tlbsync(Site where) {
  Recorder& recorder = machine_.recorder();
  Observer* const observer = machine_.observer();
  for (;;) {
    // Another CPU, or an interrupt, may run before each arrival; so the search starts anew, and on
    // another CPU if the thread was taken there.
    machine_.scheduler().visible();
    const CpuId self = machine_.running().id;
    for (CpuId id = 0; id < machine_.setup().hardware.cpus; ++id)
      machine_.record_access(place(LocationKind::broadcasts, id), false);
    std::size_t index = 0;
    while (index < in_flight_.size() && in_flight_[index].issuer != self) ++index;
    if (index == in_flight_.size()) break;
    deliver(index, in_flight_[index].left.first());
    machine_.changed();
  }
  machine_.memory().serialise(machine_.running());
  machine_.note(OpClass::broadcast, 0);
  if (recorder.has_timeline()) recorder.line("tlbsync", where);
  if (observer != nullptr) observer->on_broadcasts_done(machine_.running().id);
  machine_.changed();
}

void Broadcasts::deliver(std::size_t message, CpuId target) {
  Recorder& recorder = machine_.recorder();
  Observer* const observer = machine_.observer();
  BroadcastMessage& broadcast = in_flight_[message];
  machine_.record_access(place(LocationKind::broadcasts, target), true);
  machine_.footprint().record_all_dropped(target);
  // What was stored through the entries that go must not come later than the answer.
  HostCpu& cpu = machine_.cpu(target);
  machine_.memory().drain_pages_from_outside(cpu);
  invalidate(cpu.tlb, broadcast.what);
  if (observer != nullptr) {
    for_each_dropped(broadcast.what,
                     [&](const Dropped& what) { observer->on_dropped(target, what); });
  }
  machine_.note(OpClass::broadcast, (std::uint64_t{target} << 8) | broadcast.issuer);
  if (recorder.has_timeline()) {
    recorder.event(target, "cpu" + std::to_string(broadcast.issuer) + "'s invlpgb arrives");
  }
  broadcast.left.clear(target);
  if (broadcast.left.empty()) {
    in_flight_.erase(in_flight_.begin() + static_cast<std::ptrdiff_t>(message));
  }
}

bool Broadcasts::has_one_for(CpuId target) const {
  return std::any_of(in_flight_.begin(), in_flight_.end(),
                     [&](const BroadcastMessage& message) { return message.left.test(target); });
}

void Broadcasts::deliver_some(CpuId target, std::uint64_t choice) {
  std::uint64_t waiting = 0;
  for (const BroadcastMessage& message : in_flight_) waiting += message.left.test(target) ? 1 : 0;
  if (waiting == 0) return;
  choice %= waiting;
  for (std::size_t index = 0;; ++index) {
    if (!in_flight_[index].left.test(target)) continue;
    if (choice-- == 0) return deliver(index, target);
  }
}

void Broadcasts::deliver_first(CpuId target, CpuId issuer) {
  for (std::size_t index = 0; index < in_flight_.size(); ++index) {
    const BroadcastMessage& message = in_flight_[index];
    if (message.issuer == issuer && message.left.test(target)) return deliver(index, target);
  }
}

}  // namespace shootdown::host
