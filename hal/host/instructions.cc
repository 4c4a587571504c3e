#include "hal/host/instructions.h"

#include <string>
#include <utility>

#include "hal/host/machine.h"

namespace shootdown::host {

namespace {

/// The bits that are not translated all equal the highest one that is: 47, or 56.
bool is_canonical(const Machine& machine, VirtAddr address) {
  const unsigned unused = 64U - shift_of_level(machine.top_level() + 1);
  return static_cast<VirtAddr>(static_cast<std::int64_t>(address << unused) >> unused) == address;
}

}  // namespace

void Instructions::begin_serialising() {
  machine_.scheduler().visible(Pending::drained);
  machine_.memory().serialise(machine_.running());
}

void Instructions::fault(const char* title, const char* detail, const char* what) {
  Report report;
  report.kind = &kFault;
  report.title = title;
  report.detail = detail;
  report.second = {.step = machine_.step(), .cpu = machine_.running().id, .what = what};
  machine_.fail(std::move(report));
}

void Instructions::full_fence_and_wait(Site where) {
  begin_serialising();
  full_fence_here(where);
}

void Instructions::load_fence() {
  HostCpu& self = machine_.running();
  SharedMemory& memory = machine_.memory();
  if (memory.weak_ipi()) machine_.record_access(place(LocationKind::buffer, self.id), false);
  memory.complete_fence(self);
  memory.barrier(self);
}

void Instructions::full_fence(Site where) {
  if (machine_.memory().weak_ipi()) [[unlikely]] {
    machine_.scheduler().visible();
    machine_.running().stores.fence();
    machine_.memory().barrier(machine_.running());
  } else {
    begin_serialising();
  }
  full_fence_here(where);
}

void Instructions::full_fence_here(Site where) {
  SharedMemory& memory = machine_.memory();
  if (memory.reorders()) [[unlikely]] {
    memory.compiler_reordering().fence(machine_.running().id);
  }
  machine_.note(OpClass::fence, 0);
  Recorder& recorder = machine_.recorder();
  if (recorder.has_timeline()) recorder.line("full fence", where);
}

void Instructions::write_cr3(std::uint64_t value, Site where) {
  begin_serialising();
  HostCpu& self = machine_.running();
  const bool pcid = self.has_pcids();
  const bool keep = (value >> 63) != 0;
  machine_.record_access(place(LocationKind::root, self.id), true);
  machine_.footprint().record_all_dropped(self.id);
  if (keep && !pcid) {
    fault("a load of CR3 faults", "Bit 63, the keep bit, is reserved while CR4.PCIDE is 0.",
          "loads CR3 with the keep bit");
  }
  self.cr3 = value & ~(std::uint64_t{1} << 63);
  if (!keep) ++self.executed.cr3_flushes;
  if (!pcid) {
    self.tlb.flush_non_global();
  } else if (!keep) {
    self.tlb.flush_pcid(self.pcid());
  }
  machine_.note(OpClass::cr3, value);
  Recorder& recorder = machine_.recorder();
  if (recorder.has_timeline()) {
    recorder.operation(keep ? "load CR3, keep" : "load CR3, flush", nullptr, self.cr3, where);
  }
  if (Observer* observer = machine_.observer()) {
    if (!keep) observer->on_invalidate(self.id);
    if (!keep || !pcid) {
      observer->on_dropped(self.id, {.pcid = self.pcid(), .every_pcid = !pcid});
    }
    observer->on_cr3(self.id);
    machine_.stop_if_failed();
  }
  machine_.changed();
}

void Instructions::invlpg(VirtAddr address, Site where) {
  begin_serialising();
  HostCpu& self = machine_.running();
  const std::uint16_t pcid = self.pcid();
  const bool leaves_globals = machine_.setup().errata.invlpg_leaves_globals && self.has_pcids();
  machine_.footprint().record_dropped(self.id, address);
  ++self.executed.pages;
  if (!is_canonical(machine_, address)) {
    // Like a NOP as far as the TLB goes (SDM vol. 2, INVLPG in 64-bit mode).
  } else if (leaves_globals) {
    self.tlb.flush_address_not_global(address, pcid);
  } else if (machine_.setup().hardware.tce) {
    self.tlb.flush_address_and_its_tables(address, pcid);
  } else {
    self.tlb.flush_address(address, pcid);
  }
  machine_.note(OpClass::invlpg, address);
  Recorder& recorder = machine_.recorder();
  if (recorder.has_timeline()) recorder.operation("invlpg", nullptr, address, where);
  if (Observer* observer = machine_.observer()) {
    observer->on_invalidate(self.id);
    if (is_canonical(machine_, address)) {
      observer->on_dropped(
          self.id, {.address = address, .pages = 1, .pcid = pcid, .globals = !leaves_globals});
    }
  }
  machine_.changed();
}

void Instructions::invpcid(InvpcidType type, std::uint64_t pcid, VirtAddr address, Site where) {
  begin_serialising();
  HostCpu& self = machine_.running();
  const bool by_address = type == InvpcidType::address;
  const bool names_pcid = by_address || type == InvpcidType::context;
  if ((by_address && !is_canonical(machine_, address)) ||
      (names_pcid && pcid != 0 && !self.has_pcids())) {
    fault("INVPCID faults",
          "Its address is not canonical, or it names a PCID while CR4.PCIDE is off.",
          "executes INVPCID");
  }
  const auto tag = static_cast<std::uint16_t>(pcid);
  machine_.footprint().record_all_dropped(self.id);
  switch (type) {
    case InvpcidType::address:
      if (tag == self.pcid()) ++self.executed.pages;
      self.tlb.flush_address_in(address, tag);
      break;
    case InvpcidType::context:
      ++self.executed.contexts;
      self.tlb.flush_pcid(tag);
      break;
    case InvpcidType::everything:
      ++self.executed.everything;
      self.tlb.clear();
      break;
    case InvpcidType::all_contexts:
      ++self.executed.contexts;
      self.tlb.flush_non_global();
      break;
  }
  machine_.note(OpClass::invpcid, (pcid << 8) ^ address);
  if (machine_.recorder().has_timeline()) record_invpcid(type, pcid, address, where);
  if (Observer* observer = machine_.observer()) {
    observer->on_invalidate(self.id);
    observer->on_dropped(self.id, {.address = by_address ? address : 0,
                                   .pages = by_address ? 1U : 0U,
                                   .pcid = tag,
                                   .every_pcid = !names_pcid,
                                   .globals = type == InvpcidType::everything});
  }
  machine_.changed();
}

void Instructions::record_invpcid(InvpcidType type, std::uint64_t pcid, VirtAddr address,
                                  Site where) {
  static constexpr const char* kVerbs[] = {"invpcid address", "invpcid context",
                                           "invpcid everything", "invpcid all contexts"};
  const bool by_address = type == InvpcidType::address;
  Recorder& recorder = machine_.recorder();
  std::string what = kVerbs[static_cast<unsigned>(type)];
  if (by_address || type == InvpcidType::context) what += ", PCID " + std::to_string(pcid);
  if (by_address) what += ", " + recorder.name_of(address);
  recorder.line(std::move(what), where);
}

void Instructions::write_cr4(std::uint64_t value, Site where) {
  begin_serialising();
  HostCpu& self = machine_.running();
  const std::uint64_t changed = self.cr4 ^ value;
  const bool sets_pcide = (value & changed & kCr4Pcid) != 0;
  const bool clears_pcide = (self.cr4 & changed & kCr4Pcid) != 0;
  if (sets_pcide && (self.cr3 & kCr3Pcid) != 0) {
    fault("a write of CR4 faults",
          "It enables PCIDs while CR3 names one (SDM vol. 2, MOV to control registers).",
          "writes CR4");
  }
  if ((changed & kCr4GlobalPages) != 0) ++self.executed.pge_toggles;
  // What is current under another PCID is of another root, as far as walks and uses go.
  if (sets_pcide || clears_pcide) machine_.record_access(place(LocationKind::root, self.id), true);
  machine_.footprint().record_all_dropped(self.id);
  const std::uint64_t before = self.tlb.invalidations;
  const bool toggles_pge =
      (changed & kCr4GlobalPages) != 0 && !machine_.setup().errata.pge_toggle_flushes_nothing;
  if (toggles_pge || clears_pcide) self.tlb.clear();
  const bool cleared = self.tlb.invalidations != before;
  self.cr4 = value;
  machine_.note(OpClass::cr4, value);
  Recorder& recorder = machine_.recorder();
  if (recorder.has_timeline()) {
    const bool on = (value & kCr4GlobalPages) != 0;
    std::string text = on ? "load CR4, PGE on" : "load CR4, PGE off";
    if (sets_pcide) text += ", PCIDE comes on";
    if (clears_pcide) text += ", PCIDE goes off";
    recorder.line(std::move(text), where);
  }
  if (Observer* observer = machine_.observer()) {
    observer->on_invalidate(self.id);
    if (cleared) observer->on_dropped(self.id, {.every_pcid = true, .globals = true});
  }
  machine_.changed();
}

void Instructions::set_interrupts(bool on, Site where) {
  machine_.scheduler().visible();
  HostCpu& self = machine_.running();
  machine_.memory().barrier(self);
  self.interrupts_enabled = on;
  // Whether an interrupt can be taken depends on the order of this and its arrival.
  if (!on) machine_.record_access(place(LocationKind::pending, self.id), true);
  machine_.note(OpClass::interrupt_flag, static_cast<std::uint64_t>(on));
  Recorder& recorder = machine_.recorder();
  if (recorder.has_timeline()) recorder.line(on ? "interrupts on" : "interrupts off", where);
  machine_.changed();
}

void Instructions::pause(Site where) {
  machine_.scheduler().visible(Pending::pause);
  HostCpu& self = machine_.running();
  machine_.memory().barrier(self);
  machine_.note(OpClass::pause, 0);
  if (!self.interrupts_enabled && !machine_.setup().closed_waits) {
    Report report;
    report.kind = &kStuck;
    report.title = kWaitsWithInterruptsOff;
    report.detail = "Two CPUs that do so at the same time wait for each other for ever.";
    report.second = {.step = machine_.step(), .cpu = self.id, .what = "pause with interrupts off"};
    Recorder& recorder = machine_.recorder();
    if (recorder.has_timeline()) recorder.line("pause, interrupts off", where);
    machine_.fail(std::move(report));
  }
  // Under a controller the CPU has waited before the visible operation.
  if (!machine_.controlled().is_on()) machine_.scheduler().pause(where);
}

}  // namespace shootdown::host
