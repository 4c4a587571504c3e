// What Memory::cxx adds to the store buffers: what the C++ model lets a compiler reorder, on top of
// what x86-64 reorders by itself, and which accesses happen before which.
//
// Stores sink.  A store may leave its CPU's buffer before an older one to another word, unless it
//               is a release or a compiler barrier lies between the two.
// Loads rise.   A load may return what the word held at any time from the CPU's floor on. The floor
//               is the time of the last thing above which no load may be moved: an acquire, as far
//               back as it can have been executed; a fence; a compiler barrier. No CPU reads
//               anything older than what it has read or written there before.
// Read-modify-writes act where they stand, on the newest value. One that releases waits for all
//               older stores, one that acquires raises the floor; one that does both is a full
//               barrier, as it is a locked instruction besides.
// Not modelled: a store that rises above a load (load buffering): its value must be known when the
//               load returns. The litmus runner's mode cxx has it, README.md says why.
//
// Every instruction of the HAL is a compiler barrier. Walks read memory as it is.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <vector>

#include "core/types.h"
#include "hal/host/observer.h"
#include "hal/host/store_buffer.h"

namespace shootdown::host {

constexpr bool acquires(std::memory_order order) {
  return order != std::memory_order_relaxed && order != std::memory_order_release;
}
constexpr bool releases(std::memory_order order) {
  return order == std::memory_order_release || order == std::memory_order_acq_rel ||
         order == std::memory_order_seq_cst;
}

/// Happens-before of the C++ model, as a vector clock: an event of CPU c at time t happens before
/// each event whose clock has times[c] >= t.
struct VectorClock {
  std::array<std::uint32_t, kHostCpus> times{};
  void join(const VectorClock& other) {
    for (CpuId cpu = 0; cpu < kHostCpus; ++cpu) {
      if (other.times[cpu] > times[cpu]) times[cpu] = other.times[cpu];
    }
  }
};

/// The past of each shared word, and what each CPU knows of the others. Times of values count the
/// stores that have become visible.
class CxxMemory {
 public:
  /// How many older values of a word are remembered.
  static constexpr unsigned kPast = 7;

  /// A new run starts.
  void prepare();

  /// The run has more words than have a past.
  [[nodiscard]] bool has_forgotten() const { return has_forgotten_; }

  /// All that has happened so far happens before what each CPU does next. Precondition: no store
  /// waits in a buffer.
  void publish_all();

  // ---- Accesses of `cpu`. `newest` is what memory holds.

  /// What a load returns: `newest`, or something older if `make_stale` was called before.
  std::uint64_t load(CpuId cpu, const void* word, std::uint64_t newest, std::memory_order order);
  /// A load that found its own CPU's store in the buffer needs no call.

  /// A store enters the CPU's buffer as its newest.
  void store(CpuId cpu, BufferedStore& store, unsigned index, std::memory_order order);
  /// The store at `index` is about to leave the buffer, and `commit` follows.
  void leave(CpuId cpu, unsigned index);
  void commit(CpuId cpu, const void* word, std::uint64_t before, std::uint64_t after);
  /// A read-modify-write is done. One that fails leaves `before`.
  void modify(CpuId cpu, const void* word, std::uint64_t before, std::uint64_t after,
              std::memory_order order);
  /// No access moves across this point in either direction.
  void barrier(CpuId cpu);
  /// The same, and a fence of the C++ model.
  void fence(CpuId cpu);
  /// What each of the two did before happens before what the other does next.
  void meet(CpuId one, CpuId other);
  /// How many of them the CPU has passed.
  [[nodiscard]] std::uint16_t epoch(CpuId cpu) const { return cpus_[cpu].epoch; }
  /// The word was written by set-up code, which every CPU knows of: it has no past any more.
  void forget(const void* word);

  /// The next load of `cpu` that may return something older returns what is `age` values old, or
  /// as old as it may be.
  void make_stale(CpuId cpu, unsigned age) { cpus_[cpu].age = age; }
  /// Whether no such load came since.
  [[nodiscard]] bool makes_stale(CpuId cpu) const { return cpus_[cpu].age != 0; }
  /// How many values older than the newest a load of `cpu` may return now.
  [[nodiscard]] unsigned older_values(CpuId cpu, const void* word);
  /// Whether the load just done returned something older than memory holds.
  [[nodiscard]] bool was_stale() const { return was_stale_; }

  // ---- Happens-before

  /// The time of what `cpu` does now, on its own clock.
  [[nodiscard]] std::uint32_t now(CpuId cpu) const { return cpus_[cpu].knows.times[cpu]; }
  /// Whether what `other` did at `time` happens before what `cpu` does now.
  [[nodiscard]] bool knows(CpuId cpu, CpuId other, std::uint32_t time) const {
    return cpus_[cpu].knows.times[other] >= time;
  }

 private:
  struct Value {
    std::uint64_t bits;
    std::uint32_t since;
    VectorClock released;  // what its writer knew
  };
  struct Word {
    const void* address;
    unsigned count;
    std::array<Value, kPast + 1> values;        // the newest last
    std::array<std::uint32_t, kHostCpus> seen;  // since when the value is, that a CPU knows
  };
  struct Cpu {
    std::uint32_t floor{0};
    std::uint16_t epoch{0};
    unsigned age{0};
    VectorClock knows;
    VectorClock at_fence;  // what later relaxed stores release
    VectorClock on_fence;  // what the next fence acquires, from relaxed loads
    std::array<VectorClock, StoreBuffer::kStores> buffered;
  };

  static constexpr std::size_t kIndex = 4096;

  /// The word's past, or null if no CPU has written to it in this run.
  Word* find(const void* address);
  Word* find_or_add(const void* address, std::uint64_t value);
  void append(CpuId cpu, Word& word, std::uint64_t bits, const VectorClock& released);
  void take_over(CpuId cpu, const VectorClock& released, std::memory_order order);
  /// What a store of this order tells, and moves the CPU's own time on.
  VectorClock released_by(CpuId cpu, std::memory_order order);
  static std::size_t slot_of(const void* address);

  std::array<Cpu, kHostCpus> cpus_{};
  std::vector<Word> words_;
  std::array<std::uint16_t, kIndex> index_{};  // into words_, plus 1
  bool has_forgotten_{false};
  std::uint32_t time_{0};
  bool was_stale_{false};
  VectorClock leaving_;
};

}  // namespace shootdown::host
