// The modelled machine's physical memory as the memory manager sees it. Every page-table access of
// the memory manager goes through here, so the oracles follow page tables without its help.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "fuzz/events/events.h"
#include "hal/host/hal.h"
#include "kernel-glue/mm/manager.h"
#include "kernel-glue/mm/platform.h"

namespace shootdown::fuzz {

using host::HostHal;
using host::Machine;

class SimKernel;
class SimMemory;

/// One page-table entry.
class SimEntry {
 public:
  using Site = host::Site;
  /// Word of a frame. Where there is no memory, no frame and null.
  SimEntry(SimMemory& memory, std::uint32_t frame, std::uint64_t* word)
      : memory_(memory), word_(word), frame_(frame) {}
  vm::Pte load(std::memory_order order, Site where = Site::current()) const;
  /// Not a visible operation.
  [[nodiscard]] vm::Pte peek() const;
  /// A load; in runs with `unlocked_reads` a visible one, where there is something to read.
  [[nodiscard]] vm::Pte glance(Site where = Site::current()) const;
  void store(vm::Pte value, std::memory_order order, Site where = Site::current());
  vm::Pte exchange(vm::Pte value, std::memory_order order, Site where = Site::current());
  vm::Pte fetch_or(vm::Pte bits, std::memory_order order, Site where = Site::current());
  vm::Pte fetch_and(vm::Pte bits, std::memory_order order, Site where = Site::current());

 private:
  friend class SimMemory;

  /// Ends the run with a report if the frame is no page table. False: no run is under way yet.
  [[nodiscard]] bool is_there(const char* verb) const;

  SimMemory& memory_;
  std::uint64_t* word_;
  std::uint32_t frame_;
};

class SimMemory {
 public:
  using Hal = HostHal;
  using Word = HostHal::Atomic<std::uint32_t>;

  SimMemory(Machine& machine, SimKernel& sim, KernelEvents& events)
      : machine_(machine), sim_(sim), events_(events) {}

  /// Whether other CPUs come in before reads without a lock.
  void set_unlocked_reads(bool on) { unlocked_reads_ = on; }
  /// A new run starts. Roots get `kernel_entry` as the kernel's half, user roots `user_entry`.
  void prepare(std::uint64_t kernel_entry, std::uint64_t user_entry);
  /// The allocation of `thread` after `others` more fails.
  void fail_allocation(unsigned thread, unsigned others) { fails_in_[thread] = others + 1; }
  /// A frame of the kernel's own. No scenario makes this allocation fail.
  std::uint32_t allocate_frame(host::FrameKind kind, std::uint16_t owner);
  /// For exhaustive search: the frame is taken, or about to be released.
  void record_frame_access(std::uint32_t frame);
  /// What the word says, for oracles.
  [[nodiscard]] std::uint32_t references_to(std::uint32_t frame) const {
    return references_[frame].peek();
  }
  /// A load from the page, by the holder of a reference to it.
  void read_page(PhysAddr page);

  // The platform, as kernel-glue/mm/platform.h describes it.
  PhysAddr allocate_table(const vm::FrameHint<Hal>& hint);
  PhysAddr allocate_page(const vm::FrameHint<Hal>& hint);
  SimEntry entry(PhysAddr table, unsigned index);
  void prepare_entry(PhysAddr table, unsigned index, vm::Pte value);
  void copy_page(PhysAddr to, PhysAddr from, unsigned level);
  [[nodiscard]] PhysAddr part(PhysAddr page, unsigned index) const;
  Word& table_lock(PhysAddr table) { return word_for(locks_, table); }
  Word& references(PhysAddr page) { return word_for(references_, page); }
  void release_page(PhysAddr page);
  void release_table(PhysAddr table);
  void discard_table(PhysAddr table);
  vm::DeferredTable<Hal>* allocate_record();
  void release_record(vm::DeferredTable<Hal>* record);
  void note_dirty(PhysAddr page);
  void looked(const Mm<Hal>& mm, VirtAddr start, VirtAddr end);
  void cleaned(const Mm<Hal>& mm, VirtAddr start, VirtAddr end);
  void walker_holds(PhysAddr table);
  void walker_done();
  void begin_secondary(const Mm<Hal>& mm);
  void end_secondary(const Mm<Hal>& mm);
  void flush_secondary(const Mm<Hal>& mm, VirtAddr start, VirtAddr end);
  void flush_secondary_kernel(VirtAddr start, VirtAddr end);

 private:
  friend class SimEntry;
  static constexpr unsigned kRecords = 8;

  using Words = std::array<Word, host::FramePool::kFrames>;

  /// Ends the run with a report if `frame` is not used as what the memory manager takes it for. So
  /// what goes wrong is a report and no crash. False: no run is under way yet.
  bool expect(PhysAddr frame, host::FrameKind kind, const char* verb);
  /// A frame's word, which outlives the frame's use, but needs a frame.
  Word& word_for(Words& words, PhysAddr frame);
  /// Whether the running CPU's allocation is one that fails.
  bool fails();
  std::uint32_t take(host::FrameKind kind, std::uint16_t owner);
  /// As `expect`, but a frame that is free is left to what releases it.
  bool expect_allocated(PhysAddr frame, host::FrameKind kind, const char* verb);
  void release(PhysAddr frame);

  Machine& machine_;
  SimKernel& sim_;
  KernelEvents& events_;
  std::uint64_t kernel_entry_{0};
  std::uint64_t user_entry_{0};
  bool unlocked_reads_{false};
  Words locks_;
  Words references_;
  Word nowhere_{0};
  std::array<vm::DeferredTable<Hal>, kRecords> records_;
  std::uint32_t records_used_{0};
  std::array<unsigned, host::kHostCpus> fails_in_{};
};

static_assert(vm::MemoryPlatform<SimMemory>);

}  // namespace shootdown::fuzz
