// Verifies: an address leads to one page at a time, which reads as it was stored last, through
// copies, forks, moves and other page sizes (O33); an operation leaves what it says that it leaves,
// a lockless walk returns a page that was mapped there during the walk, and an entry that stays, or
// comes back, keeps its accessed bit (O34); no page is released that an entry maps (O6).
// Does not verify: what pages hold while the right to store is being taken away.
//
// It keeps, for each page of each mm, whether a program may rely on it and when it was stored to
// last; and for each frame the time of the last store to it. A load has to find the frame that was
// stored to at the page's time.
#pragma once

#include <array>
#include <vector>

#include "fuzz/oracles/hardware/truth.h"

namespace shootdown::fuzz {

class ContentsChecker {
 public:
  explicit ContentsChecker(const Truth& truth) : truth_(truth) {}

  void start();
  void on_table_write(const std::uint64_t* word);
  /// By one operation of the running CPU, which is `on_table_write` as well.
  void check_accessed(const std::uint64_t* word, std::uint64_t before, std::uint64_t after);
  /// The page is about to be released.
  void on_page_release(std::uint32_t frame) const;
  void on_destroy(unsigned mm) { mapping_[mm].fill({}); }
  void on_page_allocated(std::uint32_t frame) { content_[frame] = 0; }
  void on_copy(std::uint32_t to, std::uint32_t from) { content_[to] = content_[from]; }
  /// Through a translation of the mm that the CPU runs.
  void on_use(CpuId cpu, VirtAddr address, const host::TlbEntry& entry, bool write);

  void on_operation(bool replaces) {
    self().replaces = replaces;
    self().took_accessed = false;
  }
  /// What is promised is about the pages that were there. A mapping whose entry, or a pointer on
  /// the way to it, still waits in a store buffer is there for no other CPU, and then nothing
  /// counts.
  void begin_promise() { self().began = waiting_ == 0 ? clock_ : 0; }
  /// A plain store to a page table of an mm enters a store buffer; one to any table leaves it.
  void on_store_waits() { ++waiting_; }
  void on_store_arrives(const std::uint64_t* word);
  void on_unmapped(unsigned mm, unsigned first, unsigned last) const;
  void on_protected(unsigned mm, unsigned first, unsigned last) const;
  void begin_fork(unsigned parent);
  void on_forked(unsigned parent, unsigned child) const;
  void begin_lookup(unsigned mm, unsigned page);
  void end_lookup(std::uint32_t frame);

 private:
  /// What a program of the mm may rely on at a page. An operation that only replaces an entry,
  /// such as a migration, takes nothing from it, although the entry is gone for a moment. Times are
  /// those of `clock_`.
  struct Mapping {
    bool mapped{false};
    bool has_right{false};  // the one that `protect` takes
    std::uint32_t frame{0};
    std::uint64_t content{0};     // of the last store
    std::uint64_t mapped_at{0};   // when it began to be mapped
    std::uint64_t granted_at{0};  // when the right was given
  };
  /// A lockless walk on its way, and the pages that were mapped at its address since it began.
  struct Lookup {
    struct Page {
      std::uint32_t frame;
      std::uint32_t life;
    };
    bool active{false};
    unsigned mm{0};
    unsigned page{0};
    std::vector<Page> seen;
  };
  /// What a thread is about.
  struct Operation {
    bool replaces{false};
    bool took_accessed{false};                        // from an entry that is about to come back
    std::uint64_t began{0};                           // what promises something
    std::array<std::uint64_t, kPages> before_fork{};  // what the parent's pages held
    Lookup lookup;
  };

  [[nodiscard]] Operation& self() { return operation_[truth_.running_thread()]; }
  [[nodiscard]] const Operation& self() const { return operation_[truth_.running_thread()]; }
  void note_mapping(unsigned mm, unsigned page);
  void add_to_lookups(unsigned mm, unsigned page, std::uint32_t frame);
  void check_one_frame(unsigned mm, unsigned page, std::uint32_t frame) const;
  void check_content(CpuId cpu, unsigned page, const host::TlbEntry& entry, bool outdated) const;
  void note_store(unsigned mm, unsigned page, const host::TlbEntry& entry, bool outdated);
  [[nodiscard]] bool was_mapped_throughout(unsigned mm, unsigned page) const;

  const Truth& truth_;
  /// Counts stores, and pages and rights that are given.
  std::uint64_t clock_{0};
  unsigned waiting_{0};  // plain stores to page tables in store buffers
  std::array<std::uint64_t, host::FramePool::kFrames> content_{};  // when it was stored to last
  std::array<std::array<Mapping, kPages>, kMaxMms + 1> mapping_{};
  std::array<Operation, kMaxCpus> operation_{};
};

}  // namespace shootdown::fuzz
