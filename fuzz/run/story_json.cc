#include "fuzz/run/story_json.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <map>
#include <string_view>

#include "fuzz/run/trace_report.h"

namespace shootdown::fuzz {

namespace {

// ---- What a line is, by how it begins

struct LineKind {
  std::string_view begins;
  std::string_view kind;
};

/// The first that fits counts.
constexpr std::array kLineKinds{
    LineKind{"== ", "operation"},
    LineKind{"~~ ", "deviation"},
    LineKind{"[", "end"},
    LineKind{"  drains ", "drain"},
    LineKind{"load CR3", "cr3"},
    LineKind{"load CR4", "cr4"},
    LineKind{"load from", "access"},
    LineKind{"store to", "access"},
    LineKind{"fetch from", "access"},
    LineKind{"load", "load"},
    LineKind{"read ", "load"},
    LineKind{"store, buffered,", "buffered"},
    LineKind{"store", "store"},
    LineKind{"write ", "store"},
    LineKind{"modify", "modify"},
    LineKind{"compare-exchange", "modify"},
    LineKind{"full fence", "fence"},
    LineKind{"invlpgb", "broadcast"},
    LineKind{"tlbsync", "broadcast"},
    LineKind{"invlpg", "invalidate"},
    LineKind{"invpcid", "invalidate"},
    LineKind{"send interrupt", "send"},
    LineKind{"the interrupt to", "send"},
    LineKind{"interrupt: ", "interrupt"},
    LineKind{"NMI {", "interrupt"},
    LineKind{"} ", "return"},
    LineKind{"thread ", "interrupt"},
    LineKind{"interrupts off", "off"},
    LineKind{"interrupts on", "on"},
    LineKind{"waits", "wait"},
    LineKind{"pause", "wait"},
    LineKind{"no answer from", "wait"},
    LineKind{"speculative", "fill"},
    LineKind{"a device", "fill"},
    LineKind{"hypercall", "host"},
    LineKind{"flushes cpu", "host"},
    LineKind{"message to", "host"},
    LineKind{"takes ", "host"},
    LineKind{"the host", "host"},
    LineKind{"check failed", "end"},
};

std::string_view kind_of(std::string_view what) {
  for (const LineKind& one : kLineKinds) {
    if (what.starts_with(one.begins)) return one.kind;
  }
  return what.ends_with("invlpgb arrives") ? "arrival" : "other";
}

// ---- JSON

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char letter : text) {
    const auto byte = static_cast<unsigned char>(letter);
    if (letter == '"' || letter == '\\') {
      out += '\\';
      out += letter;
    } else if (byte < 0x20) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", static_cast<unsigned>(byte));
      out += escape;
    } else {
      out += letter;
    }
  }
  return out + "\"";
}

/// An object or a list that is being written.
class Json {
 public:
  explicit Json(char open) : close_(open == '{' ? '}' : ']') { text_ += open; }
  Json& raw(std::string_view name, std::string_view value) {
    if (text_.size() > 1) text_ += ",";
    if (!name.empty()) text_ += quoted(name) + ":";
    text_ += value;
    return *this;
  }
  Json& add(std::string_view name, std::string_view value) { return raw(name, quoted(value)); }
  Json& number(std::string_view name, std::uint64_t value) {
    return raw(name, std::to_string(value));
  }
  [[nodiscard]] std::string text() const { return text_ + close_; }

 private:
  std::string text_;
  char close_;
};

template <class Texts>
std::string list_of(const Texts& texts) {
  Json list('[');
  for (const auto& text : texts) list.add("", text);
  return list.text();
}

std::string event_json(const host::Event& event) {
  return Json('{')
      .number("step", event.step)
      .number("cpu", event.cpu)
      .add("what", event.what)
      .text();
}

std::string verdict_json(const host::Report& report) {
  if (!report.failed()) return "null";
  Json verdict('{');
  verdict.add("oracle", report.name()).add("title", report.title).add("detail", report.detail);
  verdict.add("promise", report.kind->promise);
  if (!report.first.what.empty()) verdict.raw("first", event_json(report.first));
  if (!report.second.what.empty()) verdict.raw("then", event_json(report.second));
  return verdict.text();
}

std::string scenario_json(const Scenario& scenario) {
  Json lines('[');
  std::string text = print(scenario);
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    lines.add("", std::string_view(text).substr(begin, end - begin));
    begin = end + 1;
  }
  return lines.text();
}

std::string item_json(const TimelineRow& row, const StoryItem* item) {
  Json out('{');
  out.number("step", row.step).number("cpu", row.cpu).add("kind", kind_of(row.what));
  out.add("text", row.what);
  if (!row.where.empty()) out.add("where", row.where);
  if (!row.function.empty()) out.add("function", row.function);
  if (row.mark != Mark::none) out.add("mark", name(row.mark));
  if (!row.notes.empty()) out.raw("notes", list_of(row.notes));
  if (item == nullptr) return out.text();
  if (item->deviation) out.number("deviation", *item->deviation);
  if (!item->nothing.empty()) out.add("nothing", item->nothing);
  if (item->changes.empty()) return out.text();
  Json changes('{');
  for (const auto& [place, what] : item->changes) changes.raw(place, what ? quoted(*what) : "null");
  return out.raw("changes", changes.text()).text();
}

// ---- Links: what arrives, and the line that it comes from

class Links {
 public:
  explicit Links(const Story& story) {
    for (std::size_t i = 0; i < story.items.size(); ++i) {
      stores(story.items[i], i);
      sent(story.items[i].row, i);
    }
  }
  [[nodiscard]] std::string text() const { return list_.text(); }

 private:
  void link(std::string_view kind, std::size_t from, std::size_t to) {
    list_.raw("", Json('{').add("kind", kind).number("from", from).number("to", to).text());
  }

  /// A store that goes into a buffer, and leaves it.
  void stores(const StoryItem& item, std::size_t index) {
    for (const auto& [place, what] : item.changes) {
      if (place.find("/buffer/") == std::string::npos) continue;
      if (what) {
        buffered_.emplace(place, index);
      } else if (const auto found = buffered_.find(place); found != buffered_.end()) {
        if (found->second != index) link("drain", found->second, index);
        buffered_.erase(found);
      }
    }
  }

  void sent(const TimelineRow& row, std::size_t index) {
    const std::string_view what = row.what;
    if (what.starts_with("send interrupt to") || what.starts_with("invlpgb")) {
      const bool is_broadcast = what.starts_with("invlpgb");
      for (CpuId cpu = 0; cpu < kMaxCpus; ++cpu) {
        // No number goes on behind a name that ends here.
        const std::string target = " cpu" + std::to_string(cpu);
        if (is_broadcast) {
          broadcasts_[{row.cpu, cpu}].push_back(index);
        } else if ((row.what + " ").find(target + " ") != std::string::npos) {
          interrupts_[cpu].push_back(index);
        }
      }
    } else if (what.starts_with("interrupt: call function")) {
      for (const std::size_t from : interrupts_[row.cpu]) link("interrupt", from, index);
      interrupts_[row.cpu].clear();
    } else if (what.ends_with("'s invlpgb arrives")) {
      const auto issuer = static_cast<CpuId>(std::atoi(row.what.c_str() + 3));
      auto& waiting = broadcasts_[{issuer, row.cpu}];
      if (waiting.empty()) return;
      link("broadcast", waiting.front(), index);
      waiting.erase(waiting.begin());
    }
  }

  Json list_{'['};
  std::map<std::string, std::size_t> buffered_;
  std::map<CpuId, std::vector<std::size_t>> interrupts_;
  std::map<std::pair<CpuId, CpuId>, std::vector<std::size_t>> broadcasts_;
};

std::string items_json(const std::vector<TimelineRow>& rows, const Story& story) {
  Json items('[');
  for (std::size_t i = 0; i < rows.size(); ++i) {
    items.raw("", item_json(rows[i], i < story.items.size() ? &story.items[i] : nullptr));
  }
  return items.text();
}

std::string unheeded_json(const host::Machine& machine, const Scenario& scenario) {
  Json list('[');
  for (const Unheeded& one : unheeded(machine, scenario)) {
    list.raw("", Json('{').number("deviation", one.deviation).add("why", one.why).text());
  }
  return list.text();
}

}  // namespace

std::string json_of(Runner& runner, const Story& story, const std::string& file) {
  const host::Machine& machine = runner.machine();
  const Header& header = story.scenario.header;
  std::vector<TimelineRow> rows = rows_of(story);
  mark_conflict(runner.report(), rows);
  Json start('{');
  for (const auto& [place, what] : story.start) start.add(place, what);
  char hash[20];
  std::snprintf(hash, sizeof hash, "%016llx",
                static_cast<unsigned long long>(machine.recorder().hash()));
  return Json('{')
             .number("version", 1)
             .add("file", file)
             .add("title", title(runner.report()))
             .number("cpus", header.cpus)
             .add("configuration", describe(header))
             .add("memory", describe_memory(header))
             .raw("scenario", scenario_json(story.scenario))
             .raw("start", start.text())
             .raw("items", items_json(rows, story))
             .raw("links", Links(story).text())
             .raw("verdict", verdict_json(runner.report()))
             .raw("unheeded", unheeded_json(machine, story.scenario))
             .raw("limits", list_of(limits_of(machine)))
             .number("steps", machine.step())
             .add("trace", hash)
             .text() +
         "\n";
}

}  // namespace shootdown::fuzz
