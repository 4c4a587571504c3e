#include "fuzz/run/story.h"

#include <algorithm>
#include <map>
#include <string_view>

#include "fuzz/run/unheeded.h"

namespace shootdown::fuzz {

namespace {

/// Looks at the state before each line and each action, and notes what the one before has changed.
class Watch final : public host::TimelineWatch {
 public:
  explicit Watch(Runner& runner) : runner_(runner) {}
  ~Watch() override { runner_.machine().recorder().watch(nullptr); }
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  void on_start() override {
    story.items.clear();
    story.start = look();
    last_ = story.start;
    actions_ = 0;
  }
  void before_operation() override {
    const host::ModelScope scope;
    note_changes();
  }
  void before_line() override {
    const host::ModelScope scope;
    story.items.emplace_back();
    note_changes();
  }
  void before_action(const host::Action& action) override {
    const bool is_of_cpu = action.kind != host::EventKind::device;
    const CpuId cpu = is_of_cpu ? action.cpu % host::kHostCpus : machine().running().id;
    const host::ModelScope scope;
    note_changes();
    story.items.push_back({.row = {.step = machine().step(),
                                   .cpu = std::min(cpu, machine().cpu_count() - 1),
                                   .what = {},
                                   .mark = Mark::deviation},
                           .deviation = actions_++});
  }
  /// The run is over.
  void finish() { note_changes(); }

  Story story;

 private:
  host::Machine& machine() { return runner_.machine(); }
  State look() { return state_of(machine(), runner_.sim(), runner_.oracles()); }

  /// Adds what differs from the last look to the last item. Both are in the order of the names.
  void note_changes() {
    if (story.items.empty()) return;
    State now = look();
    std::vector<std::pair<std::string, std::optional<std::string>>> changes;
    auto old = last_.begin();
    for (const auto& [place, what] : now) {
      for (; old != last_.end() && old->first < place; ++old)
        changes.emplace_back(old->first, std::nullopt);
      const bool was_there = old != last_.end() && old->first == place;
      if (!was_there || old->second != what) changes.emplace_back(place, what);
      if (was_there) ++old;
    }
    for (; old != last_.end(); ++old) changes.emplace_back(old->first, std::nullopt);
    last_ = std::move(now);
    for (auto& change : changes) merge(story.items.back(), std::move(change));
  }
  /// One place may change before and behind its line.
  static void merge(StoryItem& item, std::pair<std::string, std::optional<std::string>> change) {
    const auto same = std::find_if(item.changes.begin(), item.changes.end(),
                                   [&](const auto& old) { return old.first == change.first; });
    if (same != item.changes.end()) {
      same->second = std::move(change.second);
    } else {
      item.changes.push_back(std::move(change));
    }
  }

  Runner& runner_;
  State last_;
  unsigned actions_{0};
};

/// Fills in what is known of lines and deviations only when the run is over.
void complete(Story& story, const host::Machine& machine) {
  const std::vector<TimelineRow> lines = rows_of(machine, {});
  const auto& effects = machine.deviations().effects().list();
  std::size_t line = 0;
  for (StoryItem& item : story.items) {
    if (!item.deviation) {
      item.row = lines[line++];
      continue;
    }
    const unsigned index = *item.deviation;
    bool is_delay = false;
    if (index < story.scenario.deviations.size()) {
      const Deviation& deviation = story.scenario.deviations[index];
      is_delay = is_only_delay(deviation);
      item.row.what = "~~ at +" + std::to_string(deviation.delay) + ": " + print(deviation);
    }
    if (index < effects.size() && effects[index].nothing != nullptr && !is_delay)
      item.nothing = effects[index].nothing;
  }
}

// ---- Notes: of the changes those that no line tells by itself

bool is_stale(std::string_view what) { return what.ends_with(kStale); }

/// "page 0" of "page 0 of mm0 -> frame 5, writable, PCID 2".
std::string page_in(std::string_view what) {
  return std::string(what.substr(0, std::min(what.find(" of mm"), what.find(" -> "))));
}

/// "page 0 -> frame 5, writable".
std::string mapping_in(std::string_view what) {
  const std::size_t arrow = what.find(" -> ");
  return page_in(what) + std::string(what.substr(arrow, what.find(", PCID") - arrow));
}

class Notes {
 public:
  explicit Notes(const State& before) : before_(before) {}

  /// What is told beside the item, whose own CPU needs no name.
  std::vector<std::string> of(const StoryItem& item) {
    notes_.clear();
    own_ = "cpu" + std::to_string(item.row.cpu);
    for (const auto& [place, what] : item.changes) {
      const auto found = before_.find(place);
      change(place, found == before_.end() ? "" : found->second, what.value_or(""));
    }
    for (const auto& [page, cpus] : stale_) {
      notes_.push_back(std::string("stale now: ").append(page).append(" on ").append(cpus));
    }
    stale_.clear();
    for (const auto& [place, what] : item.changes) {
      if (what) {
        before_[place] = *what;
      } else {
        before_.erase(place);
      }
    }
    return std::move(notes_);
  }

 private:
  void add(std::string_view cpu, const std::string& text) {
    notes_.push_back(cpu == own_ ? text : std::string(cpu) + ": " + text);
  }

  void change(std::string_view place, std::string_view was, std::string_view is) {
    if (!place.starts_with("cpu")) return;
    const std::string_view cpu = place.substr(0, place.find('/'));
    const std::string_view part = place.substr(cpu.size() + 1);
    if (part.starts_with("tlb/") || part.starts_with("tables/")) {
      cached(cpu, was, is);
    } else if (part == "asid") {
      add(cpu, "runs on ASID " + std::string(is));
    } else if (part.starts_with("asid/") && !is.empty()) {
      add(cpu, "ASID " + std::string(part.substr(5)) + ": " + std::string(is));
    } else if (part == "owed") {
      add(cpu, is.empty() ? "no user PCID is owed a flush" : "owed a flush: " + std::string(is));
    } else if (part == "deferred") {
      add(cpu, is.empty() ? "no page is deferred" : "deferred: " + std::string(is));
    } else if (part == "answered") {
      add(cpu, is.empty() ? "the flush it has answered is done" : "has answered before it flushes");
    }
  }

  void cached(std::string_view cpu, std::string_view was, std::string_view is) {
    if (was.empty()) {
      if (is.starts_with("level")) return;
      add(cpu, mapping_in(is));
    } else if (is.empty() && is_stale(was)) {
      add(cpu, "drops the stale " + page_in(was));
    } else if (!is_stale(was) && is_stale(is)) {
      std::string& cpus = stale_[page_in(was)];
      cpus += (cpus.empty() ? "" : ", ") + std::string(cpu);
    }
  }

  State before_;
  std::map<std::string, std::string> stale_;  // each page and its CPUs
  std::string own_;
  std::vector<std::string> notes_;
};

bool aims(const Scenario& scenario) {
  const auto& deviations = scenario.deviations;
  return std::any_of(deviations.begin(), deviations.end(), [](const Deviation& deviation) {
    return deviation.kind == host::EventKind::aim;
  });
}

}  // namespace

Story record(Runner& runner, const Scenario& scenario, const ControlledRun* control) {
  // A strategy has an action at many operations that comes to nothing, and is no deviation. The run
  // without it is the same, and has those that are.
  if (control == nullptr && aims(scenario)) {
    runner.run(scenario);
    return record(runner, Scenario(runner.unfolded()), nullptr);
  }
  host::Recorder& recorder = runner.machine().recorder();
  Watch watch(runner);
  recorder.watch(&watch);
  recorder.turn_timeline(true);
  if (control != nullptr) {
    runner.run(scenario, *control);
  } else {
    runner.run(scenario);
  }
  recorder.turn_timeline(false);
  watch.finish();
  Story story = std::move(watch.story);
  story.scenario = control != nullptr ? scenario : runner.unfolded();
  complete(story, runner.machine());
  return story;
}

std::vector<TimelineRow> rows_of(const Story& story) {
  std::vector<TimelineRow> rows;
  Notes notes(story.start);
  for (const StoryItem& item : story.items) {
    TimelineRow row = item.row;
    row.notes = notes.of(item);
    if (!item.nothing.empty()) row.notes.push_back("did nothing: " + item.nothing);
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace shootdown::fuzz
