// What a kernel on the modelled machine tells its oracles, and what they may ask it. The simulated
// kernel knows nothing else of them, and oracles of hardware truth know nothing else of a kernel.
//
// mms, pages and frames are named by number, see layout.h. All calls come on the running CPU,
// between two visible operations, and make none. An oracle that has something to say reports it to
// the machine, which ends the run as soon as the kernel asks it to (`Machine::stop_if_failed`).
#pragma once

#include <cstdint>

#include "core/types.h"
#include "hal/host/atomic.h"
#include "hal/host/control.h"
#include "hal/host/frames.h"

namespace shootdown::fuzz {

inline constexpr unsigned kNoMm = ~0U;
inline constexpr CpuId kNoCpu = ~CpuId{0};

/// What the kernel answers at any moment.
class KernelView {
 public:
  virtual ~KernelView() = default;
  /// The mm that trace events name by this address, or kNoMm.
  [[nodiscard]] virtual unsigned mm_of(const void* mm) const = 0;
  /// The CPU whose state this word is a part of, or kNoCpu.
  [[nodiscard]] virtual CpuId cpu_of(const void* word) const = 0;
  /// Its top table.
  [[nodiscard]] virtual PhysAddr root(unsigned mm) const = 0;
  /// The entry that maps the page, as it is in memory now, or 0.
  [[nodiscard]] virtual std::uint64_t leaf(unsigned mm, unsigned page) const = 0;
  /// A task with user memory runs on the CPU and may use it. Otherwise a kernel thread does, which
  /// uses none, of no mm that is loaded. True from when a switch to the task has returned, until
  /// the kernel begins to switch away or tells its core that a kernel thread follows.
  [[nodiscard]] virtual bool may_use_user_memory(CpuId cpu) const = 0;
  /// Whether the entry gives a program the right that `on_protected` is about: to store, at once or
  /// after a copy, or another.
  [[nodiscard]] virtual bool has_right(std::uint64_t entry) const = 0;
  [[nodiscard]] virtual bool in_user_mode(CpuId cpu) const = 0;
  /// Whether a target may answer a flush at the start of its interrupt, and flush before its end.
  [[nodiscard]] virtual bool answers_early() const = 0;
  /// Whether the kernel's own pages are global, and so in every PCID.
  [[nodiscard]] virtual bool kernel_is_global() const = 0;
  /// How many references the kernel counts to the page.
  [[nodiscard]] virtual std::uint32_t references(std::uint32_t frame) const = 0;
  /// Whether the table is unhooked and waits for lockless walkers.
  [[nodiscard]] virtual bool waits_for_walkers(std::uint32_t frame) const = 0;
  /// Whether flushes go by hardware that broadcasts.
  [[nodiscard]] virtual bool broadcasts() const = 0;
};

/// What happens in the kernel. An oracle overrides what it judges by.
class KernelEvents {
 public:
  virtual ~KernelEvents() = default;

  /// A run with `mms` mms is about to be set up; no mm exists yet.
  virtual void on_start(const KernelView& kernel, unsigned mms) = 0;

  // Page tables and frames.

  /// Software has changed a page-table word.
  virtual void on_table_write(const std::uint64_t* word, std::uint64_t before,
                              std::uint64_t after) = 0;
  /// The same, but the store waits in the running CPU's store buffer: software that goes by the
  /// table's lock sees the change, and walks do not. The machine tells when it comes to memory.
  virtual void on_table_store(const std::uint64_t* /*word*/, std::uint64_t /*before*/,
                              std::uint64_t /*after*/) {}
  /// A plain store to an entry of a kernel page waits in the running CPU's store buffer.
  virtual void on_kernel_entry_store(unsigned /*page*/) {}
  /// The entry of a kernel page lost its frame.
  virtual void on_kernel_entry_changed(unsigned page) = 0;
  virtual void on_page_allocated(std::uint32_t frame) = 0;
  /// `frame` is about to be released.
  virtual void on_release(std::uint32_t frame) = 0;
  /// `mm` is about to be destroyed and started anew.
  virtual void on_destroy(unsigned mm) = 0;
  /// Software uses `frame`, which may be kNoFrame, as what `kind` says.
  virtual void on_software_use(std::uint32_t frame, host::FrameKind kind, const char* verb) = 0;
  /// Software asks for an entry that no table has.
  virtual void on_missing_entry(unsigned index) = 0;
  /// Software asks for a part of a page, and there are none or fewer.
  virtual void on_missing_part(unsigned part) = 0;
  /// A record for a table that waits for walkers is given back and was not in use.
  virtual void on_needless_record() = 0;
  /// Software reads a page-table word without a lock.
  virtual void on_software_walk(const std::uint64_t* word) = 0;
  /// The running CPU, a lockless walker, has a pointer to this table, or (kNoFrame) none any more.
  virtual void on_walker_holds(std::uint32_t frame) = 0;

  // What pages hold.

  /// It is on record that the page was stored to.
  virtual void on_store_recorded(std::uint32_t frame) = 0;
  /// The content of the page `from` is about to be copied to another frame.
  virtual void on_copy(std::uint32_t to, std::uint32_t from) = 0;
  /// Under the page-table lock: the pages of [start, end) count as clean.
  virtual void on_cleaned(unsigned mm, VirtAddr start, VirtAddr end) = 0;
  /// The running CPU, which has a reference to the page, reads it.
  virtual void on_page_read(std::uint32_t frame) = 0;

  // What the running CPU's operation promises its caller.

  /// An operation begins. `replaces`: entries that it takes away come back, unnoticed.
  virtual void on_operation(bool replaces) = 0;
  /// An operation begins that will promise something.
  virtual void begin_promise() = 0;
  /// Under the page-table lock: the running CPU has seen the entries of [start, end) and will
  /// promise that nothing older is left, once `on_promise` says so.
  virtual void note_promise(unsigned mm, VirtAddr start, VirtAddr end) = 0;
  virtual void on_promise() = 0;
  /// It has unmapped the pages `first` to `last`, or taken a right from them.
  virtual void on_unmapped(unsigned mm, unsigned first, unsigned last) = 0;
  virtual void on_protected(unsigned mm, unsigned first, unsigned last) = 0;
  /// It begins and ends a fork that could be completed.
  virtual void begin_fork(unsigned parent) = 0;
  virtual void on_forked(unsigned parent, unsigned child) = 0;
  /// It begins a lockless walk for a page, which then returns `frame`.
  virtual void begin_lookup(unsigned mm, unsigned page) = 0;
  virtual void end_lookup(std::uint32_t frame) = 0;

  // CPUs.

  /// An NMI handler was told that user memory is that of its task, which runs `mm`, and is about
  /// to read it.
  virtual void on_nmi_access(CpuId cpu, unsigned mm) = 0;
  /// The CPU is through the first steps of an entry into the kernel, which used what user roots map
  /// and nothing else.
  virtual void on_kernel_entered(CpuId cpu) = 0;
  virtual void on_temporary_begin(CpuId cpu) = 0;
  virtual void on_temporary_end(CpuId cpu) = 0;
  virtual void on_offline(CpuId cpu) = 0;
  /// The CPU is about to be initialised again: what its TLB holds until here means nothing.
  virtual void on_bring_up(CpuId cpu) = 0;
  virtual void on_online(CpuId cpu) = 0;
  /// The CPU has done all that its scenario asked of it.
  virtual void on_program_end(CpuId cpu) = 0;
};

/// What the kernel and its oracles keep beside the machine, as places for exhaustive search.
enum class Ghost : std::uint8_t {
  cpu,      // what is known about a CPU
  walker,   // the table that a lockless walker on a CPU is in
  version,  // how often the translation of a page was changed, by the oracles' number for it
  demands,  // written by a check that looks for a broken demand, read by an event that makes one
};
constexpr host::Location place(Ghost ghost, std::uint32_t number = 0) {
  return host::place(host::client_part(static_cast<unsigned>(ghost)), number);
}

}  // namespace shootdown::fuzz
