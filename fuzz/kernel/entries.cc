// Page-table entries as the memory manager reads and writes them. It scans whole tables, so this is
// the part of the simulated kernel that runs most; it holds nothing of the core.
#include "fuzz/kernel/platform.h"

namespace shootdown::fuzz {

using host::FrameKind;
using host::FramePool;

SimEntry SimMemory::entry(PhysAddr table, unsigned index) {
  const std::uint32_t frame = FramePool::frame_at(table);
  if (frame == FramePool::kNoFrame) return {*this, FramePool::kNoFrame, nullptr};
  if (index < vm::kEntries) [[likely]] {
    return {*this, frame, machine_.frames().words(frame) + index};
  }
  const host::ModelScope scope;
  events_.on_missing_entry(index);
  machine_.stop_if_failed();
  return {*this, FramePool::kNoFrame, nullptr};
}

bool SimEntry::is_there(const char* verb) const {
  Machine& machine = memory_.machine_;
  if (frame_ != FramePool::kNoFrame && machine.frames().info(frame_).kind == FrameKind::table)
      [[likely]] {
    return true;
  }
  memory_.events_.on_software_use(frame_, FrameKind::table, verb);
  machine.stop_if_failed();
  return false;
}

vm::Pte SimEntry::load(std::memory_order /*order*/, Site where) const {
  const host::ModelScope scope;
  Machine& machine = memory_.machine_;
  machine.scheduler().visible();
  machine.memory().complete_fence(machine.running());
  // Before the word is touched: released memory is poisoned.
  memory_.events_.on_software_walk(word_);
  machine.stop_if_failed();
  const vm::Pte value = machine.memory().seen_by(machine.running(), word_);
  machine.memory().record_read(machine.running(), word_);
  machine.note(host::OpClass::load, value);
  if (machine.recorder().has_timeline()) machine.recorder().operation("read", word_, value, where);
  return value;
}

vm::Pte SimEntry::peek() const {
  const host::ModelScope scope;
  host::SharedMemory& memory = memory_.machine_.memory();
  // No choice point, but a load: it waits for the fence before it as each other load does.
  memory.complete_fence(memory_.machine_.running());
  if (!is_there("reads an entry")) return 0;
  return memory.seen_by(memory_.machine_.running(), word_);
}

vm::Pte SimEntry::glance(Site where) const {
  // Whole tables are scanned by it. Where nothing is, what another CPU puts there comes later.
  if (const vm::Pte now = peek(); !memory_.unlocked_reads_ || now == 0) return now;
  const vm::Pte value = memory_.machine_.memory().read_word(word_, where);
  const host::ModelScope scope;
  // The table may be gone by now.
  return is_there("reads an entry") ? value : 0;
}

void SimEntry::store(vm::Pte value, std::memory_order order, Site where) {
  const host::ModelScope scope;
  if (!is_there("writes an entry")) return;
  host::SharedMemory& memory = memory_.machine_.memory();
  const vm::Pte old = memory.store_word(word_, value, order, where);
  if (memory.buffers_stores()) {
    memory_.events_.on_table_store(word_, old, value);
  } else {
    memory_.events_.on_table_write(word_, old, value);
  }
}

vm::Pte SimEntry::exchange(vm::Pte value, std::memory_order /*order*/, Site where) {
  const host::ModelScope scope;
  if (!is_there("writes an entry")) return 0;
  const vm::Pte old = memory_.machine_.memory().exchange_word(word_, value, where);
  memory_.events_.on_table_write(word_, old, value);
  return old;
}

vm::Pte SimEntry::fetch_or(vm::Pte bits, std::memory_order /*order*/, Site where) {
  const host::ModelScope scope;
  if (!is_there("writes an entry")) return 0;
  const vm::Pte old = memory_.machine_.memory().set_bits(word_, bits, where);
  memory_.events_.on_table_write(word_, old, old | bits);
  return old;
}

vm::Pte SimEntry::fetch_and(vm::Pte bits, std::memory_order /*order*/, Site where) {
  const host::ModelScope scope;
  if (!is_there("writes an entry")) return 0;
  const vm::Pte old = memory_.machine_.memory().clear_bits(word_, ~bits, where);
  memory_.events_.on_table_write(word_, old, old & bits);
  return old;
}

}  // namespace shootdown::fuzz
