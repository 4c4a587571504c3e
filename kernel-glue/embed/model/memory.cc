#include "kernel-glue/embed/model/memory.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "hal/host/hal.h"

namespace shootdown::model {

using host::FrameKind;
using host::FramePool;
using host::HostCpu;
using host::OpClass;

void Memory::start() {
  plain_ = {};
  block_.clear();
  places_.clear();
}

std::uint64_t Memory::value_at(const void* address, std::size_t bytes) {
  std::uint64_t value = 0;
  std::memcpy(&value, address, std::min(bytes, sizeof value));
  return value;
}

bool Memory::is_entry(const void* address) const {
  const std::uint32_t frame = frame_of(address);
  return frame != FramePool::kNoFrame && machine_.frames().info(frame).kind == FrameKind::table;
}

void Memory::check(const void* address, const char* verb) {
  const std::uint32_t frame = frame_of(address);
  if (frame == FramePool::kNoFrame) return;
  frames_.on_use(frame, verb);
  machine_.stop_if_failed();
}

void Memory::drain_overlapping(const void* address, std::size_t bytes, bool exact) {
  HostCpu& self = machine_.running();
  const auto start = reinterpret_cast<std::uintptr_t>(address);
  for (unsigned i = self.stores.size(); i > 0; --i) {
    const host::BufferedStore& store = self.stores[i - 1];
    const auto other = reinterpret_cast<std::uintptr_t>(store.word);
    // Of the code's variables the store says how long it is; all other words are whole.
    const std::size_t size = code_.holds(store.word) && store.note <= 8 ? store.note : 8;
    const bool same = exact && other == start && size == bytes;
    if (same || other + size <= start || start + bytes <= other) continue;
    return machine_.memory().drain(self, i);
  }
}

void Memory::mark(const void* pc) {
  const std::size_t line = machine_.recorder().timeline().size();
  if (line == 0) return;
  places_.resize(line, nullptr);
  places_[line - 1] = pc;
}

void Memory::line(const char* verb, const void* address, std::uint64_t value, const void* pc) {
  if (!machine_.recorder().has_timeline()) return;
  machine_.recorder().operation(verb, address, value, {});
  mark(pc);
}

void Memory::begin(const void* address, const char* verb) {
  machine_.scheduler().visible();
  machine_.memory().complete_fence(machine_.running());
  // Behind the choice point: the frame may be gone by then.
  check(address, verb);
}

void Memory::told_word(const void* address, std::uint64_t before) {
  std::uint64_t* word = word_at(address);
  if (before == *word || !is_entry(word)) return;
  frames_.on_word(word, before, *word, /*buffered=*/false);
  machine_.stop_if_failed();
}

// ---- Plain accesses

void Memory::settle() {
  if (plain_.first == nullptr) return;
  const host::ModelScope scope;
  tell_changes(std::exchange(plain_, {}));
}

void Memory::tell_changes(const Plain& store) {
  if (machine_.recorder().has_timeline()) {
    machine_.recorder().append(
        (" = " + std::to_string(value_at(store.address, store.bytes))).c_str());
  }
  bool changes = false;
  for (std::size_t i = 0; i < store.words; ++i) {
    machine_.note(OpClass::store, store.first[i]);
    changes |= store.first[i] != store.before[i];
    told_word(store.first + i, store.before[i]);
  }
  if (changes) machine_.changed();
}

void Memory::plain(const void* address, std::size_t bytes, bool write, const void* pc) {
  settle();
  if (!is_shared(address)) return;
  const host::ModelScope scope;
  const std::uint32_t frame = frame_of(address);
  const char* const verb = write ? "writes" : "reads";
  const bool seen = frame == FramePool::kNoFrame || frames_.is_shared(frame);
  if (!seen) {
    check(address, verb);
    return drain_overlapping(address, bytes, /*exact=*/false);
  }
  begin(address, verb);
  HostCpu& self = machine_.running();
  if (!write) {
    drain_overlapping(address, bytes, /*exact=*/false);
    machine_.note(OpClass::load, value_at(address, bytes));
    return line("read", address, value_at(address, bytes), pc);
  }
  machine_.memory().serialise(self);
  if (machine_.recorder().has_timeline()) {
    machine_.recorder().line(
        "plain store " + machine_.recorder().name_of(reinterpret_cast<std::uintptr_t>(address)),
        {});
    mark(pc);
  }
  plain_.address = address;
  plain_.bytes = bytes;
  plain_.first = word_at(address);
  const auto last = word_at(static_cast<const std::byte*>(address) + bytes - 1);
  plain_.words = std::min(static_cast<std::size_t>(last - plain_.first) + 1, kWords);
  std::copy_n(plain_.first, plain_.words, plain_.before.begin());
}

void Memory::begin_block(const void* to, const void* from, std::size_t bytes, const void* pc) {
  settle();
  block_.clear();
  if (bytes == 0) return;
  if (from != nullptr) plain(from, bytes, /*write=*/false, pc);
  if (!is_shared(to)) return;
  plain(to, 1, /*write=*/true, pc);
  const auto last = word_at(static_cast<const std::byte*>(to) + bytes - 1);
  // What the first word was is kept with the rest.
  if (std::exchange(plain_, {}).first == nullptr) return;
  block_.assign(word_at(to), last + 1);
}

void Memory::end_block(const void* to, std::size_t /*bytes*/) {
  if (block_.empty()) return;
  const host::ModelScope scope;
  for (std::size_t i = 0; i < block_.size(); ++i) told_word(word_at(to) + i, block_[i]);
  machine_.note(OpClass::store, block_.size());
  block_.clear();
  machine_.changed();
}

void Memory::fence(std::memory_order order) {
  settle();
  if (order == std::memory_order_seq_cst) host::HostHal::full_fence();
}

}  // namespace shootdown::model
