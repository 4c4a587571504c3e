// The judges: they watch the modelled machine and the core's state from outside and end the run at
// the first broken promise. Numbered as in the catalogue of invariants.
//
// Two families. Use-time: what an access or a walk actually uses (O2, O5, O6). Step-time:
// invariants of the core's state after each visible operation, at the end of each switch, handler
// and flush.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "core/shootdown_all.h"
#include "fuzz/kernel/layout.h"
#include "fuzz/scenario/scenario.h"
#include "hal/host/hal.h"

namespace shootdown::fuzz {

class Guest;

class Oracles final : public host::Observer {
 public:
  explicit Oracles(host::Machine& machine) : machine_(machine) {}

  /// A new run with `spaces` address spaces starts.
  void prepare(Guest& guest, unsigned spaces);

  // ---- What the simulated kernel tells
  // ------------------------------------------------------------

  /// Software has changed a page-table word.
  void on_table_write(const std::uint64_t* word, std::uint64_t before, std::uint64_t after);
  /// `frame` is about to be released (O5, O6).
  void on_release(std::uint32_t frame);
  /// `space` is about to be destroyed and started anew (O31).
  void on_destroy(unsigned space);
  /// The entry of a kernel page lost its frame.
  void on_kernel_entry_changed(unsigned page);
  /// An operation begins that will promise something.
  void begin_promise() {
    CpuGhost& ghost = cpu_[machine_.running().id];
    ghost.promise.size = 0;
    ghost.began = clock_;
  }
  /// Under the page-table lock: the running CPU has seen the entries of [start, end) and will
  /// promise that nothing older is left, once `on_promise` says so (O21).
  void note_promise(unsigned space, VirtAddr start, VirtAddr end);
  void on_promise();

  void on_page_allocated(std::uint32_t frame) {
    store_recorded_[frame] = false;
    content_[frame] = 0;
  }
  /// It is on record that somebody has stored to the page.
  void on_store_recorded(std::uint32_t frame) { store_recorded_[frame] = true; }
  /// The content of the page `from` is about to be copied to another frame.
  void on_copy(std::uint32_t to, std::uint32_t from);
  /// Under the page-table lock: the pages of [start, end) count as clean.
  void on_cleaned(unsigned space, VirtAddr start, VirtAddr end);
  /// Software uses `frame`, which may be kNoFrame, as what `kind` says (O5, O6).
  void on_software_use(std::uint32_t frame, host::FrameKind kind, const char* verb);
  /// A record for a table that waits for walkers is given back and was not in use (O6).
  void on_needless_record();
  /// Software reads a page-table word without a lock.
  void on_software_walk(const std::uint64_t* word);
  /// The running CPU, a lockless walker, has a pointer to this table, or (kNoFrame) none any more.
  void on_walker_holds(std::uint32_t frame);
  /// Somebody with a reference reads a page.
  void on_page_read(std::uint32_t frame);
  /// The running CPU begins an operation of its scenario.
  void on_operation(OpKind kind) { cpu_[machine_.running().id].operation = kind; }
  /// It has done what `op` asks of a range (O34).
  void on_done(const Op& op);
  /// It begins and ends a fork that could be completed (O34).
  void begin_fork(unsigned parent);
  void on_forked(unsigned parent, unsigned child);
  /// It begins a lockless walk for a page, which then returns `frame` (O34).
  void begin_lookup(unsigned space, unsigned page);
  void end_lookup(std::uint32_t frame);
  /// An NMI handler was told that user memory is that of its task, which runs `space`, and is about
  /// to read it (O22).
  void on_nmi_access(CpuId cpu, unsigned space);
  /// The running CPU is through the first steps of an entry into the kernel, which used what user
  /// roots map and nothing else (O32).
  void on_kernel_entered(CpuId cpu);
  void on_temporary_begin(CpuId cpu);
  void on_temporary_end(CpuId cpu);
  void on_offline(CpuId cpu);
  /// The CPU is about to be initialised again: what its TLB holds until here means nothing.
  void on_bring_up(CpuId cpu);
  void on_online(CpuId cpu);
  /// The CPU has done all that its scenario asked of it.
  void on_program_end(CpuId cpu) { check_counters(cpu); }

  // ---- What the machine tells
  // ---------------------------------------------------------------------

  void after_change(CpuId cpu) override;
  void on_cr3(CpuId cpu) override;
  void on_invalidate(CpuId cpu) override;
  void on_dropped(CpuId cpu, const host::Dropped& what) override;
  void on_fill(CpuId cpu, VirtAddr address, host::Provenance& from) override;
  bool on_walk(CpuId cpu, std::uint32_t frame, std::uint32_t life) override;
  void on_use(CpuId cpu, VirtAddr address, const host::TlbEntry& entry, bool write) override;
  void on_ipi(CpuId cpu, const host::HostCpuMask& targets) override;
  void on_remote_flush(CpuId cpu, const host::HostCpuMask& targets) override;
  void on_broadcast(CpuId cpu, const Invlpgb& what) override;
  void on_broadcasts_done(CpuId cpu) override;
  void on_trace(CpuId cpu, const TraceEvent& event) override;
  std::string label(const void* address) override;

  /// Tells a forgotten call (O17) from other deadlocks (O18).
  void refine(host::Report& report);

 private:
  static constexpr unsigned kNoSpace = ~0U;
  static constexpr unsigned kLogDepth = 160;

  /// What makes a demand.
  enum class By : std::uint8_t { flush, batch, operation };
  /// A completed flush's demand on one page, or an operation's that relies on another's flush.
  struct Demand {
    std::uint64_t version{0};
    std::uint64_t step{0};
    CpuId cpu{0};
    By by{By::flush};
  };
  /// "From generation `generation` on, nothing older than `version`."
  struct LogEntry {
    Generation generation;
    std::uint64_t version;
  };
  struct PageGhost {
    std::uint64_t version{0};
    Demand demand;
    std::array<LogEntry, kLogDepth> log;
    unsigned log_size{0};
    /// The version that a page table had when it was unhooked: no walk through a cached pointer to
    /// that table finds anything newer.
    std::uint64_t before_unhook{0};
  };
  /// A table that no entry points to any more.
  struct UnhookedTable {
    std::uint32_t life{0};  // of its frame
    std::uint64_t step{0};
    VirtAddr region{0};
    bool is_page_table{false};  // otherwise only flushes of everything speak of it
  };
  /// What one operation promises about one page.
  struct Promise {
    unsigned space;
    std::uint32_t life;
    unsigned page;
    std::uint64_t version;
  };
  struct PromiseList {
    std::array<Promise, 64> items;
    unsigned size{0};
    void add(const Promise& promise) {
      if (size < items.size()) items[size++] = promise;
    }
  };
  struct SpaceGhost {
    std::uint32_t life{0};
    Generation last_generation{kFirstGeneration};
    std::array<PageGhost, kPages> pages;
  };
  /// The bytes that a caller wants flushed, as it gave them.
  struct AskedRange {
    VirtAddr start{0};
    VirtAddr end{0};
    std::uint64_t step{0};
  };
  /// What each CPU has dropped since then, under each PCID: a bit for each 4 KiB page asked (O28).
  struct Coverage {
    std::uint64_t first_page{0};
    std::uint64_t pages{0};  // 0: everything
    std::uint64_t wanted{0};
    std::array<std::array<std::uint64_t, 18>, kMaxCpus> dropped{};
    void ask(VirtAddr start, VirtAddr end);
    void add(CpuId cpu, const host::Dropped& what, bool everywhere);
    [[nodiscard]] bool is_complete(CpuId cpu, std::uint16_t pcid) const;
    [[nodiscard]] std::uint64_t hit_by(const host::Dropped& what) const;
  };
  /// What a program of the space may rely on at a page. An operation that only replaces an entry,
  /// such as a migration, takes nothing from it, although the entry is gone for a moment. Times are
  /// those of `clock_`.
  struct Mapping {
    bool mapped{false};
    bool may_store{false};  // or may after a copy
    std::uint32_t frame{0};
    std::uint64_t content{0};     // of the last store
    std::uint64_t mapped_at{0};   // when it began to be mapped
    std::uint64_t granted_at{0};  // when the right to store was given
  };
  /// A lockless walk on its way, and the pages that were mapped at its address since it began.
  struct Lookup {
    struct Page {
      std::uint32_t frame;
      std::uint32_t life;
    };
    bool active{false};
    unsigned space{0};
    unsigned page{0};
    std::array<Page, 16> seen;
    unsigned size{0};
  };
  /// The flush that a CPU has started, between flush_begin and flush_end.
  struct FlushGhost {
    const FlushRequest<host::HostHal>* request{nullptr};
    unsigned space{kNoSpace};
    Slot global{kNoGlobalSlot};  // the space's, as the flush saw it
    // As it was asked for. A transition to a global slot treats any flush like one that does.
    bool frees_tables{false};
    std::uint64_t checksum{0};
    std::uint64_t begin{0};
    host::HostCpuMask in_mask;       // members at any time since the flush began
    host::HostCpuMask queued;        // calls queued and not yet run
    host::HostCpuMask called;        // calls queued at all
    host::HostCpuMask to_interrupt;  // their queues were empty, and no interrupt has left yet
    host::HostCpuMask skipped;       // left to the host
    std::array<std::uint64_t, kMaxCpus> entry_flushes;  // of the skipped ones, at that time
    std::array<std::uint64_t, kPages> wanted;
    bool ran_locally{false};
    AskedRange asked;
    Coverage coverage;
    host::HostCpuMask carried_out;  // CPUs that say so, or that others have done it for
  };
  /// How often things happened on a CPU that its counters should know of.
  struct Tally {
    bool sending{false};  // a flush; the memory manager makes other calls, too
    std::uint64_t sends{0};
    std::uint64_t queued{0};
    std::uint64_t calls_run{0};
    std::uint64_t broadcasts{0};
    std::uint64_t uncounted{0};  // whole flushes of switches and of bring-ups
  };
  /// A stretch of code whose whole flushes need not be counted.
  struct Uncounted {
    std::uint64_t executed{0};  // both at its beginning
    std::uint64_t counted{0};
  };
  struct CpuGhost {
    unsigned space{kNoSpace};    // whose root is in CR3
    bool on_user_root{false};    // under page-table isolation
    std::uint64_t own_state{0};  // a checksum, when the user root was loaded
    bool in_switch{false};
    bool switch_was_lazy{false};
    bool in_handler{false};
    bool invalidated{false};  // in this handler run
    Generation at_invalidate{kNoGeneration};
    std::uint64_t lazy_since{0};
    bool lazy{false};
    bool offline{false};
    // Where this CPU changed an entry last.
    unsigned changed_space{0};
    unsigned changed_page{0};
    std::uint32_t walker_table{host::FramePool::kNoFrame};
    std::uint32_t walked{host::FramePool::kNoFrame};  // the table that hardware has read last
    const void* before_temporary{nullptr};            // the loaded space
    bool lazy_before_temporary{false};
    std::uint64_t bring_up{0};  // when the last one began
    Uncounted in_switch_flushes;
    Uncounted bring_up_flushes;
    std::array<std::uint64_t, kKernelPages> kernel_wanted{};
    AskedRange kernel_asked;
    Coverage kernel_coverage;
    FlushGhost flush;
    std::uint64_t cleaning{0};  // global slots that a full broadcast on its way makes clean
    PromiseList batch;
    PromiseList promise;
    Tally tally;
    OpKind operation{OpKind::map};
    std::uint64_t began{0};                         // the operation that promises something
    std::array<std::uint64_t, kPages> before_fork;  // what the parent's pages held
    Lookup lookup;
  };

  // Checks. The first report of a callback counts, and the machine ends the run after the callback.
  void check_mask(CpuId cpu);
  void check_consistency(CpuId cpu);
  void check_generations(CpuId cpu);
  void check_slots(CpuId cpu);
  /// After what the loaded entries are looked at.
  enum class After : std::uint8_t { switch_in, lazy_exit, handler };
  void audit_loaded(CpuId cpu, After after);
  /// The kernel's pages, at the end of a switch.
  void audit_kernel(CpuId cpu);
  void check_completed(CpuId cpu, const FlushGhost& flush);
  void check_completed_on(CpuId cpu, const FlushGhost& flush, CpuId target);
  void check_handler(CpuId cpu, const TraceEvent& event);
  void check_twin(CpuId cpu);
  void check_promises(CpuId cpu, const PromiseList& promises, host::Oracle oracle,
                      const char* title);
  void check_root(CpuId cpu);
  void check_user_root(CpuId cpu);
  void count(CpuId cpu, const TraceEvent& event);
  void check_counters(CpuId cpu);
  /// How often the CPU has flushed more than a page.
  [[nodiscard]] std::uint64_t whole_flushes(CpuId cpu) const;
  [[nodiscard]] Uncounted begin_uncounted(CpuId cpu) const;
  void end_uncounted(CpuId cpu, const Uncounted& begin);
  void check_counter(CpuId cpu, const char* name, std::uint64_t counted, std::uint64_t happened);
  void begin_kernel_flush(CpuId cpu, const TraceEvent& event);
  void end_kernel_flush(CpuId cpu);
  void on_entry_changed(unsigned space, unsigned page);
  void on_table_unhooked(unsigned space, VirtAddr region, std::uint32_t table);
  void note_unhooked(std::uint32_t table, VirtAddr region, bool is_page_table);
  [[nodiscard]] bool is_unhooked(std::uint32_t table) const;
  [[nodiscard]] bool is_dead(const host::PscEntry& pointer) const;
  void check_pointers_flushed(CpuId cpu, const FlushGhost& flush);
  void audit_pointers(CpuId cpu);
  void check_pointers_to(std::uint32_t table, CpuId target);
  // The device; oracles_device.cc.
  void check_device_before_release(std::uint32_t frame);
  void check_device_promise(CpuId cpu, const Promise& promise, host::Oracle oracle);
  [[nodiscard]] unsigned space_walked_by(CpuId walker) const;
  void add_to_batch(CpuId cpu, const TraceEvent& event);
  void check_table_release(std::uint32_t frame);
  void check_page_release(std::uint32_t frame);
  // For exhaustive search: what a check looks at besides the running CPU.
  [[nodiscard]] static host::Place version_place(unsigned space, unsigned page);
  void touch_page(unsigned page) const;
  void touch_pages() const;
  void touch_cpu(CpuId cpu) const;
  /// The page was changed since the entry was cached.
  [[nodiscard]] bool is_outdated(const host::TlbEntry& entry, unsigned page);
  /// Calls `visit(cpu, entry)` for each translation that a CPU may use for user memory right now,
  /// of those that concern the caller.
  template <class Concerns, class Visit>
  void for_each_usable(Concerns&& concerns, Visit&& visit);
  void slot_granted(CpuId cpu, const TraceEvent& event);
  void slot_returned(CpuId cpu, const TraceEvent& event);
  // Contents and post-conditions: oracles_contents.cc.
  void note_mappings(unsigned space, unsigned level, VirtAddr address);
  void note_mapping(unsigned space, unsigned page);
  void add_to_lookups(unsigned space, unsigned page, std::uint32_t frame);
  void check_one_frame(unsigned space, unsigned page, std::uint32_t frame);
  void note_store(unsigned space, unsigned page, const host::TlbEntry& entry, bool outdated);
  void check_content(CpuId cpu, unsigned space, unsigned page, const host::TlbEntry& entry,
                     bool outdated);
  [[nodiscard]] bool was_mapped_throughout(unsigned space, unsigned page) const;
  /// Every CPU that has the space loaded has moved to the global slot that the flush relied on.
  void check_moved(CpuId cpu, const FlushGhost& flush);
  void note_log(unsigned space, unsigned page, Generation generation);

  // Happens-before, under Memory::cxx: oracles_order.cc.
  void check_order(CpuId cpu, const TraceEvent& event);
  void note_bump(CpuId cpu, unsigned space, Generation generation);
  void check_bump(CpuId cpu);
  void check_grant(CpuId cpu, unsigned space);
  void check_answers(CpuId cpu);
  void note_use(CpuId cpu, std::uint32_t frame);
  void check_last_uses(std::uint32_t frame);
  void order_failure(const char* title, const std::string& detail, CpuId first, CpuId second);

  /// Under page-table isolation: the user twin, or its entry for the address, will be flushed on
  /// the way to user mode.
  [[nodiscard]] bool twin_is_owed(CpuId cpu, Slot slot) const;
  [[nodiscard]] bool twin_is_owed(CpuId cpu, Slot slot, VirtAddr address) const;

  /// The CPU may use what it holds under this PCID without a flush before.
  [[nodiscard]] bool trusts(CpuId cpu, std::uint16_t pcid, bool global) const;
  /// A switch to the space that the slot names would keep its entries.
  [[nodiscard]] bool loads_without_flush(CpuId cpu, Slot slot) const;

  void begin_flush(CpuId cpu, const TraceEvent& event);
  void begin_batch(CpuId cpu, const TraceEvent& event);
  void end_batch(CpuId cpu);
  void check_request(CpuId cpu, const FlushGhost& flush);
  // What was asked, and what was dropped for it; oracles_range.cc.
  [[nodiscard]] bool is_loaded(CpuId cpu, Slot slot) const;
  void note_carried_out(CpuId cpu, const FlushRequest<host::HostHal>& request);
  void check_covered(CpuId cpu, const FlushGhost& flush);
  void check_kernel_covered(CpuId cpu);
  void report_uncovered(CpuId cpu, CpuId target, const AskedRange& asked);
  void end_flush(CpuId cpu);
  void begin_switch(CpuId cpu);
  void end_switch(CpuId cpu);
  void call_queued(CpuId cpu, const TraceEvent& event);
  void call_run(CpuId cpu, const TraceEvent& event);
  /// How a target is asked to flush.
  enum class Asked : std::uint8_t { by_interrupt, by_hypervisor };
  void check_target(CpuId cpu, CpuId target, Asked asked);
  void vcpu_skipped(CpuId cpu, const TraceEvent& event);
  void check_skipped(CpuId cpu, const FlushGhost& flush);
  void begin_handler(CpuId cpu, const TraceEvent& event);
  void track_lazy(CpuId cpu);

  /// The CPU's instructions may use its loaded user translations right now. Not while it is lazy,
  /// inside a switch, offline, without a processor and owed a flush, or on the last steps to user
  /// mode, where page-table isolation pays its debts.
  [[nodiscard]] bool uses_user_half(CpuId cpu) const;
  [[nodiscard]] bool is_stale_at(const host::TlbEntry& entry, Generation generation) const;
  [[nodiscard]] unsigned space_of(const void* mm) const;
  [[nodiscard]] std::uint64_t mask_word(unsigned space) const;
  [[nodiscard]] host::Event event(CpuId cpu, std::string what) const;
  [[nodiscard]] host::Event fill_event(CpuId cpu, const host::TlbEntry& entry) const;
  /// What a translation is of, such as "page 3 of mm0".
  [[nodiscard]] std::string entry_name(const host::TlbEntry& entry) const;
  [[nodiscard]] std::string space_name(unsigned space) const;
  /// The space that something cached is from, which may be one of an earlier life.
  [[nodiscard]] std::string origin_name(const host::Provenance& from) const;
  /// Where PCIDs are on, those of entries that are mixed up are the same.
  [[nodiscard]] const char* same_pcid() const;
  /// What has made the demand, as the end of a title and as a sentence about "it".
  [[nodiscard]] static const char* older_than(const Demand& demand);
  [[nodiscard]] static std::string made_by(const Demand& demand);
  void fail(host::Oracle oracle, std::string title, std::string detail, host::Event first,
            host::Event second);
  void collect_labels();
  [[nodiscard]] std::string table_name(std::uint32_t frame) const;

  host::Machine& machine_;
  Guest* guest_{nullptr};
  unsigned spaces_{0};
  std::array<SpaceGhost, kMaxMms + 1> space_{};
  std::array<PageGhost, kKernelPages> kernel_{};
  std::array<bool, host::FramePool::kFrames> store_recorded_{};
  /// Counts stores, and pages and rights that are given.
  std::uint64_t clock_{0};
  std::array<std::uint64_t, host::FramePool::kFrames> content_{};  // when it was stored to last
  std::array<std::array<Mapping, kPages>, kMaxMms + 1> mapping_{};
  std::array<UnhookedTable, host::FramePool::kFrames> unhooked_{};
  std::array<CpuGhost, kMaxCpus> cpu_{};
  std::uint32_t walked_by_device_{host::FramePool::kNoFrame};
  /// Global slots, a bit for each: in use, and given back without a full broadcast since.
  std::uint64_t slots_in_use_{0};
  std::uint64_t slots_dirty_{0};
  host::HostCpuMask flushing_;         // CPUs between flush_begin and flush_end
  host::HostCpuMask kernel_flushing_;  // ... and between kernel_begin and kernel_end
  std::array<const host::HostAtomic<std::uint64_t>*, kMaxMms + 1> mask_words_{};
  /// Who made a generation, and when, on its own clock, it changed the entries.
  struct Bump {
    Generation generation;
    std::uint32_t life;
    CpuId cpu;
    std::uint32_t time;
  };
  struct OrderGhost {
    // On this CPU's own clock.
    std::uint32_t last_event{0};
    std::uint32_t last_change{0};                    // of a page-table entry
    std::array<std::uint32_t, kMaxCpus> queued{};    // before the push for each target
    std::array<std::uint32_t, kMaxCpus> answered{};  // of each target; 0: not asked
  };
  static constexpr unsigned kBumps = 64;
  std::array<OrderGhost, kMaxCpus> order_{};
  /// When each CPU has used each frame last, on its own clock; 0: never.
  std::array<std::array<std::uint32_t, kMaxCpus>, host::FramePool::kFrames> used_{};
  std::array<std::array<Bump, kBumps>, kMaxMms + 1> bumps_{};
  std::array<Bump, kMaxMms + 1> grants_{};  // of global slots
  struct Label {
    const void* address;
    std::string text;
  };
  std::vector<Label> labels_;
};

}  // namespace shootdown::fuzz
