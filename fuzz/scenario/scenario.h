// What one execution does: configuration, operations of each CPU, and deviations from the default
// schedule. Three forms: this struct, bytes (what fuzzers mutate) and text (what people read and
// edit). FORMAT.md describes the latter two.
//
//   bytes -> struct   total: every byte string is a scenario. An exhausted stream means "no more
//                     operations, no more deviations"; the missing tail of a record reads as
//                     zero, and what is left over is ignored.
//   struct -> bytes   canonical: decode(encode(s)) == s for every normalised s.
//   struct <-> text   lossless: parse(print(s)) == s for every normalised s.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hal/host/cpus.h"
#include "hal/host/event_kind.h"

namespace shootdown::fuzz {

inline constexpr unsigned kMaxCpus = host::kHostCpus;
/// The byte form has room for so many.
inline constexpr unsigned kByteCpus = 8;
inline constexpr unsigned kMaxMms = 8;
inline constexpr unsigned kMaxOpsPerCpu = 16;
inline constexpr unsigned kMaxOps = kByteCpus * kMaxOpsPerCpu;  // in the byte form
inline constexpr unsigned kMaxDeviations = 64;
/// Small pages 0..15 are contiguous and lie on both sides of a 2 MiB boundary, eight in each table.
inline constexpr unsigned kSmallPages = 16;
/// Large pages 16 and 17 are 2 MiB each.
inline constexpr unsigned kLargePages = 2;
inline constexpr unsigned kPages = kSmallPages + kLargePages;
/// The kernel's own pages, 4 KiB each.
inline constexpr unsigned kKernelPages = 4;
inline constexpr unsigned kMaxCeiling = 33;

/// Sizes in the byte form.
inline constexpr std::size_t kHeaderBytes = 8;
inline constexpr std::size_t kRecordBytes = 4;  // of an operation, and of a deviation
inline constexpr std::size_t kMaxBytes = kHeaderBytes + kRecordBytes * (kMaxOps + kMaxDeviations);

/// The first line of the text form.
inline constexpr std::string_view kTextTitle = "shootdown-scenario";
inline constexpr std::string_view kTextVersion = "1";

/// What is below the simulated kernel.
enum class Backend : std::uint8_t { native, kvm, hyperv, xen, uv_bau, kCount };

/// Fixed for a whole run. Every field is one byte in the byte form: its distance from the default.
struct Header {
  std::uint8_t cpus{4};  // 1 .. kMaxCpus
  std::uint8_t mms{2};   // 1 .. kMaxMms; more than six recycle ASIDs
  bool pcid{true};
  bool concurrent{true};     // the static key of the concurrent flush
  std::uint8_t ceiling{33};  // strides; 0 .. kMaxCeiling; 0 makes every flush a full one
  bool pti{false};
  bool invpcid{true};
  bool global_pages{true};
  bool defer_user_pages{false};
  bool early{false};                // early acknowledgement
  bool invlpg_erratum{false};       // the machine has it, and the core is told
  bool lazy_masks{false};           // masks are kept lazily
  bool lazy_test_up_front{false};   // not when a target is queued
  bool by_loaded_mm{false};         // targets are chosen by their loaded mm
  bool broadcast{false};            // hardware broadcast; the core wants it with PCIDs, without PTI
  bool defer_tables{false};         // page tables wait for lockless walkers
  bool tso{false};                  // stores go through store buffers
  bool compiler_reordering{false};  // the same, and a compiler reorders; `tso` is not asked then
  bool nmi{false};                  // NMIs arrive, and their handler reads user memory
  bool device{false};               // a device with a TLB of its own walks the page tables
  bool faults{false};      // interrupts get lost or double, and generations are near their end
  bool small{false};       // lists hold two or three elements, and so are full soon
  bool latitude{false};    // the processor does what manuals permit and few do
  bool plain_pte{false};   // the memory manager stores to page tables plainly where it may
  bool weak_ipi{false};    // MFENCE and locked stores hold no x2APIC command back
  bool own_fields{false};  // interrupts and NMIs come before accesses to a CPU's plain fields, too
  bool unlocked_reads{false};  // other CPUs come in before reads of entries without a lock, too
  bool task_stores{false};     // before a switch a CPU stores which task runs next
  // What `protect` takes in place of the right to store: to fetch instructions, which reads are
  // then, or to access the page in user mode, which wins.
  bool take_fetch{false};
  bool take_access{false};
  bool closed_waits{false};  // flushes begin with interrupts off
  bool submits{false};       // an unmap goes on before its flush is over
  Backend backend{Backend::native};
  friend bool operator==(const Header&, const Header&) = default;
};

enum class OpKind : std::uint8_t {
  switch_to,        // run a task of `mm`
  idle,             // a kernel thread runs: enter lazy mode
  resume,           // the task whose mm is loaded runs again: leave lazy mode
  leave,            // move to the kernel's mm
  read,             // user load from `page`
  write,            // user store to `page`
  map,              // map `count` pages from `page` that are not mapped, writable
  unmap,            // unmap `count` pages from `page`, flush, release the frames
  protect,          // make `count` pages read-only, flush
  unprotect,        // make `count` pages writable; no flush is needed
  replace,          // move `page` to a new frame, flush, release the old one
  free_table,       // unmap everything in the page table of `page`, unhook it, flush, release it
  flush_mm,         // flush all of the mm
  exit,             // if no CPU runs `mm`: unmap all, flush, release everything, start a new mm
  protect_early,    // as protect, but targets may answer before they flush
  reclaim,          // take `page` away and leave the flush to this CPU's batch
  batch_flush,      // flush this CPU's batch, release its frames
  kernel_read,      // the kernel reads kernel page `page`
  kernel_map,       // map kernel page `page` if it is not mapped
  kernel_unmap,     // unmap `count` kernel pages from `page`, flush, release
  flush_all,        // flush everything on every CPU
  temporary,        // write to `page` through a temporary mm
  offline,          // this CPU goes offline; other operations do nothing until it comes back
  online,           // this CPU comes back
  move,             // move small page `page` to the small page `to`
  fork,             // if no CPU runs `to`: end it and start it anew as a child of `mm`
  cow,              // a store to `page` that is shared: copy it, or make it writable
  split,            // split large page `page` into small ones
  collapse,         // make large page `page` of small ones
  clean,            // clear the dirty bits of `count` pages from `page`
  reclaim_tables,   // release the page table of `page` if it maps nothing
  walk,             // look `page` up in the loaded mm without locks, and use it for a moment
  fail_allocation,  // the allocation after `count` - 1 more of this CPU fails
  flush_range,      // flush from the middle of `page` to that of the last of `count` pages
  map_small,  // map a small page in the place of large page `page`, if nothing is mapped there
  kCount,
};

/// One operation. `mm` names an address space. `page` and `count` select pages where the kind uses
/// them; a range never leaves the small or the large pages. Kinds with a second page or mm,
/// `to`, keep it in `count`, plus 1. A field that the kind does not use has its default value
/// (fuzz/scenario/kinds.h says which kind uses what).
struct Op {
  OpKind kind{OpKind::switch_to};
  std::uint8_t mm{0};     // 0 .. mms - 1; read and write have none: they use the loaded mm
  std::uint8_t page{0};   // 0 .. kPages - 1
  std::uint8_t count{1};  // 1 .. kSmallPages
  [[nodiscard]] unsigned to() const { return count - 1U; }
  friend bool operator==(const Op&, const Op&) = default;
};

using host::EventKind;

/// One step away from the default schedule, `delay` visible operations after the previous one.
/// What `arg` means, and how many values it has, is in fuzz/scenario/kinds.h.
struct Deviation {
  std::uint8_t delay{0};
  EventKind kind{EventKind::preempt};  // a deviation, see is_deviation
  std::uint8_t cpu{0};                 // 0 .. cpus - 1, or an mm, 0 .. mms - 1, as the kind says
  std::uint8_t arg{0};
  friend bool operator==(const Deviation&, const Deviation&) = default;
};

/// A list with a fixed bound, so that decoding does not allocate.
template <class T, unsigned kCapacity>
class BoundedList {
 public:
  [[nodiscard]] unsigned size() const { return size_; }
  [[nodiscard]] bool full() const { return size_ == kCapacity; }
  void clear() { size_ = 0; }
  /// Precondition: not full.
  void push_back(const T& value) { values_[size_++] = value; }
  /// Precondition: not full, index <= size().
  void insert(unsigned index, const T& value) {
    for (unsigned i = size_++; i > index; --i) values_[i] = values_[i - 1];
    values_[index] = value;
  }
  void erase(unsigned index) {
    for (unsigned i = index; i + 1 < size_; ++i) values_[i] = values_[i + 1];
    --size_;
  }
  T& operator[](unsigned index) { return values_[index]; }
  const T& operator[](unsigned index) const { return values_[index]; }
  const T* begin() const { return values_.data(); }
  const T* end() const { return values_.data() + size_; }
  T* begin() { return values_.data(); }
  T* end() { return values_.data() + size_; }
  friend bool operator==(const BoundedList& a, const BoundedList& b) {
    if (a.size_ != b.size_) return false;
    for (unsigned i = 0; i < a.size_; ++i) {
      if (!(a.values_[i] == b.values_[i])) return false;
    }
    return true;
  }

 private:
  std::array<T, kCapacity> values_{};
  unsigned size_{0};
};

struct Scenario {
  Header header;
  std::array<BoundedList<Op, kMaxOpsPerCpu>, kMaxCpus> ops;
  BoundedList<Deviation, kMaxDeviations> deviations;
  friend bool operator==(const Scenario&, const Scenario&) = default;
};

/// Brings every field into its range, gives unused ones their defaults and drops operations of
/// CPUs that do not exist. `decode` and `parse` return normalised scenarios only.
void normalise(Scenario& scenario);

/// How a file of bytes begins that this project writes. Any bytes are a scenario, so without a mark
/// they look like any other file. Canonical bytes never begin like this.
inline constexpr std::string_view kBytesMark = "shootdown-bytes 1\n";

/// Total: any bytes, any length, no allocation. A mark at the beginning is skipped.
void decode(std::span<const std::uint8_t> bytes, Scenario& scenario);

/// Canonical bytes of a normalised scenario. Precondition: it has at most kByteCpus CPUs.
[[nodiscard]] std::vector<std::uint8_t> encode(const Scenario& scenario);
/// The same without allocation. Returns the number of bytes.
std::size_t encode(const Scenario& scenario, std::span<std::uint8_t, kMaxBytes> bytes);
/// How many bytes `encode` yields.
[[nodiscard]] std::size_t encoded_size(const Scenario& scenario);
/// Operations of all CPUs together.
[[nodiscard]] unsigned count_ops(const Scenario& scenario);

/// The text form, one item a line, with comment lines that explain the columns.
[[nodiscard]] std::string print(const Scenario& scenario);

/// The name of a kind as it stands in the text form.
[[nodiscard]] std::string_view name(OpKind kind);
[[nodiscard]] std::string_view name(EventKind kind);
/// One operation or deviation as it stands in the text form, without the leading "cpu N: " or
/// "at +N: ".
[[nodiscard]] std::string print(const Op& op);
[[nodiscard]] std::string print(const Deviation& deviation);

/// Where and why a text could not be parsed.
struct ParseError {
  unsigned line{0};
  std::string what;
};
/// "line 7: unknown operation 'unmaap'; did you mean 'unmap'?"
[[nodiscard]] std::string print(const ParseError& error);

/// Parses the text form. Returns false and fills `error` with the line and the fix; `scenario` is
/// then unchanged. Otherwise fills `deviation_lines`, if there is one, with the line of each
/// deviation.
[[nodiscard]] bool parse(std::string_view text, Scenario& scenario, ParseError& error,
                         std::vector<unsigned>* deviation_lines = nullptr);

/// Whether the contents of a file are meant as text, so that tools can accept both forms.
[[nodiscard]] bool is_text(std::string_view contents);
/// Whether they are bytes that begin with a mark, and whether they were meant to be: a mark of
/// another version, or one that was damaged on its way.
[[nodiscard]] bool is_marked(std::string_view contents);
[[nodiscard]] bool is_marked_wrongly(std::string_view contents);

}  // namespace shootdown::fuzz
