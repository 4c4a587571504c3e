// Shared memory as the CPUs see it: when a store becomes visible, and the words of page tables.
//
// With Memory::sc a store is visible at once. Otherwise it stays in its CPU's store buffer until
// something drains it, oldest first: what waits for earlier stores on x86, which is locked
// instructions, MFENCE, loads of CR3 and CR4, INVLPG, INVPCID, the ways into and out of an
// interrupt, a page fault, and an exit to a hypervisor; a CPU that waits for something else; or the
// schedule. Words of page tables, and the frames behind pages, are words as all others: what a
// store waits for, and what its own CPU reads meanwhile, goes by the place in memory.
// Sending an interrupt does not. With Memory::cxx a compiler reorders besides (cxx_memory.h).
#pragma once

#include <atomic>
#include <cstdint>

#include "hal/host/cxx_memory.h"
#include "hal/host/host_cpu.h"
#include "hal/host/recorder.h"
#include "hal/host/setup.h"
#include "hal/host/store_buffer.h"

namespace shootdown::host {

class SharedMemory {
 public:
  explicit SharedMemory(Machine& machine) : machine_(machine) {}

  void prepare(Memory model);
  /// Every CPU knows all that has happened so far. No store waits in a buffer.
  void publish_all() {
    if (reorders()) cxx_.publish_all();
  }

  [[nodiscard]] bool buffers_stores() const { return model_ != Memory::sc; }
  [[nodiscard]] bool reorders() const { return model_ == Memory::compiler_reordering; }
  /// Whether loads are more than a look into the own store buffer and into memory.
  [[nodiscard]] bool loads_specially() const { return loads_specially_; }
  [[nodiscard]] CxxMemory& compiler_reordering() { return cxx_; }
  [[nodiscard]] const CxxMemory& compiler_reordering() const { return cxx_; }

  // ---- For the CPU `self` that runs

  void buffer_store(HostCpu& self, BufferedStore store, std::memory_order order);
  /// What the CPU reads of a word of memory: its own newest store to it, or what is there.
  [[nodiscard]] std::uint64_t seen_by(const HostCpu& self, const std::uint64_t* word) const {
    if (self.stores.empty()) [[likely]] {
      return *word;
    }
    const BufferedStore* own = self.stores.find(word);
    return own == nullptr ? *word : own->bits;
  }
  /// Under a controller: the CPU reads the word.
  void record_read(const HostCpu& self, const std::uint64_t* word);
  /// An instruction that waits for all earlier stores. It is a compiler barrier as well.
  void serialise(HostCpu& self) {
    if (!self.stores.empty()) [[unlikely]] {
      drain(self, StoreBuffer::kStores);
    }
    complete_fence(self);
    barrier(self);
  }
  /// A compiler barrier: each instruction of the HAL is one, whether it drains or not.
  void barrier(const HostCpu& self) {
    if (reorders()) [[unlikely]] {
      cxx_.barrier(self.id);
    }
  }

  // ---- With `Hardware::weak_ipi`: MFENCE waits with the CPU's next access; and the last locked
  // store of a CPU that only sends interrupts afterwards is late: it is done, but other CPUs may
  // act as if they had come before it, unless they change the word.

  [[nodiscard]] bool weak_ipi() const { return weak_ipi_; }
  /// The CPU goes on to an access, behind what an MFENCE and a locked instruction wait for.
  void complete_fence(HostCpu& self) {
    if (!weak_ipi_) [[likely]] {
      return;
    }
    complete_weak_fence(self);
  }
  void begin_late_store(const HostCpu& self, const void* word, std::uint64_t before);
  [[nodiscard]] bool has_late_store(const HostCpu& cpu) const {
    return late_.word != nullptr && late_.cpu == cpu.id;
  }
  /// The late store is there for every CPU.
  void end_late_store();
  /// What a CPU finds in the word that comes before a late store to it, or null.
  [[nodiscard]] const std::uint64_t* before_late_store(const void* word) const {
    return late_.word == word ? &late_.before : nullptr;
  }

  /// What a read-modify-write of `word` waits for, with Memory::cxx.
  void drain_before_modify(HostCpu& self, const void* word, std::memory_order order);

  // ---- For the schedule

  /// The `count` oldest stores become visible, or as many as there are.
  void drain(HostCpu& cpu, unsigned count);
  /// The CPU's stores to the word become visible, and what is older.
  void drain_through(HostCpu& cpu, const void* word);
  /// All become visible, in a step that is not the CPU's. It differs from one behind the CPU's next
  /// store, also if it finds the buffer empty.
  void drain_from_outside(HostCpu& cpu);
  /// The same for all stores to pages, and what is older.
  void drain_pages_from_outside(HostCpu& cpu);
  /// Each of the two, with empty buffers, comes to know what the other does.
  void meet(const HostCpu& one, const HostCpu& other) {
    if (reorders()) cxx_.meet(one.id, other.id);
  }
  /// A store that a compiler may have put before older ones becomes visible, chosen by `choice`.
  void overtake(HostCpu& cpu, std::uint64_t choice);

  // ---- Words of page tables: read, stored to, and changed by locked instructions

  std::uint64_t read_word(const std::uint64_t* word, Site where = Site::current());
  /// A plain store. What the CPU read there until then.
  std::uint64_t store_word(std::uint64_t* word, std::uint64_t value, std::memory_order order,
                           Site where = Site::current());
  /// The same behind its choice point, for a caller that has passed that.
  std::uint64_t put_word(std::uint64_t* word, std::uint64_t value, std::memory_order order,
                         Site where = Site::current());
  std::uint64_t exchange_word(std::uint64_t* word, std::uint64_t value,
                              Site where = Site::current());
  std::uint64_t clear_bits(std::uint64_t* word, std::uint64_t bits, Site where = Site::current());
  std::uint64_t set_bits(std::uint64_t* word, std::uint64_t bits, Site where = Site::current());

 private:
  void complete_weak_fence(HostCpu& self);
  /// The store at `index` becomes visible.
  void leave_buffer(HostCpu& cpu, unsigned index);
  void stores_left(const HostCpu& cpu);
  /// A plain store to a word of a page table leaves the store buffer.
  static void commit_word(const BufferedStore& store);

  Machine& machine_;
  struct LateStore {
    const void* word{nullptr};
    std::uint64_t before{0};
    CpuId cpu{0};
  };

  Memory model_{Memory::sc};
  bool weak_ipi_{false};
  bool loads_specially_{false};
  LateStore late_;
  CxxMemory cxx_;
};

}  // namespace shootdown::host
