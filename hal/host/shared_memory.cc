#include "hal/host/shared_memory.h"

#include <utility>

#include "hal/host/machine.h"
#include "hal/host/race_detector.h"

namespace shootdown::host {

void SharedMemory::prepare(Memory model) {
  model_ = model;
  const Hardware& hardware = machine_.setup().hardware;
  weak_ipi_ = model_ == Memory::tso && hardware.weak_ipi && !hardware.xapic;
  loads_specially_ = reorders() || weak_ipi_;
  late_ = {};
  if (reorders()) cxx_.prepare();
}

// ---- Store buffers

void SharedMemory::buffer_store(HostCpu& self, BufferedStore store, std::memory_order order) {
  if (self.stores.full()) drain(self, 1);
  if (reorders()) [[unlikely]] {
    cxx_.store(self.id, store, self.stores.size(), order);
  }
  store.number = self.stores_buffered++;
  self.stores.push(store);
}

void SharedMemory::leave_buffer(HostCpu& cpu, unsigned index) {
  const BufferedStore store = cpu.stores.take(index);
  if (reorders()) [[unlikely]] {
    cxx_.leave(cpu.id, index);
  }
  machine_.record_access(stored(cpu.id, store.number), true);
  machine_.record_access(place(LocationKind::buffer, cpu.id), true);
  machine_.record_access(place(LocationKind::pending, cpu.id),
                         true);  // interrupts wait for an empty buffer
  if (weak_ipi_) [[unlikely]] {
    machine_.record_access(place(LocationKind::late_store, cpu.id), false);
    if (late_.word == store.word || late_.cpu == cpu.id) end_late_store();
  }
  store.commit(store);
}

void SharedMemory::record_read(const HostCpu& self, const std::uint64_t* word) {
  if (!machine_.controlled().is_on()) return;
  const BufferedStore* own = self.stores.find(word);
  if (own != nullptr) {
    machine_.record_access(stored(self.id, own->number), false);
  } else {
    machine_.record_access(word, false);
  }
}

void SharedMemory::drain_through(HostCpu& cpu, const void* word) {
  for (unsigned i = cpu.stores.size(); i > 0; --i) {
    if (cpu.stores[i - 1].word == word) return drain(cpu, i);
  }
}

// What waits for something also reads whether there is something to wait for: a step that finds it
// done differs from one that does it, as the one and not the other comes before what others do.
void SharedMemory::complete_weak_fence(HostCpu& self) {
  if (self.stores.take_fence()) {
    machine_.record_access(place(LocationKind::buffer, self.id), false);
    drain(self, self.stores.fenced());
  }
  machine_.record_access(place(LocationKind::late_store, self.id), false);
  if (late_.cpu == self.id) end_late_store();
}

void SharedMemory::begin_late_store(const HostCpu& self, const void* word, std::uint64_t before) {
  for (CpuId id = 0; id < machine_.cpu_count(); ++id) {
    machine_.record_access(place(LocationKind::late_store, id), id == self.id);
  }
  end_late_store();
  late_ = {.word = word, .before = before, .cpu = self.id};
}

void SharedMemory::end_late_store() {
  if (late_.word == nullptr) return;
  machine_.record_access(late_.word, true);
  machine_.record_access(place(LocationKind::late_store, late_.cpu), true);
  late_ = {};
  // For a CPU that has read the old value and waits.
  machine_.scheduler().note_change();
}

void SharedMemory::stores_left(const HostCpu& cpu) { machine_.changed(cpu.id); }

void SharedMemory::drain(HostCpu& cpu, unsigned count) {
  if (cpu.stores.empty() || count == 0) return;
  for (; count > 0 && !cpu.stores.empty(); --count) leave_buffer(cpu, 0);
  stores_left(cpu);
}

void SharedMemory::drain_from_outside(HostCpu& cpu) {
  machine_.record_access(place(LocationKind::buffer, cpu.id), false);
  machine_.record_access(stored(cpu.id, cpu.stores_buffered), false);
  drain(cpu, StoreBuffer::kStores);
}

void SharedMemory::drain_pages_from_outside(HostCpu& cpu) {
  machine_.record_access(place(LocationKind::kept_pages, cpu.id), false);
  drain(cpu, cpu.stores.through_last_page());
}

void SharedMemory::overtake(HostCpu& cpu, std::uint64_t choice) {
  if (!reorders()) return;
  unsigned candidates = 0;
  for (unsigned i = 1; i < cpu.stores.size(); ++i) candidates += cpu.stores.may_overtake(i) ? 1 : 0;
  if (candidates == 0) return;
  choice %= candidates;
  for (unsigned i = 1;; ++i) {
    if (!cpu.stores.may_overtake(i)) continue;
    if (choice-- != 0) continue;
    leave_buffer(cpu, i);
    return stores_left(cpu);
  }
}

void SharedMemory::drain_before_modify(HostCpu& self, const void* word, std::memory_order order) {
  if (self.stores.empty()) return;
  const StoreBuffer& stores = self.stores;
  if (releases(order)) return drain(self, StoreBuffer::kStores);
  // A compiler may have put the other stores behind this operation: what it has emitted already is
  // behind a barrier, and the word's own stores keep their order.
  const std::uint16_t epoch = cxx_.epoch(self.id);
  unsigned must = 0;
  for (unsigned i = 0; i < stores.size(); ++i) {
    const BufferedStore& store = stores[i];
    if (store.epoch != epoch || (store.word == word && !stores.may_overtake(i))) must = i + 1;
  }
  drain(self, must);
  for (unsigned i = 0; i < stores.size();) {
    if (stores[i].word != word) {
      ++i;
      continue;
    }
    leave_buffer(self, i);
    stores_left(self);
  }
}

// ---- Words of page tables

std::uint64_t SharedMemory::read_word(const std::uint64_t* word, Site where) {
  const ModelScope scope;
  machine_.scheduler().visible();
  HostCpu& self = machine_.running();
  complete_fence(self);
  const std::uint64_t value = seen_by(self, word);
  record_read(self, word);
  machine_.note(OpClass::load, value);
  Recorder& recorder = machine_.recorder();
  if (recorder.has_timeline()) recorder.operation("read", word, value, where);
  return value;
}

std::uint64_t SharedMemory::store_word(std::uint64_t* word, std::uint64_t value,
                                       std::memory_order order, Site where) {
  const ModelScope scope;
  machine_.scheduler().visible();
  return put_word(word, value, order, where);
}

std::uint64_t SharedMemory::put_word(std::uint64_t* word, std::uint64_t value,
                                     std::memory_order order, Site where) {
  const HostCpu& self = machine_.running();
  const std::uint64_t before = seen_by(self, word);
  if (buffers_stores()) {
    machine_.record_access(stored(self.id, self.stores_buffered), true);
    const std::uint32_t frame = machine_.frames().frame_of(word);
    const bool in_table = frame != FramePool::kNoFrame;
    buffer_store(machine_.running(),
                 {.word = word,
                  .bits = value,
                  .commit = &SharedMemory::commit_word,
                  .note = in_table ? machine_.frames().info(frame).life : 0,
                  .cpu = static_cast<std::uint8_t>(self.id)},
                 order);
  } else {
    *word = value;
    machine_.record_access(word, true);
  }
  machine_.note(OpClass::store, value);
  Recorder& recorder = machine_.recorder();
  if (recorder.has_timeline()) {
    recorder.operation(buffers_stores() ? "store, buffered," : "store", word, value, where);
  }
  if (!buffers_stores()) machine_.changed();
  return before;
}

void SharedMemory::commit_word(const BufferedStore& store) {
  Machine& machine = *current_machine;
  auto* word = static_cast<std::uint64_t*>(store.word);
  machine.record_access(word, true);
  const std::uint32_t frame = machine.frames().frame_of(word);
  if (frame != FramePool::kNoFrame) {
    machine.record_access(place(LocationKind::frame, frame), false);
    const FrameInfo& info = machine.frames().info(frame);
    const bool is_there = info.kind == FrameKind::table && info.life == store.note;
    if (Observer* observer = machine.observer()) {
      observer->on_entry_stored(store.cpu, word, is_there, store.bits);
    }
    // An oracle has reported the rest; poisoned memory is left alone.
    if (!is_there) return;
  }
  *word = store.bits;
  machine.note(OpClass::drain, store.bits);
  if (machine.recorder().has_timeline()) machine.recorder().drained(store.cpu, word, store.bits);
}

/// A locked instruction: it waits for earlier stores and happens at once.
template <class Change>
static std::uint64_t modify_word(Machine& machine, std::uint64_t* word, Site where,
                                 Change&& change) {
  const ModelScope scope;
  machine.scheduler().visible(Pending::drained);
  machine.memory().serialise(machine.running());
  const std::uint64_t old = std::exchange(*word, change(*word));
  machine.record_access(word, true);
  machine.note(OpClass::modify, *word);
  Recorder& recorder = machine.recorder();
  if (recorder.has_timeline()) recorder.operation("write", word, *word, where);
  machine.changed();
  return old;
}

std::uint64_t SharedMemory::exchange_word(std::uint64_t* word, std::uint64_t value, Site where) {
  return modify_word(machine_, word, where, [&](std::uint64_t) { return value; });
}

std::uint64_t SharedMemory::clear_bits(std::uint64_t* word, std::uint64_t bits, Site where) {
  return modify_word(machine_, word, where, [&](std::uint64_t old) { return old & ~bits; });
}

std::uint64_t SharedMemory::set_bits(std::uint64_t* word, std::uint64_t bits, Site where) {
  return modify_word(machine_, word, where, [&](std::uint64_t old) { return old | bits; });
}

}  // namespace shootdown::host
