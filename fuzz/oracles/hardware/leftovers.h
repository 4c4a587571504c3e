// What checkers of hardware truth find outdated and no instruction can reach right now. Whether it
// will be flushed before it is used again is for the kernel to know, so checkers of the kernel's
// own state hear of it. Without them it is nothing.
#pragma once

#include "hal/host/tlb.h"

namespace shootdown::fuzz {

class Leftovers {
 public:
  virtual ~Leftovers() = default;
  /// The flush of `cpu` returns, and `target` keeps a translation of `page` from before it.
  virtual void on_translation_left(CpuId /*cpu*/, CpuId /*target*/, const host::TlbEntry& /*entry*/,
                                   unsigned /*page*/) {}
  /// Likewise a flush of a kernel range.
  virtual void on_kernel_translation_left(CpuId /*cpu*/, CpuId /*target*/,
                                          const host::TlbEntry& /*entry*/, unsigned /*page*/) {}
  /// A table is about to be released, and `target` keeps a pointer to it under a PCID that is not
  /// the loaded one.
  virtual void on_pointer_left(CpuId /*target*/, const host::PscEntry& /*pointer*/) {}
  /// The CPU goes on after a switch or a flush function with this translation of its mm.
  virtual void on_loaded(CpuId /*cpu*/, const host::TlbEntry& /*entry*/, unsigned /*page*/) {}
  /// It goes on after a switch with this translation of a kernel page beside the loaded PCID.
  virtual void on_kernel_beside(CpuId /*cpu*/, const host::TlbEntry& /*entry*/) {}
};

}  // namespace shootdown::fuzz
