// The cached translations of one CPU that is a thread. Only that thread uses it.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "core/types.h"

namespace shootdown::threads {

/// A few translations of 4 KiB pages, each tagged with its PCID. What a translation leads to is up
/// to the test: the model has no page tables of its own.
class Tlb {
 public:
  static constexpr unsigned kEntries = 32;

  struct Entry {
    VirtAddr page{0};  // address >> kPageShift
    std::uint64_t target{0};
    std::uint16_t pcid{0};
    bool global{false};
  };

  /// What `address` leads to under `pcid`, if that is cached.
  [[nodiscard]] std::optional<std::uint64_t> find(VirtAddr address, std::uint16_t pcid) const {
    for (unsigned i = 0; i < size_; ++i) {
      const Entry& entry = entries_[i];
      if (entry.page == address >> kPageShift && (entry.global || entry.pcid == pcid)) {
        return entry.target;
      }
    }
    return std::nullopt;
  }

  /// Precondition: `find` finds nothing. A full TLB loses the entry that is next in turn.
  void insert(const Entry& entry) {
    if (size_ < kEntries) {
      entries_[size_++] = entry;
      return;
    }
    entries_[victim_] = entry;
    victim_ = (victim_ + 1) % kEntries;
  }

  /// Drops what `predicate(entry)` holds for.
  template <class Predicate>
  void drop(Predicate&& predicate) {
    for (unsigned i = 0; i < size_;) {
      if (predicate(entries_[i])) {
        entries_[i] = entries_[--size_];
      } else {
        ++i;
      }
    }
  }
  void clear() { size_ = 0; }

 private:
  std::array<Entry, kEntries> entries_{};
  unsigned size_{0};
  unsigned victim_{0};
};

}  // namespace shootdown::threads
