// The recorder: what is kept of a run. A hash of all visible operations always, features for
// fuzzing engines always, and lines of a timeline on demand, because lines cost time.
#pragma once

#include <cstdint>
#include <source_location>
#include <string>
#include <vector>

#include "core/types.h"
#include "hal/host/coverage.h"

namespace shootdown::host {

class Machine;
class Observer;
struct Action;

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

/// One line of a timeline.
struct TimelineEntry {
  std::uint64_t step;
  CpuId cpu;
  std::string what;
  Site where;
};

/// Told of the moments between which the state of a run can be compared. What differs at a line was
/// done by the operation that the line is about; what differs at the next operation or action,
/// behind it.
class TimelineWatch {
 public:
  virtual ~TimelineWatch() = default;
  /// All CPUs have booted; the timeline is empty.
  virtual void on_start() = 0;
  /// The running CPU goes on with a visible operation.
  virtual void before_operation() = 0;
  virtual void before_line() = 0;
  /// The schedule's action is about to be done.
  virtual void before_action(const Action& action) = 0;
};

class Recorder {
 public:
  explicit Recorder(const Machine& machine) : machine_(machine) {}

  /// A new run is prepared. `observer` names the words in the timeline, and may be null.
  void prepare(Observer* observer);
  /// All CPUs have booted. What they did so far is no part of the run.
  void start();

  void note(CpuId cpu, OpClass op, std::uint64_t value) {
    hash_ = (hash_ ^ (static_cast<std::uint64_t>(op) << 56) ^
             (static_cast<std::uint64_t>(cpu) << 48) ^ value) *
            0x9e37'79b9'7f4a'7c15;
  }
  /// Of all operations noted so far: the same for the same input on every build.
  [[nodiscard]] std::uint64_t hash() const { return hash_; }

  [[nodiscard]] FeatureSet& features() { return features_; }
  [[nodiscard]] const FeatureSet& features() const { return features_; }

  // ---- The timeline. Lines are added only while it is on, which the caller asks first.

  void turn_timeline(bool on) { has_timeline_ = on; }
  [[nodiscard]] bool has_timeline() const { return has_timeline_; }
  [[nodiscard]] const std::vector<TimelineEntry>& timeline() const { return timeline_; }
  /// While the timeline is on `watch`, which may be null, is told of it.
  void watch(TimelineWatch* watch) { watch_ = watch; }
  [[nodiscard]] TimelineWatch* watch() const { return watch_; }
  /// A line about the running CPU.
  void line(std::string what, Site where);
  /// The same about an operation: on the word at `address`, or, if that is null, one whose operand
  /// is the virtual address `value`. `bits` are the value's own, also those of a pointer.
  void operation(const char* verb, const void* address, std::uint64_t value, Site where) {
    operation(verb, address, value, value, where);
  }
  void operation(const char* verb, const void* address, std::uint64_t value, std::uint64_t bits,
                 Site where);
  /// Goes on with the line added last.
  void append(const char* text) { timeline_.back().what += text; }
  /// A line about something that happens to `cpu`, whichever CPU is running.
  void event(CpuId cpu, std::string what);
  /// A store of `cpu` has left its store buffer.
  void drained(CpuId cpu, const void* address, std::uint64_t value) {
    drained(cpu, address, value, value);
  }
  void drained(CpuId cpu, const void* address, std::uint64_t value, std::uint64_t bits);
  /// How the timeline names a virtual address.
  [[nodiscard]] std::string name_of(VirtAddr address) const;

 private:
  const Machine& machine_;
  [[nodiscard]] std::string assignment(const void* address, std::uint64_t value,
                                       std::uint64_t bits) const;

  Observer* observer_{nullptr};
  TimelineWatch* watch_{nullptr};
  std::uint64_t hash_{0};
  bool has_timeline_{false};
  std::vector<TimelineEntry> timeline_;
  FeatureSet features_;
};

}  // namespace shootdown::host
