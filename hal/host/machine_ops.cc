// What simulated CPUs execute: TLB instructions, interrupts sent, user accesses, page-table words.
#include <utility>

#include "hal/host/hypervisor.h"
#include "hal/host/machine.h"
#include "hal/host/race_detector.h"
#include "hal/host/walk.h"

namespace shootdown::host {

namespace {

/// Bits 63 to 47 are all equal.
bool is_canonical(VirtAddr address) {
  return static_cast<VirtAddr>(static_cast<std::int64_t>(address << 16) >> 16) == address;
}

}  // namespace

void Machine::full_fence(Site where) {
  visible(Pending::drained);
  drain();
  if (reorders()) [[unlikely]] {
    cxx_.fence(running_->id);
  }
  note(OpClass::fence, 0);
  if (recording_) record("full fence", where);
}

void Machine::write_cr3(std::uint64_t value, Site where) {
  visible(Pending::drained);
  drain();
  HostCpu& self = *running_;
  const bool keep = (value >> 63) != 0;
  touch(place(Part::root, self.id), true);
  touch_all_dropped(self.id);
  if (keep && !setup_.hardware.pcid) {
    Report report;
    report.oracle = Oracle::fault;
    report.title = "a load of CR3 faults";
    report.detail = "Bit 63, the keep bit, is reserved while CR4.PCIDE is 0.";
    report.second = {.step = step_, .cpu = self.id, .what = "loads CR3 with the keep bit"};
    fail(std::move(report));
  }
  self.cr3 = value & ~(std::uint64_t{1} << 63);
  if (!keep) ++self.executed.cr3_flushes;
  if (!setup_.hardware.pcid) {
    self.tlb.flush_non_global();
  } else if (!keep) {
    self.tlb.flush_pcid(pcid_of(self.cr3));
  }
  note(OpClass::cr3, value);
  if (recording_) {
    record_access(keep ? "load CR3, keep" : "load CR3, flush", nullptr, self.cr3, where);
  }
  if (observing_) {
    if (!keep) observer_->on_invalidate(self.id);
    if (!keep || !setup_.hardware.pcid) {
      observer_->on_dropped(self.id,
                            {.pcid = pcid_of(self.cr3), .every_pcid = !setup_.hardware.pcid});
    }
    observer_->on_cr3(self.id);
    stop_if_failed();
  }
  changed();
}

void Machine::invlpg(VirtAddr address, Site where) {
  visible(Pending::drained);
  drain();
  HostCpu& self = *running_;
  const std::uint16_t pcid = pcid_of(self.cr3);
  touch_dropped(self.id, address);
  ++self.executed.pages;
  if (!is_canonical(address)) {
    // Like a NOP as far as the TLB goes (SDM vol. 2, INVLPG in 64-bit mode).
  } else if (setup_.errata.invlpg_leaves_globals && setup_.hardware.pcid) {
    self.tlb.flush_address_not_global(address, pcid);
  } else {
    self.tlb.flush_address(address, pcid);
  }
  note(OpClass::invlpg, address);
  if (recording_) record_access("invlpg", nullptr, address, where);
  if (observing_) {
    observer_->on_invalidate(self.id);
    const bool globals = !(setup_.errata.invlpg_leaves_globals && setup_.hardware.pcid);
    if (is_canonical(address)) {
      observer_->on_dropped(self.id,
                            {.address = address, .pages = 1, .pcid = pcid, .globals = globals});
    }
  }
  changed();
}

void Machine::invpcid(InvpcidType type, std::uint64_t pcid, VirtAddr address, Site where) {
  visible(Pending::drained);
  drain();
  HostCpu& self = *running_;
  const bool by_address = type == InvpcidType::address;
  const bool names_pcid = by_address || type == InvpcidType::context;
  if ((by_address && !is_canonical(address)) ||
      (names_pcid && pcid != 0 && !setup_.hardware.pcid)) {
    Report report;
    report.oracle = Oracle::fault;
    report.title = "INVPCID faults";
    report.detail = "Its address is not canonical, or it names a PCID while CR4.PCIDE is off.";
    report.second = {.step = step_, .cpu = self.id, .what = "executes INVPCID"};
    fail(std::move(report));
  }
  const auto tag = static_cast<std::uint16_t>(pcid);
  touch_all_dropped(self.id);
  switch (type) {
    case InvpcidType::address:
      if (tag == pcid_of(self.cr3)) ++self.executed.pages;
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
  note(OpClass::invpcid, (pcid << 8) ^ address);
  if (recording_) {
    static constexpr const char* kVerbs[] = {"invpcid address", "invpcid context",
                                             "invpcid everything", "invpcid all contexts"};
    std::string what = kVerbs[static_cast<unsigned>(type)];
    if (names_pcid) what += ", PCID " + std::to_string(pcid);
    if (by_address) what += ", " + name_of(address);
    record(std::move(what), where);
  }
  if (observing_) {
    observer_->on_invalidate(self.id);
    observer_->on_dropped(self.id, {.address = by_address ? address : 0,
                                    .pages = by_address ? 1U : 0U,
                                    .pcid = tag,
                                    .every_pcid = !names_pcid,
                                    .globals = type == InvpcidType::everything});
  }
  changed();
}

void Machine::write_cr4(std::uint64_t value, Site where) {
  visible(Pending::drained);
  drain();
  if ((value & ~running_->cr4 & kCr4Pcid) != 0 && pcid_of(running_->cr3) != 0) {
    Report report;
    report.oracle = Oracle::fault;
    report.title = "a write of CR4 faults";
    report.detail = "It enables PCIDs while CR3 names one (SDM vol. 2, MOV to control registers).";
    report.second = {.step = step_, .cpu = running_->id, .what = "writes CR4"};
    fail(std::move(report));
  }
  if (((running_->cr4 ^ value) & kCr4GlobalPages) != 0) ++running_->executed.pge_toggles;
  if (setup_.errata.pge_toggle_flushes_nothing) {
    running_->cr4 = (running_->cr4 & ~kCr4GlobalPages) | (value & kCr4GlobalPages);
  }
  HostCpu& self = *running_;
  touch_all_dropped(self.id);
  const std::uint64_t before = self.tlb.invalidations;
  if (((self.cr4 ^ value) & (kCr4GlobalPages | kCr4Pcid)) != 0) self.tlb.clear();
  const bool cleared = self.tlb.invalidations != before;
  self.cr4 = value;
  note(OpClass::cr4, value);
  if (recording_)
    record((value & kCr4GlobalPages) != 0 ? "load CR4, PGE on" : "load CR4, PGE off", where);
  if (observing_) {
    observer_->on_invalidate(self.id);
    if (cleared) observer_->on_dropped(self.id, {.every_pcid = true, .globals = true});
  }
  changed();
}

void Machine::set_interrupts(bool on, Site where) {
  visible();
  barrier();
  running_->interrupts_enabled = on;
  // Whether an interrupt can be taken depends on the order of this and its arrival.
  if (!on) touch(place(Part::pending, running_->id), true);
  note(OpClass::interrupt_flag, static_cast<std::uint64_t>(on));
  if (recording_) record(on ? "interrupts on" : "interrupts off", where);
  changed();
}

void Machine::pause(Site where) {
  visible(Pending::pause);
  barrier();
  HostCpu& self = *running_;
  note(OpClass::pause, 0);
  if (!self.interrupts_enabled) {
    Report report;
    report.oracle = Oracle::o18;
    report.title = kWaitsWithInterruptsOff;
    report.detail = "Two CPUs that do so at the same time wait for each other for ever.";
    report.second = {.step = step_, .cpu = self.id, .what = "pause with interrupts off"};
    if (recording_) record("pause, interrupts off", where);
    fail(std::move(report));
  }
  if (controlled_) return;
  // Only if nothing has changed since the pause before is this CPU's wait pointless for now; a
  // change between its last look and this pause costs one more round.
  if (self.pause_saw == changes_) {
    if (recording_) record("waits", where);
    block();
    choose(Pending::plain);
  }
  self.pause_saw = changes_;
}

/// All ways reach the same CPUs in the model, so this is for tests and statistics.
void Machine::count_ipi(const HostCpuMask& targets) {
  HostCpuMask groups;
  targets.for_each([&](CpuId id) { groups.set(id / kIpiGroup); });
  const IpiTargets who{
      .targets = targets.count(), .groups = groups.count(), .others = setup_.hardware.cpus - 1};
  if (who.targets == 0 || targets.test(running_->id)) return;  // a wrong send, left to the oracles
  const IpiMethod method = choose_ipi(who);
  ++ipi_counts_.sends[static_cast<unsigned>(method)];
  ipi_counts_.commands += ipi_cost(method, who, {});
}

void Machine::send_call_function_ipi(const HostCpuMask& targets, Site where) {
  visible(setup_.hardware.xapic ? Pending::drained : Pending::plain);
  if (setup_.hardware.xapic) drain();
  barrier();
  note(OpClass::ipi, targets.word(0));
  count_ipi(targets);
  if (recording_) {
    std::string who;
    targets.for_each([&](CpuId id) { who += " cpu" + std::to_string(id); });
    record("send interrupt to" + (who.empty() ? " nobody" : who), where);
  }
  if (observing_) {
    observer_->on_ipi(running_->id, targets);
    stop_if_failed();
  }
  targets.for_each([&](CpuId id) {
    touch(place(Part::pending, id), true);
    HostCpu& target = cpus_[id];
    touch(place(Part::lost, id), target.loses_next || target.has_lost);
    if (std::exchange(target.loses_next, false)) {
      target.has_lost = true;
      if (recording_) record("the interrupt to cpu" + std::to_string(id) + " gets lost", where);
    } else {
      target.call_pending = true;
      target.has_lost = false;
    }
  });
  changed();
}

void Machine::send_again(CpuId target) {
  touch(place(Part::lost, target), cpus_[target].has_lost);
  if (!std::exchange(cpus_[target].has_lost, false)) return;
  touch(place(Part::pending, target), true);
  if (recording_) record("the interrupt to cpu" + std::to_string(target) + " is sent again", {});
  cpus_[target].call_pending = true;
  changed();
}

AccessResult Machine::access(VirtAddr address, bool write, Site where) {
  const ModelScope scope;
  visible();
  // A user's instruction: the kernel's code, and what a compiler made of it, is over.
  barrier();
  HostCpu& self = *running_;
  const std::uint16_t pcid = pcid_of(self.cr3);
  const auto permits = [write](const TlbEntry* entry) {
    return entry != nullptr && (!write || (entry->writable && entry->dirty));
  };
  TlbEntry* entry = self.tlb.find(address, pcid);
  touch_cached(self.id, address, !permits(entry));
  const bool cached = entry != nullptr;
  if (!permits(entry)) {
    // A clean entry walks again. One without the right faults, and then the access starts anew.
    if (cached) touch_dropped(self.id, address);
    if (cached && !entry->writable) self.tlb.drop_faulting(address, pcid);
    entry = fill(self, address, write, /*speculative=*/false);
  }
  const bool fault = !permits(entry);
  if (fault) {
    touch_dropped(self.id, address);
    self.tlb.drop_faulting(address, pcid);
  }
  note(OpClass::access, address ^ static_cast<std::uint64_t>(fault));
  features_.hit(0x1000 + (static_cast<unsigned>(cached) << 1) + static_cast<unsigned>(fault));
  if (recording_) {
    record_access(write ? "store to" : "load from", nullptr, address, where);
    timeline_.back().what += fault ? ": page fault" : cached ? ": cached" : ": walked";
  }
  if (fault) return AccessResult::fault;
  const TlbEntry used = *entry;
  if (hypervisor_->emulates_accesses()) {
    // Between translation and access the host may do something else, but the CPU takes no interrupt
    // and must not be called preempted: it is in the middle of an instruction.
    self.in_emulation = true;
    visible_uninterrupted();
    self.in_emulation = false;
  }
  if (observing_) {
    observer_->on_use(self.id, address, used, write);
    stop_if_failed();
  }
  std::uint64_t* word = frames_.words(used.frame);
  touch(word, write);
  if (write) {
    ++*word;
    changed();
  } else {
    note(OpClass::access, *word);
  }
  return AccessResult::done;
}

TlbEntry* Machine::fill(HostCpu& cpu, VirtAddr address, bool write, bool speculative) {
  const std::uint16_t pcid = pcid_of(cpu.cr3);
  if (speculative && cpu.tlb.find(address, pcid) != nullptr) return nullptr;
  Observer* observer = observing_ ? observer_ : nullptr;
  touch(place(Part::tables, cpu.id), false);
  const WalkResult walk = walk_tables(
      *this, {.id = cpu.id, .cr3 = cpu.cr3, .pcid = pcid, .tlb = cpu.tlb},
      {.address = address, .write = write, .stop = 1, .is_instruction = !speculative}, observer);
  stop_if_failed();
  if (!walk.present) return nullptr;
  if (walk.shift != kPageShift) touch(place(Part::tlb, cpu.id), true);
  touch(place(Part::frame, walk.frame), false);
  TlbEntry entry{.page = address >> walk.shift,
                 .frame = walk.frame,
                 .root = FramePool::frame_at(cpu.cr3),
                 .pcid = pcid,
                 .shift = walk.shift,
                 .global = walk.global && (cpu.cr4 & kCr4GlobalPages) != 0,
                 .writable = walk.writable,
                 .dirty = walk.dirty,
                 .from = {.step = step_, .speculative = speculative}};
  for (const TlbEntry& old : cpu.tlb.entries) {
    if (old.covers(address) && old.shift != walk.shift && (old.pcid == pcid || old.global)) {
      report_two_sizes(cpu.id);
    }
  }
  if (observer != nullptr) observer->on_fill(cpu.id, address, entry.from);
  cpu.tlb.entries.remove_if([&](const TlbEntry& old) {
    return old.covers(address) && (old.pcid == pcid || old.global) && old.shift == walk.shift;
  });
  TlbEntry& cached = cpu.tlb.entries.insert(entry);
  if (recording_ && speculative) {
    timeline_.push_back({.step = step_,
                         .cpu = cpu.id,
                         .what = "speculative fill of " + name_of(address),
                         .where = Site()});
  }
  return &cached;
}

void Machine::fill_pointers(HostCpu& cpu, VirtAddr address, unsigned level) {
  const std::uint16_t pcid = pcid_of(cpu.cr3);
  touch(place(Part::tables, cpu.id), false);
  // The pointer that this walk is for points to the table below.
  if (cpu.tlb.find_table(address, pcid, level - 1) != nullptr) return;
  walk_tables(*this, {.id = cpu.id, .cr3 = cpu.cr3, .pcid = pcid, .tlb = cpu.tlb},
              {.address = address, .write = false, .stop = level},
              observing_ ? observer_ : nullptr);
  stop_if_failed();
  if (!recording_ || cpu.tlb.find_table(address, pcid, level - 1) == nullptr) return;
  timeline_.push_back({.step = step_,
                       .cpu = cpu.id,
                       .what = "speculative walk to " + name_of(address) +
                               " stops after the entry of level " + std::to_string(level),
                       .where = Site()});
}

void Machine::report_two_sizes(CpuId cpu) {
  Report report;
  report.oracle = Oracle::fault;
  report.title = "two translations of different sizes for one address";
  report.detail = "What a CPU does then is undefined; some stop with a machine check.";
  report.second = {.step = step_, .cpu = cpu, .what = "caches the second translation"};
  fail(std::move(report));
}

std::uint64_t Machine::read_word(const std::uint64_t* word, Site where) {
  const ModelScope scope;
  visible();
  const std::uint64_t value = *word;
  touch(word, false);
  note(OpClass::load, value);
  if (recording_) record_access("read", word, value, where);
  return value;
}

std::uint64_t Machine::exchange_word(std::uint64_t* word, std::uint64_t value, Site where) {
  const ModelScope scope;
  visible(Pending::drained);
  drain();
  const std::uint64_t old = std::exchange(*word, value);
  touch(word, true);
  note(OpClass::modify, value);
  if (recording_) record_access("write", word, value, where);
  changed();
  return old;
}

std::uint64_t Machine::clear_bits(std::uint64_t* word, std::uint64_t bits, Site where) {
  const ModelScope scope;
  visible(Pending::drained);
  drain();
  const std::uint64_t old = std::exchange(*word, *word & ~bits);
  touch(word, true);
  note(OpClass::modify, *word);
  if (recording_) record_access("write", word, *word, where);
  changed();
  return old;
}

std::uint64_t Machine::set_bits(std::uint64_t* word, std::uint64_t bits, Site where) {
  const ModelScope scope;
  visible(Pending::drained);
  drain();
  const std::uint64_t old = std::exchange(*word, *word | bits);
  touch(word, true);
  note(OpClass::modify, *word);
  if (recording_) record_access("write", word, *word, where);
  changed();
  return old;
}

void Machine::record(std::string what, Site where) {
  const ModelScope scope;
  timeline_.push_back(
      {.step = step_, .cpu = running_->id, .what = std::move(what), .where = where});
}

std::string Machine::name_of(VirtAddr address) const {
  if (observer_ == nullptr) return std::to_string(address);
  return observer_->label(reinterpret_cast<const void*>(address));
}

void Machine::record_access(const char* verb, const void* address, std::uint64_t value,
                            Site where) {
  std::string what = verb;
  if (address != nullptr) {
    what += " " + (observer_ != nullptr ? observer_->label(address) : std::string("word"));
    what += " = " + std::to_string(value);
  } else {
    what += " " + name_of(value);
  }
  record(std::move(what), where);
}

}  // namespace shootdown::host
