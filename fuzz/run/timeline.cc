#include "fuzz/run/timeline.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdio>
#include <string_view>

namespace shootdown::fuzz {

namespace {

constexpr unsigned kMarkWidth = 7;
constexpr unsigned kStepWidth = 7;
constexpr unsigned kPlaceWidth = 40;

/// Cuts `text` into pieces that fit a column, at spaces where possible.
std::vector<std::string> wrap(std::string_view text, unsigned width) {
  std::vector<std::string> lines;
  while (text.size() > width) {
    std::size_t cut = text.rfind(' ', width);
    if (cut == std::string_view::npos || cut < width / 3) cut = width;
    lines.emplace_back(text.substr(0, cut));
    text.remove_prefix(cut);
    text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
    if (text.empty()) return lines;
  }
  lines.emplace_back(text);
  return lines;
}

std::string padded(std::string_view text, std::size_t width) {
  std::string result(text.substr(0, width));
  result.resize(width, ' ');
  return result;
}

std::string place(const host::Site& where) {
  const std::string_view file = where.file_name();
  if (file.empty()) return "";
  const std::size_t slash = file.find_last_of('/');
  const std::string_view name = slash == std::string_view::npos ? file : file.substr(slash + 1);
  return std::string(name) + ":" + std::to_string(where.line());
}

/// The bare name in what a compiler says of a function, such as "bool ns::f(A<H> &) [H = B]". The
/// code of a lambda belongs to the function around it, which stands in front of "(anonymous".
std::string function_name(const host::Site& where) {
  std::string_view text = where.function_name();
  text = text.substr(0, std::min({text.find('('), text.find(" [")}));
  while (text.ends_with("::")) text.remove_suffix(2);
  std::size_t begin = text.size();
  while (begin > 0 && (std::isalnum(static_cast<unsigned char>(text[begin - 1])) != 0 ||
                       text[begin - 1] == '_' || text[begin - 1] == '~')) {
    --begin;
  }
  return std::string(text.substr(begin));
}

std::string rtrim(std::string line) {
  line.erase(line.find_last_not_of(' ') + 1);
  return line;
}

std::string describe(const char* label, const host::Event& event) {
  if (event.what.empty()) return "";
  return std::string("  ") + label + " step " + std::to_string(event.step) + ", cpu" +
         std::to_string(event.cpu) + ": " + event.what + "\n";
}

// ---- Marks

bool may_cache(std::string_view what) {
  return what.starts_with("speculative") || what.starts_with("load from") ||
         what.starts_with("store to") || what.starts_with("fetch from") ||
         what.find("walks") != std::string_view::npos;
}

/// The row of the event: the CPU's last one at its step or, if there is none, before it. Of several
/// at one step that which caches something, if the event is about that.
TimelineRow* row_of(const host::Event& event, std::vector<TimelineRow>& rows) {
  TimelineRow* found = nullptr;
  bool caches = false;
  for (TimelineRow& row : rows) {
    if (row.mark == Mark::deviation || row.cpu != event.cpu || row.step > event.step) continue;
    const bool is_later = found == nullptr || row.step > found->step;
    const bool row_caches = event.what.find("cached") != std::string::npos && may_cache(row.what);
    if (!is_later && caches && !row_caches) continue;
    found = &row;
    caches = row_caches;
  }
  return found;
}

void mark(TimelineRow* row, Mark as) {
  if (row != nullptr) row->mark = row->mark == Mark::first ? Mark::both : as;
}

// ---- Colours, for terminals

constexpr const char* kReset = "\033[0m";

const char* colour_of(const TimelineRow& row) {
  switch (row.mark) {
    case Mark::first:
    case Mark::then:
    case Mark::both:
      return "\033[1;31m";
    case Mark::deviation:
      return "\033[33m";
    case Mark::none:
      break;
  }
  return row.what.starts_with("== ") ? "\033[1m" : "";
}

/// Writes rows, one after the other.
class Writer {
 public:
  Writer(CpuId cpus, const TimelineOptions& options)
      : cpus_(cpus),
        width_(options.column_width),
        most_(options.line_width),
        colour_(options.colour) {
    text_ = std::string(kMarkWidth, ' ') + padded("step", kStepWidth);
    for (CpuId cpu = 0; cpu < cpus; ++cpu) {
      text_ += padded("cpu" + std::to_string(cpu), width_ + 2);
    }
    text_ += "where\n";
  }

  void left_out(std::size_t count) {
    if (count != 0) text_ += "  ... " + std::to_string(count) + " lines left out\n";
  }

  void row(const TimelineRow& row) {
    const std::size_t before = static_cast<std::size_t>(row.cpu) * (width_ + 2);
    const std::size_t rest = static_cast<std::size_t>(cpus_ - row.cpu) * (width_ + 2);
    const std::string left = padded(name(row.mark), kMarkWidth) +
                             padded(std::to_string(row.step), kStepWidth) +
                             std::string(before, ' ');
    const std::vector<std::string> lines = wrap(row.what, width_);
    const std::string where = place_of(row, left.size() + rest);
    line(colour_of(row), left + padded(lines[0], where.empty() ? lines[0].size() : rest) + where);
    const std::string indent(kMarkWidth + kStepWidth + before + 2, ' ');
    for (std::size_t i = 1; i < lines.size(); ++i) line(colour_of(row), indent + lines[i]);
    for (const std::string& note : row.notes) {
      for (const std::string& piece : wrap("[" + note + "]", width_ - 2)) {
        line("\033[2m", indent + piece);
      }
    }
  }

  [[nodiscard]] std::string text() && { return std::move(text_); }

 private:
  /// As much of the place as fits behind the columns.
  [[nodiscard]] std::string place_of(const TimelineRow& row, std::size_t before) const {
    const std::string whole = row.where + (row.function.empty() ? "" : " " + row.function);
    for (const std::string& text : {whole, row.where}) {
      if (most_ == 0 || before + text.size() <= most_) return text;
    }
    return "";
  }

  void line(const char* colour, std::string text) {
    text = rtrim(std::move(text));
    const bool coloured = colour_ && *colour != '\0';
    text_ += coloured ? colour + text + kReset : text;
    text_ += "\n";
  }

  CpuId cpus_;
  unsigned width_;
  unsigned most_;
  bool colour_;
  std::string text_;
};

bool is_never_left_out(const TimelineRow& row) {
  return row.mark != Mark::none || row.what.starts_with("== ");
}

}  // namespace

const char* name(Mark mark) {
  constexpr std::array<const char*, 5> kNames{"", "first", "then", "both", "dev"};
  return kNames[static_cast<unsigned>(mark)];
}

std::vector<TimelineRow> rows_of(const host::Machine& machine, const TimelineOptions& options) {
  std::vector<TimelineRow> rows;
  const auto& timeline = machine.recorder().timeline();
  for (std::size_t i = 0; i < timeline.size(); ++i) {
    const host::TimelineEntry& entry = timeline[i];
    const std::string other = options.place ? options.place(i) : "";
    rows.push_back({.step = entry.step,
                    .cpu = entry.cpu,
                    .what = entry.what,
                    .where = other.empty() ? place(entry.where) : other,
                    .function = other.empty() && *entry.where.file_name() != '\0'
                                    ? function_name(entry.where)
                                    : ""});
  }
  return rows;
}

void mark_conflict(const host::Report& report, std::vector<TimelineRow>& rows) {
  if (!report.failed() || rows.empty()) return;
  const host::Event& then = report.second;
  std::uint64_t last = 0;
  for (const TimelineRow& row : rows) {
    if (row.mark != Mark::deviation) last = std::max(last, row.step);
  }
  if (!then.what.empty() && then.step > last) {
    rows.push_back({.step = then.step, .cpu = then.cpu, .what = "[" + then.what + "]"});
  }
  if (!report.first.what.empty()) mark(row_of(report.first, rows), Mark::first);
  if (!then.what.empty()) mark(row_of(then, rows), Mark::then);
}

std::string interleaving(const std::vector<TimelineRow>& rows, CpuId cpus,
                         const TimelineOptions& options) {
  std::size_t others = 0;
  for (const TimelineRow& row : rows) others += is_never_left_out(row) ? 0 : 1;
  std::size_t skip = 0;
  if (options.last_lines != 0 && others > options.last_lines) skip = others - options.last_lines;
  Writer writer(cpus, options);
  std::size_t skipped = 0;
  for (const TimelineRow& row : rows) {
    if (skip != 0 && !is_never_left_out(row)) {
      --skip;
      ++skipped;
      continue;
    }
    writer.left_out(std::exchange(skipped, 0));
    writer.row(row);
  }
  return std::move(writer).text();
}

std::string interleaving(const host::Machine& machine, const TimelineOptions& options) {
  std::vector<TimelineRow> rows = rows_of(machine, options);
  mark_conflict(machine.report(), rows);
  return interleaving(rows, machine.cpu_count(), options);
}

unsigned column_width(unsigned line_width, CpuId cpus) {
  constexpr unsigned kNarrowest = 16;
  constexpr unsigned kWidest = 60;
  const unsigned fixed = kMarkWidth + kStepWidth + kPlaceWidth + (2 * cpus);
  return std::clamp((std::max(line_width, fixed) - fixed) / cpus, kNarrowest, kWidest);
}

std::string title(const host::Report& report) {
  if (!report.failed()) return "ok";
  return std::string(report.name()) + " " + report.title;
}

std::vector<std::string> limits_of(const host::Machine& machine) {
  std::vector<std::string> texts;
  for (unsigned i = 0; i < host::kLimits; ++i) {
    if (machine.limits().test(static_cast<host::Limit>(i))) {
      texts.emplace_back(host::kLimitTexts[i]);
    }
  }
  return texts;
}

std::string verdict(const host::Machine& machine, const host::Report& report) {
  std::string text = "VERDICT\n";
  if (!report.failed()) {
    text += "  ok: every CPU finished and no oracle fired\n";
  } else {
    text += "  " + title(report) + "\n";
    text += "  " + report.detail + "\n";
    text += "  The promise: " + std::string(report.kind->promise) + ".\n";
    text += describe("first: ", report.first);
    text += describe("then:  ", report.second);
  }
  char numbers[96];
  std::snprintf(numbers, sizeof numbers, "  %llu visible operations, trace %016llx\n",
                static_cast<unsigned long long>(machine.step()),
                static_cast<unsigned long long>(machine.recorder().hash()));
  text += numbers;
  for (const std::string& limit : limits_of(machine)) text += "  reached: " + limit + "\n";
  return text;
}

}  // namespace shootdown::fuzz
