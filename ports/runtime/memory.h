// The memory of foreign code on the modelled machine, as the code's instrumented accesses reach it:
// frames, whose words may be page-table entries, and the code's own variables.
//
// An access that another CPU could notice is a visible operation: the choice point, then the
// access.
//   stores   of 1 to 8 bytes go through the store buffer, where there is one. The compiler's call
//            comes before a plain store, so the store is found afterwards: when the code enters
//            the runtime again, what it has stored is taken back and put into the buffer.
//   loads    find the CPU's own newest store, if that holds all of their bytes. While the code
//            reads, the value is laid over memory. A load that a store holds in part waits until
//            that has left the buffer, as processors do.
//   locked   instructions wait for the buffer and are done at once.
//   blocks   of memset and memcpy are one operation, behind all that is in the buffer.
// What is on a stack is its CPU's own. A table that no entry leads to is its owner's, so plain
// accesses to it are no choice points; nor are those to what one CPU alone uses (sharing.h).
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "hal/host/machine.h"
#include "hal/host/race_detector.h"
#include "ports/runtime/code.h"
#include "ports/runtime/sharing.h"

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
  /// of, and what was laid over memory for a load is taken off.
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
  /// An instruction without a lock that reads and writes: interrupts come before or behind it, and
  /// what other CPUs do may come between its load and its store. Returns the old value.
  template <class T, class Change>
  T modify_unlocked(T* word, Change&& change, const void* pc);
  void fence(std::memory_order order);

  [[nodiscard]] Frames& frames() { return frames_; }
  [[nodiscard]] host::Machine& machine() { return machine_; }
  [[nodiscard]] Sharing& sharing() { return sharing_; }
  /// Whether the code's accesses are the machine's. Otherwise they are what they are for any
  /// program.
  [[nodiscard]] bool is_shared(const void* address) const {
    return code_.holds(address) || frame_of(address) != host::FramePool::kNoFrame;
  }

  /// The code is called from here on by a program that runs.
  void start_places() { places_.clear(); }
  /// Which instruction has made the line of this number of the timeline, or null.
  [[nodiscard]] const void* place(std::size_t line) const {
    return line < places_.size() ? places_[line] : nullptr;
  }
  /// The last line of the timeline was made by this instruction.
  void mark(const void* pc);

  /// Instructions that have made accesses, if the caller wants them kept.
  void keep_sites(std::vector<bool>* sites) { sites_ = sites; }

 private:
  static constexpr std::size_t kBytes = 16;  // of the longest access
  static constexpr std::size_t kWords = 3;   // that it lies in

  /// A plain store that the code is about to make.
  struct Plain {
    const void* address{nullptr};  // null: there is none
    std::size_t bytes{0};
    const void* pc{nullptr};
    bool shown{true};  // to other CPUs
    std::array<std::byte, kBytes> before{};
  };
  /// A store of the CPU that lies over memory while the code reads it.
  struct Laid {
    void* address{nullptr};  // null: there is none
    std::size_t bytes{0};
    std::array<std::byte, kBytes> memory{};
  };

  static std::uint64_t* word_at(const void* address) {
    return reinterpret_cast<std::uint64_t*>(reinterpret_cast<std::uintptr_t>(address) &
                                            ~std::uintptr_t{7});
  }
  static void* writable(const void* address) { return const_cast<void*>(address); }
  [[nodiscard]] std::uint32_t frame_of(const void* address) const {
    return machine_.frames().frame_of(word_at(address));
  }
  /// What stands there, of at most eight bytes.
  static std::uint64_t value_at(const void* address, std::size_t bytes);
  /// In a frame that is a table.
  [[nodiscard]] bool is_entry(const void* address) const;
  void check(const void* address, const char* verb);
  /// Whether others may notice an access there. Not: it is done at once, without a choice point.
  [[nodiscard]] bool is_noticed(const void* address, std::size_t bytes);
  [[nodiscard]] bool block_is_noticed(const void* address, std::size_t bytes, const char* verb);
  void note_site(const void* pc) {
    if (sites_ != nullptr) [[unlikely]]
      keep_site(pc);
  }
  void keep_site(const void* pc);

  /// The running CPU's newest store that has any of these bytes, if it has all of them. If it has
  /// some, it leaves the buffer, and what is older.
  const host::BufferedStore* forwarding(const void* address, std::size_t bytes);
  /// What the store holds of these bytes, which it has.
  static std::uint64_t part_of(const host::BufferedStore& store, const void* address,
                               std::size_t bytes);
  void lay(const host::BufferedStore& store, const void* address, std::size_t bytes);
  /// The running CPU's stores to these bytes leave the buffer, and what is older.
  void drain_overlapping(const void* address, std::size_t bytes);
  /// A store of the running CPU, behind its choice point, to memory that has not changed yet.
  void put(void* address, std::size_t bytes, std::uint64_t value, const void* pc);
  void put_at_once(void* address, std::size_t bytes, std::uint64_t value, const void* pc);
  void settle_store(const Plain& store);
  static void commit(const host::BufferedStore& store);

  void record_read(const host::BufferedStore* own, const void* address, std::size_t bytes);
  void record_write(const void* address, std::size_t bytes);
  void look_at(const void* address, std::size_t bytes);
  /// The CPU has read what counts as its own. If it waits for that, it waits for another CPU.
  void look_aside(const void* address, std::size_t bytes);

  void line(const char* verb, const void* address, std::uint64_t value, const void* pc);
  /// Accounts for an access to a word.
  void noted(host::OpClass op, std::uint64_t value, const void* word) {
    machine_.note_briefly(op, value, word);
    if (machine_.controlled().is_on()) machine_.controlled().note(op, value);
  }
  /// A visible operation that was none of the HAL's begins.
  void begin(const void* address, const char* verb);
  void told_word(const void* address, std::uint64_t before);

  host::Machine& machine_;
  Frames& frames_;
  const Code& code_;
  Sharing sharing_;
  Plain plain_;
  Laid laid_;
  std::vector<std::uint64_t> block_;  // what was there before it is written
  std::vector<const void*> places_;
  std::vector<bool>* sites_{nullptr};
};

/// Of the code that runs. One at a time in a process.
inline Memory* current_memory = nullptr;

template <class T>
T Memory::load(const T* word, const void* pc) {
  settle();
  if (!is_shared(word)) return __atomic_load_n(word, __ATOMIC_SEQ_CST);
  const host::ModelScope scope;
  note_site(pc);
  if (!is_noticed(word, sizeof(T))) {
    look_aside(word, sizeof(T));
    return *word;
  }
  begin(word, "reads");
  const host::BufferedStore* own = forwarding(word, sizeof(T));
  const T value = own != nullptr ? static_cast<T>(part_of(*own, word, sizeof(T))) : *word;
  record_read(own, word, sizeof(T));
  noted(host::OpClass::load, value, word);
  line("load", word, value, pc);
  return value;
}

template <class T>
void Memory::store(T* word, T value, std::memory_order order, const void* pc) {
  settle();
  if (!is_shared(word)) return __atomic_store_n(word, value, __ATOMIC_SEQ_CST);
  if (order == std::memory_order_seq_cst) {
    modify(word, [&](T) { return value; }, pc);
    return;
  }
  const host::ModelScope scope;
  note_site(pc);
  if (!is_noticed(word, sizeof(T))) {
    *word = value;
    return;
  }
  begin(word, "writes");
  put(word, sizeof(T), static_cast<std::uint64_t>(value), pc);
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
  note_site(pc);
  machine_.scheduler().visible(host::Pending::drained);
  machine_.memory().serialise(machine_.running());
  check(word, "writes");
  // Also where the word is the CPU's own: the instruction waits for its stores to others.
  static_cast<void>(is_noticed(word, sizeof(T)));
  const std::uint64_t before = *word_at(word);
  const T old = *word;
  *word = change(old);
  if (*word != old) {
    record_write(word, sizeof(T));
  } else {
    record_read(nullptr, word, sizeof(T));
  }
  noted(host::OpClass::modify, *word, word);
  line("write", word, *word, pc);
  told_word(word, before);
  // A CPU that waits need not look again where nothing is new, as at a lock that is tried in vain.
  if (*word != old) machine_.changed();
  return old;
}

template <class T, class Change>
T Memory::modify_unlocked(T* word, Change&& change, const void* pc) {
  const T old = load(word, pc);
  const T value = static_cast<T>(change(old));
  if (!is_shared(word) || !is_noticed(word, sizeof(T))) {
    *word = value;
    return old;
  }
  const host::ModelScope scope;
  machine_.scheduler().visible_uninterrupted();
  put(word, sizeof(T), static_cast<std::uint64_t>(value), pc);
  return old;
}

}  // namespace shootdown::model
