// The modelled multiprocessor: its CPUs, its parts, and one run after the other.
//
// It knows nothing of the core's data. Each part is a class of its own and is reached through
// Machine, which holds what all of them share: the CPUs, the set-up, the report, the observer.
// README.md has a picture of the parts.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "core/hal.h"
#include "core/trace.h"
#include "core/types.h"
#include "hal/host/broadcasts.h"
#include "hal/host/control.h"
#include "hal/host/controlled_scheduler.h"
#include "hal/host/deviations.h"
#include "hal/host/fiber.h"
#include "hal/host/frames.h"
#include "hal/host/host_cpu.h"
#include "hal/host/instructions.h"
#include "hal/host/interrupts.h"
#include "hal/host/limits.h"
#include "hal/host/observer.h"
#include "hal/host/recorder.h"
#include "hal/host/report.h"
#include "hal/host/scheduler.h"
#include "hal/host/setup.h"
#include "hal/host/shared_memory.h"
#include "hal/host/translation.h"

namespace shootdown::host {

class Device;
class Hypervisor;

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

  // ---- The parts

  [[nodiscard]] Instructions& instructions() { return instructions_; }
  [[nodiscard]] Translation& translation() { return translation_; }
  [[nodiscard]] Interrupts& interrupts() { return interrupts_; }
  [[nodiscard]] const Interrupts& interrupts() const { return interrupts_; }
  [[nodiscard]] SharedMemory& memory() { return memory_; }
  [[nodiscard]] const SharedMemory& memory() const { return memory_; }
  [[nodiscard]] Broadcasts& broadcasts() { return broadcasts_; }
  [[nodiscard]] const Broadcasts& broadcasts() const { return broadcasts_; }
  [[nodiscard]] Scheduler& scheduler() { return scheduler_; }
  [[nodiscard]] const Scheduler& scheduler() const { return scheduler_; }
  [[nodiscard]] ControlledScheduler& controlled() { return controlled_; }
  [[nodiscard]] const ControlledScheduler& controlled() const { return controlled_; }
  [[nodiscard]] FootprintLog& footprint() { return controlled_.footprint(); }
  [[nodiscard]] Deviations& deviations() { return deviations_; }
  [[nodiscard]] const Deviations& deviations() const { return deviations_; }
  [[nodiscard]] Recorder& recorder() { return recorder_; }
  [[nodiscard]] const Recorder& recorder() const { return recorder_; }
  [[nodiscard]] Hypervisor& hypervisor() { return *hypervisor_; }
  [[nodiscard]] const Hypervisor& hypervisor() const { return *hypervisor_; }
  [[nodiscard]] Device& device() { return *device_; }
  [[nodiscard]] const Device& device() const { return *device_; }
  [[nodiscard]] FramePool& frames() { return frames_; }

  // ---- State

  [[nodiscard]] const Setup& setup() const { return setup_; }
  [[nodiscard]] CpuId cpu_count() const { return setup_.hardware.cpus; }
  [[nodiscard]] HostCpu& cpu(CpuId id) { return cpus_[id]; }
  [[nodiscard]] const HostCpu& cpu(CpuId id) const { return cpus_[id]; }
  [[nodiscard]] HostCpu& running() { return scheduler_.running(); }
  [[nodiscard]] const HostCpu& running() const { return scheduler_.running(); }
  [[nodiscard]] unsigned top_level() const {
    return setup_.hardware.five_levels ? kTopLevelOfFive : kTopLevel;
  }
  [[nodiscard]] std::uint64_t step() const { return scheduler_.step(); }

  // ---- A CPU that INIT resets

  /// The code that the CPU runs is given up where it stands, without destructors.
  void abandon_program(HostCpu& cpu);
  /// The CPU goes on with `Programs::startup`, on an empty stack.
  void begin_startup(HostCpu& cpu);

  // ---- What every operation tells

  /// Accounts for an operation that the running CPU has just done, on `word` if it was one on an
  /// atomic word.
  void note(OpClass op, std::uint64_t value) {
    note_briefly(op, value, nullptr);
    if (controlled_.is_on()) [[unlikely]] {
      controlled_.note(op, value);
    }
  }
  /// The same but for a controller, which is to be told as well.
  void note_briefly(OpClass op, std::uint64_t value, const void* word) {
    HostCpu& self = running();
    self.last_operation = op;
    self.last_word = word;
    recorder_.note(self.id, op, value);
  }
  /// A controller or a timeline is to be told of each operation.
  [[nodiscard]] bool is_listened_to() const {
    return controlled_.is_on() || recorder_.has_timeline();
  }
  /// A visible operation of the CPU has changed something.
  void changed(CpuId cpu) {
    scheduler_.note_change();
    if (observing_) {
      setup_.observer->after_change(cpu);
      stop_if_failed();
    }
  }
  void changed() { changed(running().id); }
  /// Under a controller: the running step uses a place.
  void record_access(Location where, bool write) {
    controlled_.footprint().record_access(where, write);
  }
  void record_access(const void* word, bool write) {
    record_access(static_cast<Location>(reinterpret_cast<std::uintptr_t>(word)), write);
  }
  void trace(const TraceEvent& event) {
    if (!observing_) return;
    setup_.observer->on_trace(running().id, event);
    stop_if_failed();
  }
  /// The observer of the run, or null: there is none, or no run is going on.
  [[nodiscard]] Observer* observer() { return observing_ ? setup_.observer : nullptr; }

  /// Which limits of the model the run has reached.
  [[nodiscard]] const Limits& limits() const { return limits_; }
  void reach(Limit limit) { limits_.reach(limit); }

  // ---- Failures

  [[nodiscard]] const Report& report() const { return report_; }
  /// For observers: takes the first report and returns. The run ends when the callback is over, so
  /// that the observer's frames are left in order; an abandoned one would leak.
  void report_failure(Report report) {
    if (!report_.failed()) report_ = std::move(report);
  }
  /// Ends the run if an observer has reported a failure. The machine does so after each callback.
  /// While a run is being prepared there is none to end: `run` finds the report.
  void stop_if_failed() {
    if (report_.failed() && observing_) [[unlikely]] {
      abandon_run();
    }
  }
  /// Ends the run. The caller's frames are abandoned.
  [[noreturn]] void fail(Report report);
  [[noreturn]] void fail(const Failure& failure);
  /// The same without a failure.
  [[noreturn]] void abandon_run();

 private:
  static void thread_main(void* argument);
  static void startup_main(void* argument);
  void start_run();

  Setup setup_{};
  std::array<HostCpu, kHostCpus> cpus_{};
  std::array<Thread, kHostCpus> threads_{};
  char start_{};  // a place that stands for the start of all CPUs, see race_detector.h
  Fiber host_;
  bool fibers_ready_{false};
  bool was_reset_{false};  // a CPU, in this run
  bool observing_{false};
  Report report_;
  Limits limits_;
  Recorder recorder_{*this};
  Scheduler scheduler_{*this};
  ControlledScheduler controlled_{*this};
  Deviations deviations_{*this};
  SharedMemory memory_{*this};
  Interrupts interrupts_{*this};
  Instructions instructions_{*this};
  Translation translation_{*this};
  Broadcasts broadcasts_{*this};
  FramePool frames_;
  std::unique_ptr<Hypervisor> hypervisor_;
  std::unique_ptr<Device> device_;
};

/// The machine whose CPU runs now. One at a time in a process.
inline Machine* current_machine = nullptr;

}  // namespace shootdown::host
