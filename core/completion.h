// What is true after a flush, as types. A token is proof: only a flush makes one, it says whose
// translations were flushed, and code that releases memory asks for the one that permits it.
//
//   flush of                  token                    after exclude_walkers
//   (one that was submitted gives it at its end)
//   an mm's leaf entries      TranslationsQuiet
//   ... and freed tables      TablesUnreachable        WalkersQuiet
//   an mm that ends           MmRetired                WalkersQuiet
//   a reclaim batch           BatchQuiet
//   kernel leaf entries       KernelQuiet
//   ... and everything        KernelTablesUnreachable  KernelWalkersQuiet
//
// A token is moved and never copied; one that was moved from is spent and covers nothing. None is
// assigned to: the weaker part of a stronger token would take on what a weaker flush was for. Its
// makers are the flushes that are named as friends, and nothing else. A caller asks `covers` with
// the mm that it takes the memory from: identities are never given twice, so that not even the
// next mm in the same object is covered.
#pragma once

#include <cstdint>
#include <utility>

#include "core/hal.h"
#include "core/types.h"

namespace shootdown {

template <Hal H>
struct Mm;
template <Hal H>
struct System;
template <Hal H>
class ReclaimBatch;
struct FlushRange;
template <Hal H, class Token>
class PendingFlush;

/// No CPU will be in user mode with a stale translation of the flushed range: each target flushes
/// before it returns there. Its kernel code may still be about to. Permits nothing to be released.
class [[nodiscard, clang::trivial_abi]] UserReturnClosed {
 public:
  UserReturnClosed(UserReturnClosed&& other) noexcept
      : context_(std::exchange(other.context_, ContextId{kNoContext})) {}
  UserReturnClosed& operator=(UserReturnClosed&&) = delete;

  /// Whether the flush was of this mm, and the token is not spent.
  [[nodiscard]] bool covers(ContextId context) const {
    return context != kNoContext && context == context_;
  }
  template <Hal H>
  [[nodiscard]] bool covers(const Mm<H>& mm) const {
    return covers(mm.context);
  }

 private:
  // Not protected: a class derived by a caller would be a token without a flush.
  explicit UserReturnClosed(ContextId context) : context_(context) {}
  friend class TranslationsQuiet;
  template <Hal H>
  friend UserReturnClosed flush_tlb_mm_range_early(System<H>& system, Mm<H>& mm,
                                                   const FlushRange& range);

  ContextId context_;
};

/// No CPU can use a stale translation of the flushed range. Permits releasing data frames.
class [[nodiscard, clang::trivial_abi]] TranslationsQuiet : public UserReturnClosed {
 public:
  TranslationsQuiet(TranslationsQuiet&&) = default;
  TranslationsQuiet& operator=(TranslationsQuiet&&) = delete;

 private:
  explicit TranslationsQuiet(ContextId context) : UserReturnClosed(context) {}
  friend class TablesUnreachable;
  template <Hal H, class Token>
  friend class PendingFlush;
  template <Hal H>
  friend TranslationsQuiet flush_tlb_mm_range(System<H>& system, Mm<H>& mm,
                                              const FlushRange& range);
  template <Hal H>
  friend TranslationsQuiet flush_tlb_page(System<H>& system, Mm<H>& mm, VirtAddr address);
  template <Hal H>
  friend TranslationsQuiet flush_tlb_mm(System<H>& system, Mm<H>& mm);
};

/// Moreover no CPU, lazy or not, can walk the unhooked page tables. Software may: a walker that
/// relies on its interrupts being off notices no flush that goes by hypercall or broadcast. Permits
/// giving tables to code that waits for those walkers.
class [[nodiscard, clang::trivial_abi]] TablesUnreachable : public TranslationsQuiet {
 public:
  TablesUnreachable(TablesUnreachable&&) = default;
  TablesUnreachable& operator=(TablesUnreachable&&) = delete;

 private:
  explicit TablesUnreachable(ContextId context) : TranslationsQuiet(context) {}
  friend class MmRetired;
  friend class WalkersQuiet;
  template <Hal H, class Token>
  friend class PendingFlush;
  template <Hal H>
  friend TablesUnreachable flush_tlb_mm_range_freed_tables(System<H>& system, Mm<H>& mm,
                                                           const FlushRange& range);
};

/// Moreover the flush was the mm's last: no CPU has it loaded. Permits releasing its roots,
/// which no task is left to walk.
class [[nodiscard, clang::trivial_abi]] MmRetired : public TablesUnreachable {
 public:
  MmRetired(MmRetired&&) = default;
  MmRetired& operator=(MmRetired&&) = delete;

 private:
  explicit MmRetired(ContextId context) : TablesUnreachable(context) {}
  template <Hal H>
  friend MmRetired retire_mm(System<H>& system, Mm<H>& mm);
};

/// No CPU can walk the unhooked tables, and no software that began to with interrupts off is still
/// at it. Permits releasing tables, on every backend.
class [[nodiscard, clang::trivial_abi]] WalkersQuiet : public TablesUnreachable {
 public:
  WalkersQuiet(WalkersQuiet&&) = default;
  WalkersQuiet& operator=(WalkersQuiet&&) = delete;

 private:
  explicit WalkersQuiet(TablesUnreachable&& tables) : TablesUnreachable(std::move(tables)) {}
  template <Hal H>
  friend WalkersQuiet exclude_walkers(System<H>& system, TablesUnreachable tables);
};

/// No CPU can use a translation that was stale when its mm was added to the batch. Permits
/// releasing data frames of the mms that were added, and no tables.
class [[nodiscard, clang::trivial_abi]] BatchQuiet {
 public:
  BatchQuiet(BatchQuiet&& other) noexcept : contexts_(std::exchange(other.contexts_, 0)) {}
  BatchQuiet& operator=(BatchQuiet&&) = delete;

  /// Whether the mm may have been added, and the token is not spent. Right for every mm that
  /// was added; wrong for one in 64 of the others, since the token has no room for a list.
  [[nodiscard]] bool covers(ContextId context) const {
    return context != kNoContext && (contexts_ & bit_of(context)) != 0;
  }
  template <Hal H>
  [[nodiscard]] bool covers(const Mm<H>& mm) const {
    return covers(mm.context);
  }

 private:
  explicit BatchQuiet(std::uint64_t contexts) : contexts_(contexts) {}
  static constexpr std::uint64_t bit_of(ContextId context) {
    return std::uint64_t{1} << (context % 64);
  }
  template <Hal H>
  friend class ReclaimBatch;

  std::uint64_t contexts_;
};

/// No CPU can use a stale translation of the flushed range of the kernel's half. Permits releasing
/// data frames that were mapped there, and nothing of any mm.
class [[nodiscard, clang::trivial_abi]] KernelQuiet {
 public:
  KernelQuiet(KernelQuiet&& other) noexcept : valid_(std::exchange(other.valid_, false)) {}
  KernelQuiet& operator=(KernelQuiet&&) = delete;

  /// Whether the token is not spent.
  [[nodiscard]] bool covers_kernel() const { return valid_; }

 private:
  explicit KernelQuiet(bool valid) : valid_(valid) {}
  friend class KernelTablesUnreachable;
  template <Hal H>
  friend KernelQuiet flush_tlb_kernel_range(System<H>& system, VirtAddr start, VirtAddr end);

  bool valid_;
};

/// The same for tables of the kernel's half as `TablesUnreachable` for those of an mm.
class [[nodiscard, clang::trivial_abi]] KernelTablesUnreachable : public KernelQuiet {
 public:
  KernelTablesUnreachable(KernelTablesUnreachable&&) = default;
  KernelTablesUnreachable& operator=(KernelTablesUnreachable&&) = delete;

 private:
  explicit KernelTablesUnreachable(bool valid) : KernelQuiet(valid) {}
  friend class KernelWalkersQuiet;
  template <Hal H>
  friend KernelTablesUnreachable flush_tlb_all(System<H>& system);
};

/// ... and as `WalkersQuiet`.
class [[nodiscard, clang::trivial_abi]] KernelWalkersQuiet : public KernelTablesUnreachable {
 public:
  KernelWalkersQuiet(KernelWalkersQuiet&&) = default;
  KernelWalkersQuiet& operator=(KernelWalkersQuiet&&) = delete;

 private:
  explicit KernelWalkersQuiet(KernelTablesUnreachable&& tables)
      : KernelTablesUnreachable(std::move(tables)) {}
  template <Hal H>
  friend KernelWalkersQuiet exclude_walkers(System<H>& system, KernelTablesUnreachable tables);
};

}  // namespace shootdown
