// One simulated CPU's cached translations: leaf entries and the paging-structure cache.
#pragma once

#include <array>
#include <cstdint>

#include "core/types.h"
#include "hal/host/frames.h"

namespace shootdown::host {

/// What a translation was when it was read from memory. The oracles fill it; hardware ignores it.
struct Provenance {
  std::uint16_t mm{0};       // the address space whose root was loaded
  std::uint32_t life{0};     // ... and which life of it, because spaces are reused
  std::uint64_t version{0};  // of the page-table entry
  std::uint64_t step{0};     // when
  bool speculative{false};
};

/// Whose access it is: a program's in user mode, or the kernel's, which needs no user bit.
enum class Mode : std::uint8_t { supervisor, user };

/// What an instruction does at an address.
struct PageAccess {
  bool write{false};
  bool fetch{false};  // it is the instruction itself that is read
  Mode mode{Mode::supervisor};
};

/// What the entries on the way to a page permit (SDM vol. 3, 4.6).
struct Rights {
  bool writable{true};
  bool user{true};
  bool executable{true};

  /// Without regard to the dirty bit.
  [[nodiscard]] bool permit(const PageAccess& access) const {
    return (writable || !access.write) && (executable || !access.fetch) &&
           (user || access.mode == Mode::supervisor);
  }
  /// Those of an entry, too: each on the way must give a right.
  [[nodiscard]] Rights and_of(std::uint64_t entry) const {
    return {.writable = writable && (entry & kPteWritable) != 0,
            .user = user && (entry & kPteUser) != 0,
            .executable = executable && (entry & kPteNoExecute) == 0};
  }
  friend bool operator==(const Rights&, const Rights&) = default;
};

/// A cached leaf translation (SDM vol. 3, 4.10.2).
struct TlbEntry {
  std::uint64_t page;  // virtual address >> shift
  std::uint32_t frame;
  std::uint32_t root;  // frame of the top table; hypervisors name an mm by it
  std::uint16_t pcid;
  std::uint8_t shift;  // 12, 21 or 30
  bool global;
  Rights rights;
  bool dirty;
  Provenance from;
  std::uint32_t number{0};  // higher than that of what was cached before

  [[nodiscard]] bool covers(VirtAddr address) const { return address >> shift == page; }
  /// Whether it says what `other` says, for the same page.
  [[nodiscard]] bool is_copy_of(const TlbEntry& other) const {
    return frame == other.frame && root == other.root && pcid == other.pcid &&
           shift == other.shift && global == other.global && rights == other.rights &&
           dirty == other.dirty;
  }
  [[nodiscard]] bool overlaps(const TlbEntry& other) const {
    return shift > other.shift ? covers(other.page << other.shift) : other.covers(page << shift);
  }
};

/// Level of the top table, and with LA57; 1 is the page table.
inline constexpr unsigned kTopLevel = 4;
inline constexpr unsigned kTopLevelOfFive = 5;

/// The bits of an address below what an entry of `level` translates.
constexpr std::uint8_t shift_of_level(unsigned level) {
  return static_cast<std::uint8_t>(kPageShift + (9 * (level - 1)));
}

/// A cached pointer to a table, read from an entry of the level above it: a PML5E, a PML4E, a PDPTE
/// or a PDE (SDM vol. 3, 4.10.3).
struct PscEntry {
  std::uint64_t prefix;  // virtual address >> shift
  std::uint32_t table;   // frame of the table that it points to
  std::uint32_t life;    // ... and which life of the frame, because frames are used again
  std::uint32_t root;    // frame of the top table
  std::uint16_t pcid;
  std::uint8_t shift;  // 48, 39, 30 or 21
  Rights rights;
  Provenance from;

  [[nodiscard]] bool covers(VirtAddr address) const { return address >> shift == prefix; }
  /// Level of the table that it points to: 4, 3, 2 or 1.
  [[nodiscard]] unsigned level() const { return (shift - kPageShift) / 9U; }
};

/// A small unordered set with a bound. When it is full the oldest slot in turn is overwritten,
/// which a real TLB may do as well.
template <class T, unsigned kCapacity>
class CacheArray {
 public:
  [[nodiscard]] unsigned size() const { return size_; }
  T& operator[](unsigned index) { return entries_[index]; }
  const T& operator[](unsigned index) const { return entries_[index]; }
  T* begin() { return entries_.data(); }
  T* end() { return entries_.data() + size_; }
  const T* begin() const { return entries_.data(); }
  const T* end() const { return entries_.data() + size_; }
  void clear() {
    size_ = 0;
    cursor_ = 0;
  }
  T& insert(const T& entry) {
    unsigned index = size_;
    if (size_ == kCapacity) {
      index = cursor_;
      cursor_ = (cursor_ + 1) % kCapacity;
    } else {
      ++size_;
    }
    entries_[index] = entry;
    return entries_[index];
  }
  void remove(unsigned index) { entries_[index] = entries_[--size_]; }
  template <class Predicate>
  void remove_if(Predicate&& predicate) {
    for (unsigned i = 0; i < size_;) {
      if (predicate(entries_[i])) {
        remove(i);
      } else {
        ++i;
      }
    }
  }

 private:
  std::array<T, kCapacity> entries_;
  unsigned size_{0};
  unsigned cursor_{0};
};

class Tlb {
 public:
  static constexpr unsigned kEntries = 48;
  static constexpr unsigned kPscEntries = 24;

  void clear() {
    ++invalidations;
    entries.clear();
    psc.clear();
  }

  /// The entry that `address` uses under `pcid`, or null.
  [[nodiscard]] TlbEntry* find(VirtAddr address, std::uint16_t pcid) {
    TlbEntry* newest = nullptr;
    for (TlbEntry& entry : entries) {
      if (!entry.covers(address) || (!entry.global && entry.pcid != pcid)) continue;
      if (!keeps_older) return &entry;
      if (newest == nullptr || newest->number < entry.number) newest = &entry;
    }
    return newest;
  }
  /// Caches a translation in the place of what there is of the page, or beside it.
  TlbEntry& fill(const TlbEntry& entry, VirtAddr address) {
    entries.remove_if([&](const TlbEntry& old) {
      return old.covers(address) && (old.pcid == entry.pcid || old.global) &&
             old.shift == entry.shift && (!keeps_older || old.is_copy_of(entry));
    });
    TlbEntry& cached = entries.insert(entry);
    cached.number = ++fills;
    return cached;
  }
  /// Drops what `find` finds.
  void drop_found(VirtAddr address, std::uint16_t pcid) {
    const TlbEntry* found = find(address, pcid);
    if (found != nullptr) entries.remove(static_cast<unsigned>(found - entries.begin()));
  }
  /// The cached pointer to the table of `level` on the way to `address`, or null.
  [[nodiscard]] const PscEntry* find_table(VirtAddr address, std::uint16_t pcid,
                                           unsigned level = 1) const {
    for (const PscEntry& entry : psc) {
      if (entry.pcid == pcid && entry.covers(address) && entry.level() == level) return &entry;
    }
    return nullptr;
  }
  /// Where a walk for `address` starts that is to read an entry of `level`: the cached pointer to
  /// the lowest table from which that entry can be reached, or null for the root.
  [[nodiscard]] const PscEntry* find_start(VirtAddr address, std::uint16_t pcid,
                                           unsigned level) const {
    const PscEntry* best = nullptr;
    for (const PscEntry& entry : psc) {
      if (entry.pcid != pcid || !entry.covers(address) || entry.level() < level) continue;
      if (best == nullptr || entry.shift < best->shift) best = &entry;
    }
    return best;
  }

  /// MOV to CR3 without the keep bit: non-global entries of the PCID being loaded.
  void flush_pcid(std::uint16_t pcid) {
    ++invalidations;
    entries.remove_if([&](const TlbEntry& e) { return !e.global && e.pcid == pcid; });
    psc.remove_if([&](const PscEntry& e) { return e.pcid == pcid; });
  }
  /// MOV to CR3 without PCIDs: all non-global entries.
  void flush_non_global() {
    ++invalidations;
    entries.remove_if([](const TlbEntry& e) { return !e.global; });
    psc.clear();
  }
  /// INVLPG: the address in the current PCID, global entries for it in every PCID, and the whole
  /// paging-structure cache of the current PCID, of any level and for any address.
  void flush_address(VirtAddr address, std::uint16_t pcid) {
    ++invalidations;
    entries.remove_if(
        [&](const TlbEntry& e) { return e.covers(address) && (e.global || e.pcid == pcid); });
    psc.remove_if([&](const PscEntry& e) { return e.pcid == pcid; });
  }
  /// INVLPG with EFER.TCE: of the paging-structure cache only what is on the way to the address.
  void flush_address_and_its_tables(VirtAddr address, std::uint16_t pcid) {
    ++invalidations;
    entries.remove_if(
        [&](const TlbEntry& e) { return e.covers(address) && (e.global || e.pcid == pcid); });
    psc.remove_if([&](const PscEntry& e) { return e.pcid == pcid && e.covers(address); });
  }
  /// INVPCID type 0: what translates the address in one PCID, global entries excepted. Of the
  /// cached table pointers only those on the way to this address go, where INVLPG drops the whole
  /// PCID's.
  void flush_address_in(VirtAddr address, std::uint16_t pcid) {
    ++invalidations;
    entries.remove_if(
        [&](const TlbEntry& e) { return !e.global && e.pcid == pcid && e.covers(address); });
    psc.remove_if([&](const PscEntry& e) { return e.pcid == pcid && e.covers(address); });
  }
  /// What translates any address of [start, end) in one PCID. An end of 0 is 2^64.
  void flush_range_in(std::uint16_t pcid, VirtAddr start, VirtAddr end) {
    ++invalidations;
    const auto hits = [&](std::uint64_t number, unsigned shift) {
      const VirtAddr first = number << shift;
      return first <= end - 1 && start <= first + ((VirtAddr{1} << shift) - 1);
    };
    entries.remove_if([&](const TlbEntry& e) { return e.pcid == pcid && hits(e.page, e.shift); });
    psc.remove_if([&](const PscEntry& e) { return e.pcid == pcid && hits(e.prefix, e.shift); });
  }
  /// INVLPG with the erratum: global entries stay.
  void flush_address_not_global(VirtAddr address, std::uint16_t pcid) {
    flush_address_in(address, pcid);
    psc.remove_if([&](const PscEntry& e) { return e.pcid == pcid; });
  }
  /// A hypervisor flushes a set of pages, `count` of 4 KiB from `address`, in the mm of `root`
  /// or in every mm, under every PCID. `count` 0: all of the mm.
  void flush_mm(std::uint32_t root, bool every_mm, bool non_global_only, VirtAddr address,
                std::uint64_t count) {
    ++invalidations;
    const auto hits = [&](std::uint64_t number, unsigned shift) {
      const VirtAddr start = number << shift;
      const std::uint64_t size = std::uint64_t{1} << shift;
      return count == 0 || (start - address < count << kPageShift) || (address - start < size);
    };
    entries.remove_if([&](const TlbEntry& e) {
      return (every_mm || e.root == root) && !(non_global_only && e.global) &&
             hits(e.page, e.shift);
    });
    psc.remove_if(
        [&](const PscEntry& e) { return (every_mm || e.root == root) && hits(e.prefix, e.shift); });
  }
  /// INVLPGB for one address of each PCID: global entries go as well, and the cached table pointers
  /// on the way.
  void flush_address_everywhere(VirtAddr address) {
    ++invalidations;
    entries.remove_if([&](const TlbEntry& e) { return e.covers(address); });
    psc.remove_if([&](const PscEntry& e) { return e.covers(address); });
  }
  /// A page fault drops what a walk for the address would use, so that a fault that memory does not
  /// justify cannot recur (SDM vol. 3, 4.10.4.1).
  void drop_faulting(VirtAddr address, std::uint16_t pcid) {
    entries.remove_if(
        [&](const TlbEntry& e) { return e.covers(address) && (e.global || e.pcid == pcid); });
    psc.remove_if([&](const PscEntry& e) { return e.covers(address) && e.pcid == pcid; });
  }
  /// Hardware may drop anything at any time; `choice` picks.
  void evict(std::uint32_t choice) {
    const unsigned total = entries.size() + psc.size();
    if (total == 0) return;
    const unsigned index = choice % total;
    if (index < entries.size()) {
      entries.remove(index);
    } else {
      psc.remove(index - entries.size());
    }
  }

  CacheArray<TlbEntry, kEntries> entries;
  CacheArray<PscEntry, kPscEntries> psc;
  bool keeps_older{false};         // Hardware::older_entries
  std::uint32_t fills{0};          // so far
  std::uint64_t invalidations{0};  // so far; a walk in flight does not go on behind one
};

}  // namespace shootdown::host
