// Pages whose content says which page it is and how often it was replaced, so that each read is
// judged by itself: what a flush has promised before the read is the least that it may find.
#pragma once

#include <array>

#include "kernel-glue/kernel/self_tests/support.h"

namespace shootdown::kernel {

/// How a replacement is flushed.
enum class PageFlush : std::uint8_t { page, range, everything, early };

/// A read that found what it must not.
struct WrongRead {
  CpuId cpu;
  VirtAddr address;
  std::uint64_t found;
  std::uint64_t least;
};

/// Two neighbouring pages. Everything but construction and destruction may be called on any CPU at
/// any time; a CPU that finds a page in work leaves it alone.
class VersionedPages {
 public:
  static constexpr std::uint64_t kPages = 2;

  /// At `base` in `mm`; `identity` is in every word and differs from that of other pages. Nothing
  /// else is in the 2 MiB around `base` if `replace_table` is used.
  VersionedPages(AddressSpace& mm, std::uint64_t identity, VirtAddr base);
  /// The same in the kernel's half.
  VersionedPages(std::uint64_t identity, VirtAddr base);
  ~VersionedPages();
  VersionedPages(const VersionedPages&) = delete;
  VersionedPages& operator=(const VersionedPages&) = delete;

  /// Maps another frame with the next version, flushes, promises the version, and makes the old
  /// frame unrecognisable before it is free. Context: a thread with interrupts on.
  void replace(std::uint64_t index, PageFlush how);

  /// The same for both pages by way of another page table. In between there is no table.
  void replace_table();

  /// Reads a page that is always mapped. True if it found a version that is new enough.
  [[nodiscard]] bool read(std::uint64_t index, WrongRead& wrong) const;

  /// The same where the page may be away for a moment.
  [[nodiscard]] bool read_if_there(std::uint64_t index, WrongRead& wrong) const;

  /// Null: the kernel's.
  [[nodiscard]] AddressSpace* mm() const { return mm_; }

  [[nodiscard]] std::uint64_t replacements() const {
    return replacements_.load(std::memory_order_relaxed);
  }

 private:
  [[nodiscard]] VirtAddr address(std::uint64_t index) const { return base_ + index * kPageBytes; }
  [[nodiscard]] std::uint64_t word(std::uint64_t index, std::uint64_t version) const;
  [[nodiscard]] PhysAddr new_frame(std::uint64_t index, std::uint64_t version) const;
  [[nodiscard]] std::uint64_t flags() const;
  void map_first_frames();
  void flush(std::uint64_t index, PageFlush how);
  void promise(std::uint64_t index, std::uint64_t version);
  [[nodiscard]] bool is_right(std::uint64_t index, std::uint64_t found, std::uint64_t least,
                              WrongRead& wrong) const;

  AddressSpace* mm_;
  std::uint64_t identity_;
  VirtAddr base_;
  x86::Atomic<bool> busy_{false};
  std::array<Entry*, kPages> entries_{};
  std::array<PhysAddr, kPages> frames_{};
  /// What the latest flush that has returned promises.
  std::array<x86::Atomic<std::uint64_t>, kPages> promised_{};
  x86::Atomic<std::uint64_t> replacements_{0};
};

}  // namespace shootdown::kernel
