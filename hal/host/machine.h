// The modelled multiprocessor: CPUs as fibers, a scheduler that may act before every visible
// operation, interrupts, page walks and cached translations. It knows nothing of the core's data.
//
// A visible operation is a shared access, a TLB instruction, a change of the interrupt flag, an
// interrupt, a pause or a user access. Between two of them a CPU is alone. The default schedule
// runs a CPU until it blocks, then the next in turn; a ScheduleSource deviates from it.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <source_location>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/cpu_mask.h"
#include "core/hal.h"
#include "core/trace.h"
#include "core/types.h"
#include "hal/common/ipi_choice.h"
#include "hal/host/control.h"
#include "hal/host/coverage.h"
#include "hal/host/cxx_memory.h"
#include "hal/host/fiber.h"
#include "hal/host/frames.h"
#include "hal/host/host_cpu.h"
#include "hal/host/observer.h"
#include "hal/host/report.h"
#include "hal/host/schedule.h"
#include "hal/host/setup.h"
#include "hal/host/store_buffer.h"
#include "hal/host/tlb.h"

namespace shootdown::host {

using HostCpuMask = CpuMask<kHostCpus>;
using Site = std::source_location;

/// What a visible operation is, for hashes and timelines.
enum class OpClass : std::uint8_t {
  load,
  store,
  modify,
  fence,
  cr3,
  cr4,
  invlpg,
  invpcid,
  interrupt_flag,
  interrupt,
  ipi,
  pause,
  access,
  fill,
  evict,
  broadcast,
  hypervisor,
  drain,
};

/// One line of a timeline. Collected only while recording.
struct TimelineEntry {
  std::uint64_t step;
  CpuId cpu;
  std::string what;
  Site where;
};

/// The most pages that one INVLPGB of the model can name. Small, so that ranges come in pieces.
inline constexpr std::uint32_t kInvlpgbMaxPages = 4;

/// An INVLPGB that some CPUs have not carried out yet.
struct BroadcastMessage {
  CpuId issuer;
  Invlpgb what;
  HostCpuMask left;
};

class Device;
class Hypervisor;

/// The interrupt controller knows groups of so many CPUs, as an x2APIC knows clusters.
inline constexpr CpuId kIpiGroup = 4;

/// How interrupts were sent.
struct IpiCounts {
  std::uint64_t sends[3]{};  // by IpiMethod
  std::uint64_t commands{0};
};

/// Result of a user access.
enum class AccessResult : std::uint8_t { done, fault };

class Machine {
 public:
  Machine();
  ~Machine();
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  /// Forgets the previous run and takes the configuration of the next. Host code may then prepare
  /// page tables through `frames()` before `run`.
  void prepare(const Setup& setup);

  /// Runs until every CPU has finished and no interrupt is left, or until something fails.
  const Report& run();

  // ---- For code on simulated CPUs
  // -----------------------------------------------------------------

  /// The choice point before each visible operation.
  void visible(Pending kind = Pending::plain) {
    if (++step_ >= next_stop_) [[unlikely]] {
      choose(kind);
    }
    if (running_->is_awaited()) [[unlikely]] {
      interrupt();
    }
  }

  /// Before an access that no other CPU can notice: nobody else acts here, but an interrupt that
  /// the schedule has held back may arrive.
  void own_access() {
    if (running_->is_awaited()) [[unlikely]] {
      interrupt();
    }
  }

  /// The same inside an instruction: no interrupt is taken.
  void visible_uninterrupted() {
    if (++step_ >= next_stop_) [[unlikely]] {
      choose_uninterrupted();
    }
  }

  /// For set-up before a controller takes over: waits until every CPU is here, with empty store
  /// buffers. Without one nothing happens.
  void gate();

  /// Under a controller: the running step uses a place.
  void touch(Place where, bool write) {
    if (controlled_) [[unlikely]] {
      footprint_.push_back({.place = where, .write = write});
    }
  }
  void touch(const void* word, bool write) {
    touch(static_cast<Place>(reinterpret_cast<std::uintptr_t>(word)), write);
  }
  /// ... or what the CPU has cached for an address; or all that it has cached, to change it.
  void touch_cached(CpuId cpu, VirtAddr address, bool write);
  void touch_dropped(CpuId cpu, VirtAddr address);
  void touch_all_dropped(CpuId cpu) {
    for (const Part part : {Part::tlb, Part::tables, Part::drops, Part::table_drops}) {
      touch(place(part, cpu), true);
    }
  }
  [[nodiscard]] bool controlled() const { return controlled_; }
  /// ... what each process has done and seen, in its own order, whatever the order between them.
  [[nodiscard]] std::uint64_t outcome_hash() const;

  /// Accounts for an operation that has just been done.
  void note(OpClass op, std::uint64_t value) {
    hash_ = (hash_ ^ (static_cast<std::uint64_t>(op) << 56) ^
             (static_cast<std::uint64_t>(running_->id) << 48) ^ value) *
            0x9e37'79b9'7f4a'7c15;
    if (controlled_) [[unlikely]] {
      note_outcome(op, value);
    }
  }
  void changed() {
    ++changes_;
    if (observing_) {
      observer_->after_change(running_->id);
      stop_if_failed();
    }
  }

  // Store buffers. A store stays in its CPU's buffer until something drains it, oldest first: what
  // waits for earlier stores on x86, which is locked instructions, MFENCE, loads of CR3 and CR4,
  // INVLPG, INVPCID, the ways into and out of an interrupt, and an exit to a hypervisor; a wait for
  // something else; or the schedule. Sending an interrupt does not.
  [[nodiscard]] bool buffers_stores() const { return setup_.memory != Memory::sc; }
  void buffer_store(BufferedStore store, std::memory_order order);
  void drain() {
    if (!running_->stores.empty()) [[unlikely]] {
      drain(*running_, StoreBuffer::kStores);
    }
    barrier();
  }
  /// Makes the oldest stores visible, as many of them as there are.
  void drain(HostCpu& cpu, unsigned count);

  // Memory::cxx. Each instruction of the HAL is a compiler barrier, whether it drains or not.
  [[nodiscard]] bool reorders() const { return setup_.memory == Memory::cxx; }
  [[nodiscard]] CxxMemory& cxx() { return cxx_; }
  [[nodiscard]] const CxxMemory& cxx() const { return cxx_; }
  void barrier() {
    if (reorders()) [[unlikely]] {
      cxx_.barrier(running_->id);
    }
  }
  /// The running CPU has read something old, so there is more to see than before its last pause.
  void looks_again() { running_->pause_saw = ~std::uint64_t{0}; }
  /// What a read-modify-write of `word` waits for.
  void drain_before_modify(const void* word, std::memory_order order);

  void full_fence(Site where);
  void write_cr3(std::uint64_t value, Site where);
  void invlpg(VirtAddr address, Site where);
  void invpcid(InvpcidType type, std::uint64_t pcid, VirtAddr address, Site where);
  void write_cr4(std::uint64_t value, Site where);
  /// Sends the invalidation to every CPU. It arrives at each in a step of its own: when the
  /// schedule says so, else at the issuer's next `tlbsync`. Messages may overtake each other.
  void invlpgb(const Invlpgb& what, Site where);
  /// Waits until all that this CPU has issued has arrived, each arrival a visible operation.
  void tlbsync(Site where);
  void set_interrupts(bool on, Site where);
  void pause(Site where);
  void send_call_function_ipi(const HostCpuMask& targets, Site where);
  /// An interrupt that got lost is sent again.
  void send_again(CpuId target);
  /// A user-mode load or store: translation, use, and the page fault if there is no translation.
  /// The same function serves accesses of the kernel to its own half.
  AccessResult access(VirtAddr address, bool write, Site where = Site::current());
  /// Errata of the walker: others may act between its look at an entry and its change of it, and
  /// what they have written may be lost.
  [[nodiscard]] bool walker_takes_its_time() const {
    return setup_.errata.walker_overwrites || setup_.errata.walker_is_late;
  }
  [[nodiscard]] bool walker_overwrites() const { return setup_.errata.walker_overwrites; }

  /// Page-table words: atomic, in memory order, and never cached by anything but the TLB.
  std::uint64_t read_word(const std::uint64_t* word, Site where = Site::current());
  std::uint64_t exchange_word(std::uint64_t* word, std::uint64_t value,
                              Site where = Site::current());
  std::uint64_t clear_bits(std::uint64_t* word, std::uint64_t bits, Site where = Site::current());
  std::uint64_t set_bits(std::uint64_t* word, std::uint64_t bits, Site where = Site::current());

  /// For observers: takes the first report and returns. The run ends when the callback is over, so
  /// that the observer's frames are left in order; an abandoned one would leak.
  void report_failure(Report report) {
    if (!report_.failed()) report_ = std::move(report);
  }
  /// Ends the run if an observer has reported a failure. The machine does so after each callback.
  /// While a run is being prepared there is none to end: `run` finds the report.
  void stop_if_failed() {
    if (report_.failed() && observing_) [[unlikely]] {
      leave_run();
    }
  }
  /// Ends the run. The caller's frames are abandoned.
  [[noreturn]] void fail(Report report);
  [[noreturn]] void fail(const Failure& failure);
  void trace(const TraceEvent& event) {
    if (!observing_) return;
    observer_->on_trace(running_->id, event);
    stop_if_failed();
  }

  // ---- State
  // --------------------------------------------------------------------------------------

  [[nodiscard]] HostCpu& running() { return *running_; }
  [[nodiscard]] HostCpu& cpu(CpuId id) { return cpus_[id]; }
  [[nodiscard]] const HostCpu& cpu(CpuId id) const { return cpus_[id]; }
  [[nodiscard]] CpuId cpu_count() const { return setup_.hardware.cpus; }
  [[nodiscard]] bool pcid() const { return setup_.hardware.pcid; }
  [[nodiscard]] Backend backend() const { return setup_.hardware.backend; }
  [[nodiscard]] Device& device() { return *device_; }
  [[nodiscard]] const Device& device() const { return *device_; }
  [[nodiscard]] Hypervisor& hypervisor() { return *hypervisor_; }
  [[nodiscard]] const Hypervisor& hypervisor() const { return *hypervisor_; }
  /// For actors of the machine: null unless somebody watches the run.
  [[nodiscard]] Observer* observer() { return observing_ ? observer_ : nullptr; }
  [[nodiscard]] std::uint16_t pcid_of(std::uint64_t cr3) const {
    return setup_.hardware.pcid ? static_cast<std::uint16_t>(cr3 & 0xfff) : 0;
  }
  [[nodiscard]] FramePool& frames() { return frames_; }
  [[nodiscard]] FeatureSet& features() { return features_; }
  [[nodiscard]] std::uint64_t step() const { return step_; }
  /// The same for the same input on every build.
  [[nodiscard]] std::uint64_t trace_hash() const { return hash_; }
  [[nodiscard]] const Report& report() const { return report_; }
  [[nodiscard]] std::uint64_t interrupts_delivered() const { return interrupts_delivered_; }
  [[nodiscard]] std::uint64_t nmis_delivered() const { return nmis_delivered_; }
  [[nodiscard]] const IpiCounts& ipi_counts() const { return ipi_counts_; }

  /// Timelines cost time, so they are collected on demand only.
  void set_recording(bool on) { recording_ = on; }
  [[nodiscard]] bool recording() const { return recording_; }
  [[nodiscard]] const std::vector<TimelineEntry>& timeline() const { return timeline_; }
  /// What the schedule's actions came to, while recording: in their order, as far as their moments
  /// came.
  [[nodiscard]] const std::vector<Effect>& effects() const { return effects_; }
  void record(std::string what, Site where);
  void record_access(const char* verb, const void* address, std::uint64_t value, Site where);
  void record_drain(CpuId cpu, const void* address, std::uint64_t value);

 private:
  void choose(Pending kind);
  void choose_uninterrupted();
  // Under a controller; machine_control.cc.
  void control(Pending kind, bool interruptible = true);
  HostCpu* next_step();
  void list_steps();
  void list_deliveries(const BroadcastMessage& message);
  /// What a CPU may do and nobody can rely on.
  void list_surprises(const HostCpu& cpu);
  /// What a compiler may have done to its stores, and to the load that it is about to do.
  void list_reorderings(const HostCpu& cpu);
  void apply_step(const Step& step);
  [[nodiscard]] static Step own_step(const HostCpu& cpu);
  void list_faults(const HostCpu& cpu);
  void try_fill(HostCpu& cpu, std::uint32_t number);
  void try_evict(HostCpu& cpu, std::uint32_t number);
  void try_evict_pointers(HostCpu& cpu, VirtAddr address);
  [[nodiscard]] bool may_run(const HostCpu& cpu) const;
  /// A word that a waiting CPU has looked at holds another value by now.
  [[nodiscard]] static bool sees_change(const HostCpu& cpu);
  /// Whether it may pause in vain, because time may pass while an interrupt is lost.
  [[nodiscard]] bool may_lose_patience(const HostCpu& cpu) const;
  [[nodiscard]] bool can_be_interrupted(const HostCpu& cpu) const;
  void finish_step();
  void note_outcome(OpClass op, std::uint64_t value);
  void fetch_action();
  void apply(const Action& action);
  // Effects of actions, while recording.
  [[nodiscard]] const char* why_nothing(const Action& action) const;
  [[nodiscard]] bool has_cached(const Action& action) const;
  [[nodiscard]] bool still_waits(const Effect& effect) const;
  [[nodiscard]] const Tlb& tlb_of(const Action& action) const;
  [[nodiscard]] std::uint64_t what_it_changes(const Action& action) const;
  void begin_effect(const Action& action);
  void end_effect(const Action& action, std::uint64_t before);
  void settle_effect(ActionKind kind, CpuId cpu, const char* why_nothing);
  void end_effects();
  /// The store at `index` becomes visible.
  void leave_buffer(HostCpu& cpu, unsigned index);
  /// A store that a compiler may have put before older ones becomes visible, chosen by `choice`.
  void overtake(HostCpu& cpu, std::uint64_t choice);
  void stores_left(const HostCpu& cpu);
  void count_ipi(const HostCpuMask& targets);
  /// Carries the message out on one CPU.
  void deliver(std::size_t message, CpuId target);
  void deliver_some(CpuId target, std::uint64_t choice);
  /// The oldest one of `issuer` that has not arrived at `target`.
  void deliver_first(CpuId target, CpuId issuer);
  void interrupt();
  void serve_pending();
  void serve(CpuCode handler, const char* name);
  void serve_nmi();
  /// Under a controller: the way out of a handler is a step of its own.
  void leave_handler();
  void take_interrupt_now();
  void finish_pause(HostCpu& cpu);
  void walk_of_device(unsigned context, VirtAddr address, unsigned level);
  void block();
  void idle();
  [[nodiscard]] bool can_run(const HostCpu& cpu) const;
  [[nodiscard]] bool has_work(const HostCpu& cpu) const;
  HostCpu* next_runnable();
  /// The same; if an interrupt got lost, time passes until somebody who waits loses patience.
  HostCpu* next_after_patience();
  void give_way();
  void switch_to(HostCpu& next);
  [[nodiscard]] std::string name_of(VirtAddr address) const;
  /// Walks and caches. The new entry, or null if there is none to make.
  TlbEntry* fill(HostCpu& cpu, VirtAddr address, bool write, bool speculative);
  /// A speculative walk that stops after the entry of `level`.
  void fill_pointers(HostCpu& cpu, VirtAddr address, unsigned level);
  [[noreturn]] void report_two_sizes(CpuId cpu);
  [[noreturn]] void report_deadlock();
  [[noreturn]] void leave_run();
  static void cpu_main(void* argument);

  Setup setup_{};
  std::array<HostCpu, kHostCpus> cpus_{};
  char start_{};  // a place that stands for the start of all CPUs, see race_detector.h
  HostCpu* running_{nullptr};
  Fiber host_;
  bool fibers_ready_{false};
  bool done_{false};
  bool observing_{false};
  bool recording_{false};
  bool have_action_{false};
  CpuId unfinished_{0};
  Action action_{};
  std::uint64_t step_{0};
  std::uint64_t next_stop_{0};
  std::uint64_t changes_{0};
  std::uint64_t hash_{0};
  std::uint64_t interrupts_delivered_{0};
  std::uint64_t nmis_delivered_{0};
  unsigned rounds_of_patience_{0};
  IpiCounts ipi_counts_{};
  Observer* observer_{nullptr};
  std::unique_ptr<Hypervisor> hypervisor_;
  std::unique_ptr<Device> device_;
  FramePool frames_;
  FeatureSet features_;
  Report report_;
  std::vector<TimelineEntry> timeline_;
  std::vector<Effect> effects_;
  std::vector<BroadcastMessage> broadcasts_;  // in flight
  CxxMemory cxx_;
  // Under a controller.
  bool controlled_{false};
  bool in_step_{false};
  CpuId at_gate_{0};
  Step step_now_{};
  Footprint footprint_;
  std::uint32_t device_walks_left_{0};
  std::vector<Step> steps_;
  std::array<std::uint64_t, static_cast<std::size_t>(StepKind::kCount) * kHostCpus> outcomes_{};
};

/// The machine whose CPU runs now. One at a time in a process.
inline Machine* current_machine = nullptr;

}  // namespace shootdown::host
