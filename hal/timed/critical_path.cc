#include "hal/timed/critical_path.h"

#include <algorithm>

namespace shootdown::timed {
namespace {

/// Goes back from event to event.
class Walk {
 public:
  Walk(const Machine& machine, CpuId cpu, Time start, Time end)
      : machine_(machine),
        at_{.cpu = cpu, .index = static_cast<std::uint32_t>(machine.log(cpu).size())},
        start_(start),
        time_(end) {}

  std::vector<Step> run() {
    bool goes_on = step_back();
    // Behind `end` it may have run handlers.
    while (goes_on && event().start >= time_) goes_on = step_back();
    while (goes_on && time_ > start_) goes_on = explain();
    std::ranges::reverse(steps_);
    return std::move(steps_);
  }

 private:
  [[nodiscard]] const Event& at(EventRef ref) const { return machine_.log(ref.cpu)[ref.index]; }
  [[nodiscard]] const Event& event() const { return at(at_); }

  /// To the event before on the same CPU.
  bool step_back() {
    if (at_.index == 0) return false;
    --at_.index;
    return true;
  }

  void add(CpuId cpu, Time since, Cause cause, CpuId other, const Line* line) {
    const Time begin = std::max(since, start_);
    if (begin >= time_) return;
    const std::string name = line == nullptr ? "" : line->name;
    if (!steps_.empty() && steps_.back().cpu == cpu && steps_.back().cause == cause &&
        steps_.back().other == other && steps_.back().line == name) {
      steps_.back().start = begin;
    } else {
      steps_.push_back(
          {.cpu = cpu, .start = begin, .end = time_, .cause = cause, .other = other, .line = name});
    }
    time_ = begin;
  }

  /// To another CPU's event, which ended, or handed a line on, where this one begins.
  bool jump(EventRef to, const Line* line) {
    at_ = to;
    // A store that waits for its line in the store buffer ends later than its instruction.
    add(to.cpu, event().end, Cause::line, kNoCpu, line);
    return true;
  }

  /// Tells of the time up to `time_`, which the event covers, and goes to what it came after.
  bool explain() {
    const Event now = event();
    const CpuId cpu = at_.cpu;
    if (now.cause == Cause::queue && now.after.cpu != kNoCpu) return jump(now.after, now.line);
    add(cpu, now.start, now.cause, now.other, now.line);
    if (now.cause == Cause::entry && now.after.cpu != kNoCpu && now.since == now.start) {
      const Event& command = at(now.after);
      add(cpu, command.end, Cause::delivery, now.after.cpu, nullptr);
      return jump(now.after, nullptr);
    }
    // A CPU that looks at a word again and again waits for its writer.
    const bool waits = now.cause == Cause::line && now.since != kNever && now.after.cpu != kNoCpu &&
                       now.after.cpu != cpu && at(now.after).end > now.since;
    if (waits && at(now.after).end <= now.start) {
      add(cpu, at(now.after).end, Cause::pause, kNoCpu, now.line);
      return jump(now.after, nullptr);
    }
    return step_back();
  }

  const Machine& machine_;
  EventRef at_;
  Time start_;
  Time time_;
  std::vector<Step> steps_;
};

}  // namespace

std::vector<Step> critical_path(const Machine& machine, CpuId cpu, Time start, Time end) {
  return Walk(machine, cpu, start, end).run();
}

}  // namespace shootdown::timed
