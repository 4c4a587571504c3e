// Address translation: user accesses, and walks that fill what CPUs and the device have cached
// (walk.h, tlb.h).
#pragma once

#include <cstdint>
#include <optional>

#include "core/types.h"
#include "hal/host/host_cpu.h"
#include "hal/host/recorder.h"
#include "hal/host/setup.h"
#include "hal/host/tlb.h"

namespace shootdown::host {

/// Result of a user access.
enum class AccessResult : std::uint8_t { done, fault };

class Translation {
 public:
  explicit Translation(Machine& machine) : machine_(machine) {}

  /// An access of the running CPU: translation, use, and the page fault if there is no translation
  /// that permits it. What is stored differs from what was there.
  AccessResult access(VirtAddr address, const PageAccess& what, Site where = Site::current());
  /// The same of the kernel, to its own half or a user's.
  AccessResult access(VirtAddr address, bool write, Site where = Site::current()) {
    return access(address, PageAccess{.write = write}, where);
  }
  /// A load, or a fetch. Its value, or nothing after a page fault.
  std::optional<std::uint64_t> load(VirtAddr address, const PageAccess& what = {},
                                    Site where = Site::current());
  /// A plain store: it waits in the store buffer as one to a word does, with the translation that
  /// it was executed with.
  AccessResult store(VirtAddr address, std::uint64_t value, Mode mode = Mode::supervisor,
                     Site where = Site::current());
  /// A locked instruction. The word that it is to change in the same step, or null after a fault.
  std::uint64_t* modify(VirtAddr address, Mode mode = Mode::supervisor,
                        Site where = Site::current());
  /// A walk of the CPU's walker that no instruction asks for.
  void speculate(HostCpu& cpu, const SpeculativeWalk& walk);
  /// A walk of the device.
  void device_walk(unsigned context, const SpeculativeWalk& walk);

 private:
  /// From the choice point to the moment of use: the translation. Nothing after a page fault.
  std::optional<TlbEntry> translate(VirtAddr address, const PageAccess& what, Pending kind,
                                    Site where);
  void store_to(const TlbEntry& used, VirtAddr address, std::uint64_t value);
  /// A store to a page leaves the store buffer.
  static void commit(const BufferedStore& store);
  /// Walks and caches. The new entry, or null if there is none to make.
  TlbEntry* fill(HostCpu& cpu, VirtAddr address, const PageAccess& what, bool speculative);
  /// Whether memory maps the address, which is cached, by a page of another size now.
  [[nodiscard]] bool has_other_size(const HostCpu& cpu, VirtAddr address, const TlbEntry& cached);
  /// A speculative walk that stops after the entry of `level`.
  void fill_pointers(HostCpu& cpu, VirtAddr address, unsigned level);
  [[noreturn]] void report_two_sizes(CpuId cpu);

  Machine& machine_;
};

}  // namespace shootdown::host
