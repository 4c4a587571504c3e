#include "ports/runtime/memory.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "hal/host/hal.h"

namespace shootdown::model {

using host::BufferedStore;
using host::FrameKind;
using host::FramePool;
using host::HostCpu;
using host::OpClass;

namespace {

constexpr std::size_t kWordBytes = sizeof(std::uint64_t);

/// What the own store of a CPU holds: words of page tables are whole, all others say their size.
std::size_t size_of(const BufferedStore& store, bool is_variable) {
  return is_variable && store.note <= kWordBytes ? store.note : kWordBytes;
}

std::uint64_t granule_now(const void* word, const HostCpu& /*cpu*/) {
  return *static_cast<const std::uint64_t*>(word);
}

}  // namespace

void Memory::start() {
  plain_ = {};
  laid_ = {};
  block_.clear();
  places_.clear();
  sharing_.start_run();
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

bool Memory::is_noticed(const void* address, std::size_t bytes) {
  if (!sharing_.is_on() || machine_.observer() == nullptr) return true;
  if (!code_.holds(address)) return true;
  const HostCpu& self = machine_.running();
  const unsigned context = self.in_nmi ? 2 : self.in_interrupt ? 1 : 0;
  const unsigned user = (self.id * 4) + context;
  const std::size_t first = code_.granule_of(address);
  const std::size_t last = code_.granule_of(static_cast<const std::byte*>(address) + bytes - 1);
  bool noticed = false;
  for (std::size_t granule = first; granule <= last; ++granule) {
    noticed |= sharing_.use(granule, user);
  }
  if (sharing_.has_learned()) machine_.abandon_run();
  return noticed;
}

void Memory::keep_site(const void* pc) {
  // The harness uses the code's memory, too.
  if (!code_.instructions().has(pc)) return;
  const std::uintptr_t offset = code_.offset_of(pc);
  if (offset >= sites_->size()) sites_->resize(offset + 1);
  (*sites_)[offset] = true;
}

// ---- The store buffer

const BufferedStore* Memory::forwarding(const void* address, std::size_t bytes) {
  HostCpu& self = machine_.running();
  const auto start = reinterpret_cast<std::uintptr_t>(address);
  for (unsigned i = self.stores.size(); i > 0; --i) {
    const BufferedStore& store = self.stores[i - 1];
    const auto other = reinterpret_cast<std::uintptr_t>(store.word);
    const std::size_t size = size_of(store, code_.holds(store.word));
    if (other + size <= start || start + bytes <= other) continue;
    if (other <= start && start + bytes <= other + size) return &store;
    machine_.memory().drain(self, i);
    return nullptr;
  }
  return nullptr;
}

void Memory::drain_overlapping(const void* address, std::size_t bytes) {
  HostCpu& self = machine_.running();
  const auto start = reinterpret_cast<std::uintptr_t>(address);
  for (unsigned i = self.stores.size(); i > 0; --i) {
    const BufferedStore& store = self.stores[i - 1];
    const auto other = reinterpret_cast<std::uintptr_t>(store.word);
    const std::size_t size = size_of(store, code_.holds(store.word));
    if (other + size <= start || start + bytes <= other) continue;
    return machine_.memory().drain(self, i);
  }
}

std::uint64_t Memory::part_of(const BufferedStore& store, const void* address, std::size_t bytes) {
  const std::size_t skipped =
      reinterpret_cast<std::uintptr_t>(address) - reinterpret_cast<std::uintptr_t>(store.word);
  const std::uint64_t bits = store.bits >> (8 * skipped);
  return bytes >= kWordBytes ? bits : bits & ((std::uint64_t{1} << (8 * bytes)) - 1);
}

void Memory::lay(const BufferedStore& store, const void* address, std::size_t bytes) {
  laid_.address = writable(address);
  laid_.bytes = bytes;
  const std::uint64_t value = part_of(store, address, bytes);
  std::memcpy(laid_.memory.data(), address, bytes);
  std::memcpy(laid_.address, &value, bytes);
}

void Memory::commit(const BufferedStore& store) {
  host::Machine& machine = *host::current_machine;
  std::memcpy(store.word, &store.bits, store.note);
  machine.record_access(word_at(store.word), true);
  machine.note(OpClass::drain, store.bits);
  if (machine.recorder().has_timeline()) {
    machine.recorder().drained(store.cpu, store.word, store.bits);
  }
}

void Memory::put_at_once(void* address, std::size_t bytes, std::uint64_t value, const void* pc) {
  machine_.memory().serialise(machine_.running());
  const std::uint64_t before = *word_at(address);
  const bool changes = value_at(address, bytes) != value;
  std::memcpy(address, &value, bytes);
  record_write(address, bytes);
  noted(OpClass::store, value, address);
  line("store", address, value, pc);
  told_word(address, before);
  if (changes) machine_.changed();
}

void Memory::put(void* address, std::size_t bytes, std::uint64_t value, const void* pc) {
  const bool whole = bytes == kWordBytes && word_at(address) == address;
  const bool in_frame = frame_of(address) != FramePool::kNoFrame;
  if (!machine_.memory().buffers_stores() || (in_frame && !whole)) {
    return put_at_once(address, bytes, value, pc);
  }
  if (in_frame && is_entry(address)) {
    auto* entry = static_cast<std::uint64_t*>(address);
    const std::uint64_t before =
        machine_.memory().put_word(entry, value, std::memory_order_release);
    if (machine_.recorder().has_timeline()) mark(pc);
    frames_.on_word(entry, before, value, /*buffered=*/true);
    machine_.stop_if_failed();
    return;
  }
  HostCpu& self = machine_.running();
  machine_.record_access(host::stored(self.id, self.stores_buffered), true);
  machine_.memory().buffer_store(self,
                                 {.word = address,
                                  .bits = value,
                                  .commit = &Memory::commit,
                                  .note = static_cast<std::uint32_t>(bytes),
                                  .cpu = static_cast<std::uint8_t>(self.id)},
                                 std::memory_order_release);
  noted(OpClass::store, value, address);
  line("store, buffered,", address, value, pc);
}

// ---- For exhaustive search

void Memory::look_at(const void* address, std::size_t bytes) {
  const std::uint64_t* last = word_at(static_cast<const std::byte*>(address) + bytes - 1);
  for (const std::uint64_t* word = word_at(address); word <= last; ++word) {
    machine_.record_access(word, false);
  }
  look_aside(address, bytes);
}

void Memory::look_aside(const void* address, std::size_t bytes) {
  if (!machine_.controlled().is_on()) return;
  HostCpu& self = machine_.running();
  const std::uint64_t* last = word_at(static_cast<const std::byte*>(address) + bytes - 1);
  for (const std::uint64_t* word = word_at(address); word <= last; ++word) {
    self.looks.push_back({.word = word, .read = &granule_now, .bits = *word});
  }
}

void Memory::record_read(const BufferedStore* own, const void* address, std::size_t bytes) {
  if (!machine_.controlled().is_on()) return;
  if (own == nullptr) return look_at(address, bytes);
  machine_.record_access(host::stored(machine_.running().id, own->number), false);
}

void Memory::record_write(const void* address, std::size_t bytes) {
  if (!machine_.controlled().is_on()) return;
  const std::uint64_t* last = word_at(static_cast<const std::byte*>(address) + bytes - 1);
  for (const std::uint64_t* word = word_at(address); word <= last; ++word) {
    machine_.record_access(word, true);
  }
}

// ---- The timeline

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
  if (laid_.address != nullptr) {
    std::memcpy(laid_.address, laid_.memory.data(), laid_.bytes);
    laid_.address = nullptr;
  }
  if (plain_.address == nullptr) return;
  const host::ModelScope scope;
  settle_store(std::exchange(plain_, {}));
}

void Memory::settle_store(const Plain& store) {
  std::array<std::byte, kBytes> after{};
  auto* const bytes = static_cast<std::byte*>(writable(store.address));
  std::memcpy(after.data(), bytes, store.bytes);
  std::memcpy(bytes, store.before.data(), store.bytes);
  // What no instruction stores at once is two stores.
  for (std::size_t done = 0; done < store.bytes; done += kWordBytes) {
    const std::size_t size = std::min(store.bytes - done, kWordBytes);
    put(bytes + done, size, value_at(after.data() + done, size), store.pc);
  }
}

void Memory::plain(const void* address, std::size_t bytes, bool write, const void* pc) {
  settle();
  if (!is_shared(address)) return;
  const host::ModelScope scope;
  note_site(pc);
  const std::uint32_t frame = frame_of(address);
  const char* const verb = write ? "writes" : "reads";
  if (frame != FramePool::kNoFrame && !frames_.is_shared(frame)) {
    check(address, verb);
    return drain_overlapping(address, bytes);
  }
  if (!is_noticed(address, bytes)) {
    if (!write) look_aside(address, bytes);
    return;
  }
  begin(address, verb);
  if (write) {
    plain_.address = address;
    plain_.bytes = bytes;
    plain_.pc = pc;
    std::memcpy(plain_.before.data(), address, bytes);
    return;
  }
  const BufferedStore* own = forwarding(address, bytes);
  if (own != nullptr) lay(*own, address, bytes);
  record_read(own, address, bytes);
  noted(OpClass::load, value_at(address, bytes), address);
  line("read", address, value_at(address, bytes), pc);
}

bool Memory::block_is_noticed(const void* address, std::size_t bytes, const char* verb) {
  if (!is_shared(address)) return false;
  const std::uint32_t frame = frame_of(address);
  if (frame == FramePool::kNoFrame) return is_noticed(address, bytes);
  if (!frames_.is_shared(frame)) check(address, verb);
  return frames_.is_shared(frame);
}

void Memory::begin_block(const void* to, const void* from, std::size_t bytes, const void* pc) {
  settle();
  block_.clear();
  if (bytes == 0) return;
  const host::ModelScope scope;
  const bool reads = from != nullptr && block_is_noticed(from, bytes, "reads");
  const bool writes = block_is_noticed(to, bytes, "writes");
  if (!reads && !writes) return;
  note_site(pc);
  machine_.scheduler().visible(host::Pending::drained);
  machine_.memory().serialise(machine_.running());
  if (reads) {
    check(from, "reads");
    record_read(nullptr, from, bytes);
  }
  line(writes ? "write the block at" : "read the block at", writes ? to : from, bytes, pc);
  if (!writes) return;
  check(to, "writes");
  const auto last = word_at(static_cast<const std::byte*>(to) + bytes - 1);
  block_.assign(word_at(to), last + 1);
}

void Memory::end_block(const void* to, std::size_t bytes) {
  if (block_.empty()) return;
  const host::ModelScope scope;
  record_write(to, bytes);
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
