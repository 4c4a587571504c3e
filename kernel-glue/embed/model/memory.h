// The memory of a kernel's code on the modelled machine, as the code's instrumented accesses reach
// it: frames, whose words may be page-table entries, and the code's own variables.
//
// An access that another CPU could notice is a visible operation: the choice point, then the
// access.
//   atomic   as the instruction that it becomes on x86-64: locked ones wait for the store buffer
//   and
//            are done at once, other stores go through it.
//   plain    loads find what the CPU's own buffer holds because that drains first; stores are done
//   at
//            once, behind what is in the buffer. So of plain accesses no store is seen late.
//   blocks   of memset and memcpy are one operation.
// What is on a stack is its CPU's own. A table that no entry leads to is its owner's, so plain
// accesses to it are no choice points.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "hal/host/machine.h"
#include "hal/host/race_detector.h"
#include "kernel-glue/embed/model/code.h"

namespace shootdown::model {

/// What a harness is told of frames, and decides of them.
class Frames {
 public:
  virtual ~Frames() = default;
  /// A word of a table was changed, or, if `buffered`, a store to it waits in the running CPU's
  /// store buffer; the machine tells its observer when that arrives.
  virtual void on_word(std::uint64_t* word, std::uint64_t before, std::uint64_t after,
                       bool buffered) = 0;
  /// Software uses the frame, which may be none (kNoFrame).
  virtual void on_use(std::uint32_t frame, const char* verb) = 0;
  /// Whether others than its owner may look into the frame.
  virtual bool is_shared(std::uint32_t frame) = 0;
  /// A frame full of zeros by its address, or 0.
  virtual std::uint64_t allocate() = 0;
  virtual void release(std::uint64_t frame) = 0;
  /// The kernel's top table.
  virtual std::uint64_t kernel_root() = 0;
};

class Memory {
 public:
  Memory(host::Machine& machine, Frames& frames, const Code& code)
      : machine_(machine), frames_(frames), code_(code) {}

  /// A run is about to be prepared.
  void start();

  /// The code is left, or goes on: a plain store that it has made since its last access is heard
  /// of.
  void settle();
  void plain(const void* address, std::size_t bytes, bool write, const void* pc);
  /// Before and after a block of memory is written.
  void begin_block(const void* to, const void* from, std::size_t bytes, const void* pc);
  void end_block(const void* to, std::size_t bytes);

  template <class T>
  T load(const T* word, const void* pc);
  template <class T>
  void store(T* word, T value, std::memory_order order, const void* pc);
  /// A locked instruction, which makes `change(old)` of what is there. Returns the old value.
  template <class T, class Change>
  T modify(T* word, Change&& change, const void* pc);
  void fence(std::memory_order order);

  [[nodiscard]] Frames& frames() { return frames_; }
  [[nodiscard]] host::Machine& machine() { return machine_; }
  /// Whether the code's accesses are the machine's. Otherwise they are what they are for any
  /// program.
  [[nodiscard]] bool is_shared(const void* address) const {
    return frame_of(address) != host::FramePool::kNoFrame || code_.holds(address);
  }

  /// The code is called from here on by a program that runs.
  void start_places() { places_.clear(); }
  /// Which instruction has made the line of this number of the timeline, or null.
  [[nodiscard]] const void* place(std::size_t line) const {
    return line < places_.size() ? places_[line] : nullptr;
  }
  /// The last line of the timeline was made by this instruction.
  void mark(const void* pc);

 private:
  static constexpr std::size_t kWords = 3;  // that 16 bytes lie in

  /// A plain store that the code is about to make.
  struct Plain {
    const void* address{nullptr};
    std::size_t bytes{0};
    std::uint64_t* first{nullptr};  // word; null: there is none
    std::size_t words{0};
    std::array<std::uint64_t, kWords> before{};
  };

  static std::uint64_t* word_at(const void* address) {
    return reinterpret_cast<std::uint64_t*>(reinterpret_cast<std::uintptr_t>(address) &
                                            ~std::uintptr_t{7});
  }
  [[nodiscard]] std::uint32_t frame_of(const void* address) const {
    return machine_.frames().frame_of(word_at(address));
  }
  /// What stands there, of at most eight bytes.
  static std::uint64_t value_at(const void* address, std::size_t bytes);
  /// In a frame that is a table.
  [[nodiscard]] bool is_entry(const void* address) const;
  void check(const void* address, const char* verb);
  /// The running CPU's stores to these bytes, other than to `exact`, become visible, and what is
  /// older.
  void drain_overlapping(const void* address, std::size_t bytes, bool exact);
  void tell_changes(const Plain& store);
  void line(const char* verb, const void* address, std::uint64_t value, const void* pc);
  /// A visible operation that was none of the HAL's begins.
  void begin(const void* address, const char* verb);
  void told_word(const void* address, std::uint64_t before);
  template <class T>
  static void commit(const host::BufferedStore& store);

  host::Machine& machine_;
  Frames& frames_;
  const Code& code_;
  Plain plain_;
  std::vector<std::uint64_t> block_;  // what was there before it is written
  std::vector<const void*> places_;
};

/// Of the code that runs. One at a time in a process.
inline Memory* current_memory = nullptr;

template <class T>
T Memory::load(const T* word, const void* pc) {
  settle();
  if (!is_shared(word)) return __atomic_load_n(word, __ATOMIC_SEQ_CST);
  const host::ModelScope scope;
  begin(word, "reads");
  drain_overlapping(word, sizeof(T), /*exact=*/true);
  const host::BufferedStore* own = machine_.running().stores.find(word);
  const T value = own != nullptr ? static_cast<T>(own->bits) : *word;
  machine_.note(host::OpClass::load, value);
  line("load", word, value, pc);
  return value;
}

template <class T>
void Memory::store(T* word, T value, std::memory_order order, const void* pc) {
  settle();
  if (!is_shared(word)) return __atomic_store_n(word, value, __ATOMIC_SEQ_CST);
  if (order == std::memory_order_seq_cst || !machine_.memory().buffers_stores()) {
    // Without store buffers each store is done at once, as a locked one is.
    modify(word, [&](T) { return value; }, pc);
    return;
  }
  const host::ModelScope scope;
  if constexpr (sizeof(T) == sizeof(std::uint64_t)) {
    if (is_entry(word)) {
      check(word, "writes");
      auto* entry = reinterpret_cast<std::uint64_t*>(word);
      drain_overlapping(word, sizeof(T), /*exact=*/true);
      const std::uint64_t before = machine_.memory().store_word(entry, value, order);
      if (machine_.recorder().has_timeline()) mark(pc);
      frames_.on_word(entry, before, value, /*buffered=*/true);
      machine_.stop_if_failed();
      return;
    }
  }
  begin(word, "writes");
  drain_overlapping(word, sizeof(T), /*exact=*/true);
  host::HostCpu& self = machine_.running();
  machine_.memory().buffer_store(self,
                                 {.word = word,
                                  .bits = static_cast<std::uint64_t>(value),
                                  .commit = &Memory::commit<T>,
                                  .note = sizeof(T),
                                  .cpu = static_cast<std::uint8_t>(self.id)},
                                 order);
  machine_.note(host::OpClass::store, value);
  line("store, buffered,", word, value, pc);
}

template <class T>
void Memory::commit(const host::BufferedStore& store) {
  host::Machine& machine = *host::current_machine;
  *static_cast<T*>(store.word) = static_cast<T>(store.bits);
  machine.note(host::OpClass::drain, store.bits);
  if (machine.recorder().has_timeline()) {
    machine.recorder().drained(store.cpu, store.word, store.bits);
  }
}

template <class T, class Change>
T Memory::modify(T* word, Change&& change, const void* pc) {
  settle();
  if (!is_shared(word)) {
    T old = __atomic_load_n(word, __ATOMIC_SEQ_CST);
    __atomic_store_n(word, change(old), __ATOMIC_SEQ_CST);
    return old;
  }
  const host::ModelScope scope;
  machine_.scheduler().visible(host::Pending::drained);
  machine_.memory().serialise(machine_.running());
  check(word, "writes");
  const std::uint64_t before = *word_at(word);
  const T old = *word;
  *word = change(old);
  machine_.note(host::OpClass::modify, *word);
  line("write", word, *word, pc);
  told_word(word, before);
  // A CPU that waits need not look again where nothing is new, as at a lock that is tried in vain.
  if (*word != old) machine_.changed();
  return old;
}

}  // namespace shootdown::model
