// The global ASIDs: which mm may have one, and when one may be used again.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstdint>

#include "core/hal.h"
#include "core/trace.h"
#include "core/types.h"

namespace shootdown {

/// A pool of global ASIDs. An ASID that was given back may still tag entries in the TLB of any CPU,
/// so it waits until the others are used up; then all that wait are made clean at once, by one
/// broadcast flush.
///
/// ASIDs are a means to be fast, never needed: an initiator that finds the pool busy or empty goes
/// without. So no CPU waits for the lock.
template <Hal H>
class GlobalAsids {
 public:
  /// Gives out `count` ASIDs, 1 .. kMaxGlobalAsids. Context: boot, before any other call.
  void initialize(std::uint32_t count) {
    for (std::uint32_t i = 0; i < count; ++i) clean_[i / 64] |= std::uint64_t{1} << (i % 64);
    words_ = (count + 63) / 64;
    available_.store(count, std::memory_order_relaxed);
  }

  /// True if the caller may take an ASID; it calls `unlock` then. Preemption is off. Acquire and
  /// release make a lock of the two: the next owner sees `clean_` as the last one left it.
  [[nodiscard]] bool try_lock() {
    if (available_.load(std::memory_order_relaxed) == 0) return false;
    return lock_.exchange(1, std::memory_order_acquire) == 0;
  }
  void unlock() { lock_.store(0, std::memory_order_release); }

  /// An ASID under which no CPU has an entry, or kNoGlobalAsid. `flush_all_contexts()` returns when
  /// no CPU has an entry that is not global. Context: locked.
  template <class Flush>
  [[nodiscard]] Asid take(Flush&& flush_all_contexts) {
    Asid asid = pop();
    if (asid == kNoGlobalAsid && collect()) {
      // Behind `collect`: what is given back from now on waits for the next time.
      flush_all_contexts();
      asid = pop();
    }
    if (asid != kNoGlobalAsid) available_.fetch_add(~std::uint32_t{0}, std::memory_order_relaxed);
    return asid;
  }

  /// Precondition: no CPU has the ASID loaded, or will load it. Context: any thread.
  void give_back(Asid asid) {
    const std::uint32_t index = asid - kDynamicAsids;
    // Release orders the end of the mm, and the loads of other ASIDs that ended its use, before
    // the return, against the acquire in `collect` and the broadcast behind it.
    returned_[index / 64].fetch_or(std::uint64_t{1} << (index % 64), std::memory_order_release);
    available_.fetch_add(1, std::memory_order_relaxed);
  }

  /// Calls `visit(name, field)` for each shared word, so that tools can label addresses.
  template <class Visit>
  void visit_shared(Visit&& visit) {
    visit("asids_lock", lock_);
    visit("asids_available", available_);
    for (auto& word : returned_) visit("asids_returned", word);
  }

 private:
  static constexpr std::size_t kWords = (kMaxGlobalAsids + 63) / 64;

  Asid pop() {
    for (std::size_t i = 0; i < words_; ++i) {
      if (clean_[i] == 0) continue;
      const auto bit = static_cast<Asid>(std::countr_zero(clean_[i]));
      clean_[i] &= clean_[i] - 1;
      return kDynamicAsids + static_cast<Asid>(i * 64) + bit;
    }
    return kNoGlobalAsid;
  }

  /// Takes over what was given back. True if there is any.
  bool collect() {
    bool any = false;
    for (std::size_t i = 0; i < words_; ++i) {
      if (returned_[i].load(std::memory_order_relaxed) == 0) continue;
      // Acquire, against the release in `give_back`: the end of the ASID's use comes before the
      // broadcast that makes it clean.
      clean_[i] |= returned_[i].exchange(0, std::memory_order_acquire);
      any = true;
    }
    return any;
  }

  /// 1 while a CPU takes an ASID. Any CPU.
  alignas(kCacheLine) typename H::template Atomic<std::uint32_t> lock_{0};
  /// ASIDs that are not in use, given back or clean. A hint that keeps an empty pool cheap.
  typename H::template Atomic<std::uint32_t> available_{0};
  /// ASIDs given back and not collected yet. Any CPU, by locked operations.
  std::array<typename H::template Atomic<std::uint64_t>, kWords> returned_{};
  /// How much of the two is in use. Fixed after boot.
  std::size_t words_{0};
  /// ASIDs that may be taken. Written under the lock.
  std::array<std::uint64_t, kWords> clean_{};
};

}  // namespace shootdown
