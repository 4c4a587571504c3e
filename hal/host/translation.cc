#include "hal/host/translation.h"

#include <string>
#include <utility>

#include "hal/host/device.h"
#include "hal/host/hypervisor.h"
#include "hal/host/machine.h"
#include "hal/host/race_detector.h"
#include "hal/host/walk.h"

namespace shootdown::host {

namespace {

const char* name_of(bool fault, bool cached) {
  if (fault) return ": page fault";
  return cached ? ": cached" : ": walked";
}

const char* name_of(const PageAccess& what) {
  if (what.fetch) return "fetch from";
  return what.write ? "store to" : "load from";
}

}  // namespace

AccessResult Translation::access(VirtAddr address, const PageAccess& what, Site where) {
  const ModelScope scope;
  if (!what.write) return load(address, what, where) ? AccessResult::done : AccessResult::fault;
  const auto used = translate(address, what, Pending::plain, where);
  if (!used) return AccessResult::fault;
  const HostCpu& self = machine_.running();
  // From the buffer a value of its own, which depends on no other CPU's stores.
  const std::uint64_t value = machine_.memory().buffers_stores()
                                  ? ((std::uint64_t{self.id} + 1) << 32) + self.stores_buffered
                                  : *machine_.frames().words(used->frame) + 1;
  store_to(*used, address, value);
  return AccessResult::done;
}

std::optional<std::uint64_t> Translation::load(VirtAddr address, const PageAccess& what,
                                               Site where) {
  const ModelScope scope;
  const auto used = translate(address, what, Pending::plain, where);
  if (!used) return {};
  const HostCpu& self = machine_.running();
  const std::uint64_t* word = machine_.frames().words(used->frame);
  const std::uint64_t value = machine_.memory().seen_by(self, word);
  machine_.memory().record_read(self, word);
  machine_.note(OpClass::access, value);
  return value;
}

AccessResult Translation::store(VirtAddr address, std::uint64_t value, Mode mode, Site where) {
  const ModelScope scope;
  const auto used = translate(address, {.write = true, .mode = mode}, Pending::plain, where);
  if (!used) return AccessResult::fault;
  store_to(*used, address, value);
  return AccessResult::done;
}

std::uint64_t* Translation::modify(VirtAddr address, Mode mode, Site where) {
  const ModelScope scope;
  const auto used = translate(address, {.write = true, .mode = mode}, Pending::drained, where);
  if (!used) return nullptr;
  std::uint64_t* word = machine_.frames().words(used->frame);
  machine_.record_access(word, true);
  machine_.changed();
  return word;
}

void Translation::store_to(const TlbEntry& used, VirtAddr address, std::uint64_t value) {
  HostCpu& self = machine_.running();
  SharedMemory& memory = machine_.memory();
  std::uint64_t* word = machine_.frames().words(used.frame);
  if (!memory.buffers_stores()) {
    *word = value;
    machine_.record_access(word, true);
    machine_.changed();
    return;
  }
  if (self.stores.full()) memory.drain(self, 1);
  machine_.record_access(stored(self.id, self.stores_buffered), true);
  machine_.record_access(place(LocationKind::kept_pages, self.id), true);
  const std::uint32_t life = machine_.frames().info(used.frame).life;
  memory.buffer_store(self,
                      {.word = word,
                       .bits = value,
                       .commit = &Translation::commit,
                       .note = self.stores.keep({.address = address, .used = used, .life = life}),
                       .cpu = static_cast<std::uint8_t>(self.id),
                       .to_page = true},
                      std::memory_order_relaxed);
  // Nor does a later store of the kernel's code come before it.
  memory.barrier(self);
}

void Translation::commit(const BufferedStore& store) {
  Machine& machine = *current_machine;
  const PageStore page = machine.cpu(store.cpu).stores.take_page(store.note);
  auto* word = static_cast<std::uint64_t*>(store.word);
  machine.record_access(place(LocationKind::frame, page.used.frame), false);
  machine.record_access(place(LocationKind::page_stores, store.cpu), true);
  machine.record_access(place(LocationKind::kept_pages, store.cpu), true);
  machine.record_access(word, true);
  if (Observer* observer = machine.observer()) {
    observer->on_page_store(store.cpu, page.address, page.used, page.life);
  }
  // An oracle has reported what was released meanwhile; poisoned memory is left alone.
  const FrameInfo& info = machine.frames().info(page.used.frame);
  if (info.kind == FrameKind::data && info.life == page.life) *word = store.bits;
  machine.note(OpClass::drain, store.bits);
  if (machine.recorder().has_timeline()) machine.recorder().drained(store.cpu, word, store.bits);
}

std::optional<TlbEntry> Translation::translate(VirtAddr address, const PageAccess& what,
                                               Pending kind, Site where) {
  const bool write = what.write;
  machine_.scheduler().visible(kind);
  HostCpu& self = machine_.running();
  if (kind == Pending::drained) machine_.memory().serialise(self);
  machine_.memory().complete_fence(self);
  Recorder& recorder = machine_.recorder();
  FootprintLog& footprint = machine_.footprint();
  // A user's instruction: the kernel's code, and what a compiler made of it, is over.
  machine_.memory().barrier(self);
  const std::uint16_t pcid = self.pcid();
  const auto permits = [&what](const TlbEntry* entry) {
    return entry != nullptr && entry->rights.permit(what) && (!what.write || entry->dirty);
  };
  TlbEntry* entry = self.tlb.find(address, pcid);
  footprint.record_cached(self.id, address, !permits(entry));
  const bool cached = entry != nullptr;
  if (!permits(entry)) {
    // A clean entry walks again. One without the right faults, and then the access starts anew.
    if (cached) footprint.record_dropped(self.id, address);
    const bool lacks_right = cached && !entry->rights.permit(what);
    if (lacks_right) self.tlb.drop_faulting(address, pcid);
    const bool is_spurious = lacks_right && machine_.setup().hardware.spurious_faults;
    entry = is_spurious ? nullptr : fill(self, address, what, /*speculative=*/false);
  }
  const bool fault = !permits(entry);
  if (fault) {
    footprint.record_dropped(self.id, address);
    self.tlb.drop_faulting(address, pcid);
  }
  machine_.note(OpClass::access, address ^ static_cast<std::uint64_t>(fault));
  recorder.features().hit(0x1000 + (static_cast<unsigned>(cached) << 1) +
                          static_cast<unsigned>(fault));
  if (recorder.has_timeline()) {
    recorder.operation(name_of(what), nullptr, address, where);
    recorder.append(name_of(fault, cached));
  }
  const bool at_once = kind == Pending::drained || !machine_.memory().buffers_stores();
  if (!write || at_once) footprint.record_page_access(self.id, write);
  if (fault) {
    // An exception drains the store buffer.
    machine_.record_access(place(LocationKind::buffer, self.id), false);
    machine_.memory().serialise(self);
    return {};
  }
  const TlbEntry used = *entry;
  if (machine_.hypervisor().emulates_accesses()) {
    // Between translation and access the host may do something else, but the CPU takes no interrupt
    // and must not be called preempted: it is in the middle of an instruction.
    self.in_emulation = true;
    machine_.scheduler().visible_uninterrupted();
    self.in_emulation = false;
  }
  if (Observer* observer = machine_.observer()) {
    observer->on_use(self.id, address, used, write);
    machine_.stop_if_failed();
  }
  return used;
}

void Translation::speculate(HostCpu& cpu, const SpeculativeWalk& walk) {
  if (walk.level > 1) {
    fill_pointers(cpu, walk.address, walk.level);
  } else {
    fill(cpu, walk.address, {}, /*speculative=*/true);
  }
}

void Translation::device_walk(unsigned context, const SpeculativeWalk& walk) {
  machine_.device().walk(context, walk.address, walk.level);
  machine_.stop_if_failed();
  Recorder& recorder = machine_.recorder();
  if (!recorder.has_timeline()) return;
  recorder.line("a device walks for " + recorder.name_of(walk.address) + " of mm " +
                    std::to_string(context) + ", to level " + std::to_string(walk.level),
                Site());
}

TlbEntry* Translation::fill(HostCpu& cpu, VirtAddr address, const PageAccess& what,
                            bool speculative) {
  const std::uint16_t pcid = cpu.pcid();
  if (const TlbEntry* old = speculative ? cpu.tlb.find(address, pcid) : nullptr) {
    if (has_other_size(cpu, address, *old)) report_two_sizes(cpu.id);
    if (!cpu.tlb.keeps_older) return nullptr;
  }
  Observer* observer = machine_.observer();
  machine_.record_access(place(LocationKind::tables, cpu.id), false);
  const WalkResult walk = walk_tables(
      machine_, {.id = cpu.id, .cr3 = cpu.cr3, .pcid = pcid, .tlb = cpu.tlb},
      {.address = address, .access = what, .stop = 1, .is_instruction = !speculative}, observer);
  machine_.stop_if_failed();
  if (!walk.present) return nullptr;
  if (walk.shift != kPageShift) machine_.record_access(place(LocationKind::tlb, cpu.id), true);
  machine_.record_access(place(LocationKind::frame, walk.frame), false);
  TlbEntry entry{.page = address >> walk.shift,
                 .frame = walk.frame,
                 .root = FramePool::frame_at(cpu.cr3),
                 .pcid = pcid,
                 .shift = walk.shift,
                 .global = walk.global && (cpu.cr4 & kCr4GlobalPages) != 0,
                 .rights = walk.rights,
                 .dirty = walk.dirty,
                 .from = walk.from};
  entry.from.speculative = speculative;
  for (const TlbEntry& old : cpu.tlb.entries) {
    if (old.shift == walk.shift || (old.pcid != pcid && !old.global)) continue;
    if (old.overlaps(entry)) report_two_sizes(cpu.id);
  }
  TlbEntry& cached = cpu.tlb.fill(entry, address);
  Recorder& recorder = machine_.recorder();
  if (recorder.has_timeline() && speculative) {
    recorder.event(cpu.id, "speculative fill of " + recorder.name_of(address));
  }
  return &cached;
}

void Translation::fill_pointers(HostCpu& cpu, VirtAddr address, unsigned level) {
  const std::uint16_t pcid = cpu.pcid();
  machine_.record_access(place(LocationKind::tables, cpu.id), false);
  // The pointer that this walk is for points to the table below.
  if (cpu.tlb.find_table(address, pcid, level - 1) != nullptr) return;
  walk_tables(machine_, {.id = cpu.id, .cr3 = cpu.cr3, .pcid = pcid, .tlb = cpu.tlb},
              {.address = address, .access = {}, .stop = level}, machine_.observer());
  machine_.stop_if_failed();
  Recorder& recorder = machine_.recorder();
  if (!recorder.has_timeline()) return;
  if (cpu.tlb.find_table(address, pcid, level - 1) == nullptr) return;
  recorder.event(cpu.id, "speculative walk to " + recorder.name_of(address) +
                             " stops after the entry of level " + std::to_string(level));
}

// Of a large page hardware may have cached a part only, which the address is not in; and beside a
// small page it may walk for another address in the same large one. Either walk finds what is in
// memory, and the CPU has both.
bool Translation::has_other_size(const HostCpu& cpu, VirtAddr address, const TlbEntry& cached) {
  const unsigned lowest = cached.shift == kPageShift ? 2 : 1;
  const std::uint8_t shift = mapped_shift(machine_, cpu.cr3, address, lowest);
  return shift != 0 && shift != cached.shift;
}

void Translation::report_two_sizes(CpuId cpu) {
  Report report;
  report.kind = &kFault;
  report.title = "two translations of different sizes for one address";
  report.detail = "What a CPU does then is undefined; some stop with a machine check.";
  report.second = {.step = machine_.step(), .cpu = cpu, .what = "caches the second translation"};
  machine_.fail(std::move(report));
}

}  // namespace shootdown::host
