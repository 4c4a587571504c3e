// Verifies: when the memory manager completes an operation, or a reclaim batch is flushed, no CPU
// and no device can use what was there before (O21, O20); a page is copied, or counts as clean,
// only when no CPU can store to it unseen (O21).
// Does not verify: what the operation leaves instead (contents.h).
#pragma once

#include <array>
#include <cstddef>

#include "fuzz/oracles/hardware/device.h"
#include "fuzz/oracles/hardware/truth.h"

namespace shootdown::fuzz {

class PromiseChecker {
 public:
  PromiseChecker(Truth& truth, const DeviceChecker& device) : truth_(truth), device_(device) {}

  void start();
  void begin_promise() { promise_[truth_.running_thread()].size = 0; }
  void note_promise(unsigned mm, VirtAddr start, VirtAddr end);
  void on_promise();
  /// The CPU's last change joins its batch, which a flush then completes.
  void on_batch_add(CpuId cpu);
  void on_batch_returned(CpuId cpu);
  void on_copy(std::uint32_t from) const;
  void on_cleaned(unsigned mm, VirtAddr start, VirtAddr end) const;

 private:
  /// What one operation promises about one page.
  struct Promise {
    unsigned mm;
    std::uint32_t life;
    unsigned page;
    std::uint64_t version;
  };
  struct Promises {
    // One for each page there is: a later promise about the same page takes the place of the
    // earlier one, which it includes.
    std::array<Promise, std::size_t{kMaxMms + 1} * kPages> items;
    unsigned size{0};
    void add(const Promise& promise);
    [[nodiscard]] bool are_broken_by(const host::TlbEntry& entry) const;
  };

  void check(CpuId cpu, const Promises& promises, Oracle oracle, const char* title);

  Truth& truth_;
  const DeviceChecker& device_;
  std::array<Promises, kMaxCpus> batch_;
  std::array<Promises, kMaxCpus> promise_;
};

}  // namespace shootdown::fuzz
