#include "hal/host/explore.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <utility>

namespace shootdown::host {

namespace {

constexpr std::uint64_t bit(unsigned kind) { return std::uint64_t{1} << kind; }

/// Both sorted by place, each place once.
bool conflict(const Footprint& a, const Footprint& b) {
  auto left = a.begin();
  auto right = b.begin();
  while (left != a.end() && right != b.end()) {
    if (left->place < right->place) {
      ++left;
    } else if (right->place < left->place) {
      ++right;
    } else if (left->write || right->write) {
      return true;
    } else {
      ++left;
      ++right;
    }
  }
  return false;
}

void tidy(Footprint& footprint) {
  std::sort(footprint.begin(), footprint.end(),
            [](const Access& a, const Access& b) { return a.place < b.place; });
  std::size_t kept = 0;
  for (const Access& record_access : footprint) {
    if (kept != 0 && footprint[kept - 1].place == record_access.place) {
      footprint[kept - 1].write = footprint[kept - 1].write || record_access.write;
    } else {
      footprint[kept++] = record_access;
    }
  }
  footprint.resize(kept);
}

/// The step with which a process of steps of this kind begins.
EventKind opening(EventKind kind) {
  switch (kind) {
    case EventKind::handle:
    case EventKind::leave:
      return EventKind::interrupt;
    case EventKind::handle_nmi:
    case EventKind::leave_nmi:
      return EventKind::nmi;
    default:
      return kind;
  }
}

/// From here on to another step some processes of the CPU have no step.
bool begins_bracket(EventKind kind) {
  return kind == EventKind::interrupt || kind == EventKind::nmi || kind == EventKind::vcpu_preempt;
}

[[noreturn]] void broken(const char* what) {
  std::fprintf(stderr, "explore: %s\n", what);
  std::abort();
}

}  // namespace

std::string ExploreResult::guarantee(const ExploreOptions& options) const {
  if (!complete) return "none: the exploration was stopped before its end";
  if (options.reduction == Reduction::source_sets) {
    return "every interleaving, up to the order of steps that do not conflict";
  }
  if (options.deviations == kUnbounded) return "every interleaving, one by one";
  return "every run that deviates from the default schedule at most " +
         std::to_string(options.deviations) + " times";
}

std::size_t Replay::pick(const std::vector<Step>& enabled) {
  if (index_ == steps_.size()) return 0;
  const auto found = std::find(enabled.begin(), enabled.end(), steps_[index_]);
  if (found == enabled.end()) broken("a replayed step is not enabled; the program has changed");
  ++index_;
  return static_cast<std::size_t>(found - enabled.begin());
}

// ---- One execution

unsigned Explorer::process_of(const Step& step) {
  const std::uint64_t key = (std::uint64_t{static_cast<std::uint8_t>(opening(step.kind))} << 48) |
                            (std::uint64_t{step.cpu} << 32) | step.argument;
  const auto found = std::find(process_keys_.begin(), process_keys_.end(), key);
  if (found != process_keys_.end()) return static_cast<unsigned>(found - process_keys_.begin());
  if (process_keys_.size() == kProcesses) broken("too many processes");
  process_keys_.push_back(key);
  return static_cast<unsigned>(process_keys_.size() - 1);
}

std::size_t Explorer::pick(const std::vector<Step>& enabled) {
  return depth_ < replay_ ? replayed(enabled) : start_node(enabled);
}

std::size_t Explorer::replayed(const std::vector<Step>& enabled) {
  Node& node = nodes_[depth_];
  if (enabled != node.enabled) broken("a run did not repeat itself");
  const auto chosen = std::find(node.processes.begin(), node.processes.end(), node.chosen);
  const auto index = static_cast<std::size_t>(chosen - node.processes.begin());
  events_[depth_].process = node.chosen;
  events_[depth_].step = enabled[index];
  return index;
}

void Explorer::inherit_sleepers(Node& node) {
  if (depth_ == 0) return;
  const Event& last = events_[depth_ - 1];
  for (const Sleeper& sleeper : nodes_[depth_ - 1].asleep) {
    if (sleeper.process == last.process || conflict(sleeper.footprint, last.footprint)) continue;
    node.asleep.push_back(sleeper);
    node.sleeping.set(sleeper.process);
  }
}

void Explorer::note_disabled(ProcessSet enabled) {
  if (depth_ == 0) return;
  // A step that the last one disabled leaves no event that a race could be found with, so it is
  // explored in the place of the last one.
  Node& previous = nodes_[depth_ - 1];
  previous.backtrack |= previous.may & ~enabled & ~only(previous.chosen);
}

std::size_t Explorer::start_node(const std::vector<Step>& enabled) {
  Node node;
  node.enabled = enabled;
  for (const Step& step : enabled) {
    node.processes.push_back(process_of(step));
    node.may.set(node.processes.back());
  }
  const bool reduces = options_.reduction == Reduction::source_sets;
  if (reduces) {
    note_disabled(node.may);
    inherit_sleepers(node);
  }
  if (depth_ != 0) {
    const Node& previous = nodes_[depth_ - 1];
    node.deviations = previous.deviations + (previous.chosen != previous.processes[0] ? 1 : 0);
  }
  std::size_t index = 0;
  while (index < enabled.size() && node.sleeping.test(node.processes[index])) ++index;
  if (index == enabled.size()) {
    gave_up_ = true;
    return kStop;
  }
  node.chosen = node.processes[index];
  node.backtrack = only(node.chosen);
  if (!reduces && node.deviations < options_.deviations) node.backtrack = node.may;
  nodes_.push_back(std::move(node));
  events_.push_back({});
  events_.back().process = nodes_.back().chosen;
  events_.back().step = enabled[index];
  return index;
}

void Explorer::done(Footprint& footprint) {
  ++result_.steps;
  Event& event = events_[depth_];
  const bool is_new = depth_ + 1 >= replay_;
  ++depth_;
  if (options_.reduction == Reduction::none) return;
  if (is_new) {
    tidy(footprint);
    event.footprint = std::move(footprint);
    footprint = {};
    event.places.clear();
    for (const Access& record_access : event.footprint) {
      const auto next = static_cast<std::uint32_t>(uses_.size());
      const auto [at, inserted] = place_numbers_.try_emplace(record_access.place, next);
      if (inserted) uses_.emplace_back();
      event.places.push_back(at->second);
    }
  }
  event.number = ++numbers_[event.process];
  if (is_new) order(/*look_for_races=*/true);
  last_[event.process] = static_cast<std::uint32_t>(depth_);
  note_uses(event);
}

void Explorer::note_uses(const Event& event) {
  for (std::size_t i = 0; i < event.places.size(); ++i) {
    Use& use = uses_[event.places[i]];
    if (event.footprint[i].write) {
      use.written = static_cast<std::uint32_t>(depth_);
      use.read.clear();
    } else {
      use.read.push_back(static_cast<std::uint32_t>(depth_));
    }
  }
}

void Explorer::order(bool look_for_races) {
  Event& event = events_[depth_ - 1];
  Clock clock{};
  if (last_[event.process] != 0) clock = events_[last_[event.process] - 1].clock;
  // Latest first: an event that comes before a later one that is ordered already is no race.
  std::vector<std::uint32_t> others;
  for (std::size_t i = 0; i < event.places.size(); ++i) {
    const Use& use = uses_[event.places[i]];
    if (use.written != 0) others.push_back(use.written);
    if (event.footprint[i].write) {
      others.insert(others.end(), use.read.begin(), use.read.end());
    }
  }
  std::sort(others.begin(), others.end(), std::greater<>());
  others.erase(std::unique(others.begin(), others.end()), others.end());
  std::vector<std::size_t> races;
  for (const std::uint32_t other : others) {
    const Event& first = events_[other - 1];
    if (clock[first.process] >= first.number) continue;
    if (look_for_races) races.push_back(other - 1);
    for (unsigned i = 0; i < kProcesses; ++i) clock[i] = std::max(clock[i], first.clock[i]);
  }
  clock[event.process] = static_cast<std::uint16_t>(event.number);
  event.clock = clock;
  for (const std::size_t first : races) note_race(first);
  note_brackets(event);
}

void Explorer::note_brackets(const Event& event) {
  // While a handler runs, or while its CPU has no processor, the interrupted program is disabled;
  // an NMI disables a handler too. The next step of the disabled program therefore races with the
  // step that disabled it, the entry to the handler or the loss of the processor, and not with the
  // return.
  if (!is_of_cpu(event.step.kind)) return;
  // What an NMI could have come before, an interrupt or its handler, conflicts with it directly.
  const EventKind below = event.step.kind == EventKind::nmi ? EventKind::leave : EventKind::run;
  std::uint64_t seen = 0;
  for (std::size_t i = depth_ - 1; i-- > 0;) {
    const Event& other = events_[i];
    if (other.step.cpu != event.step.cpu) continue;
    const EventKind kind = other.step.kind;
    if (other.process == event.process || (kind >= EventKind::run && kind <= below)) return;
    if (!begins_bracket(kind) || (seen & bit(static_cast<unsigned>(kind))) != 0) continue;
    seen |= bit(static_cast<unsigned>(kind));
    note_race(i);
  }
}

void Explorer::note_race(std::size_t first_index) {
  const Event& first = events_[first_index];
  const std::size_t last_index = depth_ - 1;
  const Event& last = events_[last_index];
  Node& node = nodes_[first_index];
  // What could happen if `first` came later: the events after it that do not depend on it, then
  // `last`. Some process that can begin that row must be explored in the place of `first`.
  std::vector<std::size_t> row;
  ProcessSet seen;
  ProcessSet initials;
  bool helped = false;
  for (std::size_t i = first_index + 1; i <= last_index; ++i) {
    const Event& event = events_[i];
    if (i != last_index && before(first, event)) continue;
    if (!seen.test(event.process)) {
      const bool begins = std::none_of(row.begin(), row.end(), [&](std::size_t earlier) {
        return before(events_[earlier], event);
      });
      if (begins) initials.set(event.process);
      seen.set(event.process);
    }
    if (i != last_index) {
      helped = helped || before(event, last);
      row.push_back(i);
    }
  }
  // Nothing but `first` enabled `last`: their order cannot be reversed.
  if (!helped && !node.may.test(last.process)) return;
  if ((initials & (node.backtrack | node.sleeping)).any()) return;
  const ProcessSet candidates = initials & node.may;
  if (candidates.none()) return;
  unsigned chosen = last.process;
  for (unsigned i = 0; !candidates.test(chosen); ++i) chosen = i;
  node.backtrack.set(chosen);
}

// ---- All of them

void Explorer::begin_execution() {
  depth_ = 0;
  gave_up_ = false;
  numbers_ = {};
  last_ = {};
  for (Use& use : uses_) {
    use.written = 0;
    use.read.clear();
  }
}

bool Explorer::backtrack() {
  while (!nodes_.empty()) {
    Node& node = nodes_.back();
    node.explored.set(node.chosen);
    if (options_.reduction == Reduction::source_sets) {
      node.asleep.push_back({.process = node.chosen, .footprint = events_.back().footprint});
      node.sleeping.set(node.chosen);
    }
    const ProcessSet left = node.backtrack & ~node.explored & ~node.sleeping;
    if (left.any()) {
      for (const unsigned process : node.processes) {
        if (!left.test(process)) continue;
        node.chosen = process;
        break;
      }
      replay_ = nodes_.size();
      return true;
    }
    nodes_.pop_back();
    events_.pop_back();
  }
  return false;
}

ExploreResult Explorer::explore(const Run& run, const Visit& visit) {
  result_ = {};
  for (;;) {
    begin_execution();
    const Report& report = run();
    result_.longest = std::max<std::uint64_t>(result_.longest, depth_);
    if (report.failed() && options_.stop_at_failure) {
      ++result_.executions;
      result_.failed = result_.complete = true;
      for (const Event& event : events_) result_.schedule.push_back(event.step);
      return result_;
    }
    if (gave_up_) {
      ++result_.redundant;
    } else {
      ++result_.executions;
      if (visit) visit();
      if (options_.reduction == Reduction::source_sets) note_disabled(0);
    }
    if (!backtrack()) {
      result_.complete = true;
      return result_;
    }
    const std::uint64_t runs = result_.executions + result_.redundant;
    if (options_.progress && runs % 65536 == 0) options_.progress(result_);
    if (runs >= options_.most_executions) return result_;
  }
}

}  // namespace shootdown::host
