// A device that shares address spaces with the CPUs: it walks their page tables by itself and has
// a TLB of its own, as devices behind an IOMMU with shared virtual addressing do.
//
// It may walk at any moment, for the user half and for the kernel's. No TLB instruction, interrupt
// or broadcast of a CPU reaches it: it forgets what it is told to forget, and nothing else.
#pragma once

#include <array>
#include <cstdint>

#include "core/types.h"
#include "hal/host/tlb.h"

namespace shootdown::host {

class Machine;

/// What observers hear instead of a CPU while the device walks.
inline constexpr CpuId kDevice = 255;

class Device {
 public:
  /// Address spaces that it can be bound to at a time, as PASIDs name them.
  static constexpr unsigned kContexts = 16;

  explicit Device(Machine& machine) : machine_(machine) {}

  /// A new run starts: bound to nothing.
  void prepare();

  // ---- For code on simulated CPUs. Each takes effect at once; the caller's visible operation is
  // the command that it sends.

  void bind(unsigned context, PhysAddr root);
  /// Ends all use of the mm: nothing is cached, and no walk begins any more.
  void unbind(unsigned context);
  /// Forgets the translations of [start, end) in one mm, and the pointers to tables on the way
  /// to any address there, of every level.
  void forget(unsigned context, VirtAddr start, VirtAddr end);
  /// The same in every mm, for the kernel's half.
  void forget_everywhere(VirtAddr start, VirtAddr end);

  // ---- For the schedule

  /// Walks for the address, down to the entry of `level`, and caches what it finds.
  void walk(unsigned context, VirtAddr address, unsigned level);

  // ---- For observers

  [[nodiscard]] const Tlb& tlb() const { return tlb_; }
  [[nodiscard]] bool is_bound(unsigned context) const { return roots_[context] != 0; }
  /// The mm of the walk that is going on.
  [[nodiscard]] unsigned walked_context() const { return walked_context_; }

 private:
  void cache_page(unsigned context, VirtAddr address);

  Machine& machine_;
  Tlb tlb_;  // a context stands where a CPU has a PCID
  std::array<PhysAddr, kContexts> roots_{};
  unsigned walked_context_{0};
};

}  // namespace shootdown::host
