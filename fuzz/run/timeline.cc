#include "fuzz/run/timeline.h"

#include <algorithm>
#include <cstdio>
#include <string_view>
#include <vector>

namespace shootdown::fuzz {

namespace {

constexpr unsigned kStepWidth = 7;

/// Cuts `text` into pieces that fit a column, at mms where possible.
std::vector<std::string> wrap(std::string_view text, unsigned width) {
  std::vector<std::string> lines;
  while (text.size() > width) {
    std::size_t cut = text.rfind(' ', width);
    if (cut == std::string_view::npos || cut < width / 3) cut = width;
    lines.emplace_back(text.substr(0, cut));
    text.remove_prefix(cut);
    text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
    if (text.empty()) return lines;
    text = text.substr(0);
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

std::string rtrim(std::string line) {
  line.erase(line.find_last_not_of(' ') + 1);
  return line;
}

std::string describe(const char* label, const host::Event& event) {
  if (event.what.empty()) return "";
  return std::string("  ") + label + " step " + std::to_string(event.step) + ", cpu" +
         std::to_string(event.cpu) + ": " + event.what + "\n";
}

/// Which limits of the model the run has reached: a run that did may show less than it seems to.
std::string limits_of(const host::Machine& machine) {
  std::string text;
  for (unsigned i = 0; i < host::kLimits; ++i) {
    if (!machine.limits().test(static_cast<host::Limit>(i))) continue;
    text.append("  reached: ").append(host::kLimitTexts[i]).append("\n");
  }
  return text;
}

}  // namespace

std::string interleaving(const host::Machine& machine, const TimelineOptions& options) {
  const unsigned width = options.column_width;
  std::string text = padded("step", kStepWidth);
  for (CpuId cpu = 0; cpu < machine.cpu_count(); ++cpu) {
    text += padded("cpu" + std::to_string(cpu), width + 2);
  }
  text += "where\n";
  const auto& timeline = machine.recorder().timeline();
  std::size_t first = 0;
  if (options.last_lines != 0 && timeline.size() > options.last_lines) {
    first = timeline.size() - options.last_lines;
    text += "  ... " + std::to_string(first) + " earlier lines\n";
  }
  for (std::size_t i = first; i < timeline.size(); ++i) {
    const host::TimelineEntry& entry = timeline[i];
    const std::string other = options.place ? options.place(i) : "";
    const std::string indent(static_cast<std::size_t>(entry.cpu) * (width + 2), ' ');
    const std::vector<std::string> lines = wrap(entry.what, width);
    const std::size_t rest =
        static_cast<std::size_t>(machine.cpu_count() - entry.cpu) * (width + 2);
    text += rtrim(padded(std::to_string(entry.step), kStepWidth) + indent + padded(lines[0], rest) +
                  (other.empty() ? place(entry.where) : other)) +
            "\n";
    for (std::size_t line = 1; line < lines.size(); ++line) {
      text += std::string(kStepWidth, ' ') + indent + "  " + lines[line] + "\n";
    }
  }
  return text;
}

std::string title(const host::Report& report) {
  if (!report.failed()) return "ok";
  return std::string(report.name()) + " " + report.title;
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
  return text + numbers + limits_of(machine);
}

}  // namespace shootdown::fuzz
