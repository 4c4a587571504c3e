// What stands between the name and the initial state: strings, and lines as "Key=Value".
#include <algorithm>
#include <array>

#include "litmus/builder.h"
#include "litmus/run.h"

namespace shootdown::host::litmus {

namespace {

/// The lines that mean something here. All others are herd's, or remarks of the author.
constexpr std::array<std::string_view, 9> kOurs{"Expect", "Fills", "Evictions", "Pcid",  "Hardware",
                                                "Apic",   "Far",   "Walks",     "Errata"};

/// The words differ by one character, or in upper and lower case.
bool is_near(std::string_view found, std::string_view known) {
  const std::string a = lower(found);
  const std::string b = lower(known);
  const std::size_t shorter = std::min(a.size(), b.size());
  std::size_t front = 0;
  while (front < shorter && a[front] == b[front]) ++front;
  std::size_t back = 0;
  while (back < shorter - front && a[a.size() - 1 - back] == b[b.size() - 1 - back]) ++back;
  const std::size_t longest = std::max(a.size(), b.size());
  return longest - front - back <= 1;
}

/// The line names one or several of the table's.
template <class Table>
void demand_words(Piece value, const Table& table, const char* key, const char* what) {
  if (value.empty()) throw SyntaxError{.at = value.at, .what = std::string(key) + "= names none"};
  for (const Piece& name : words(value)) {
    std::string known;
    bool found = false;
    for (const auto& one : table) {
      found = found || one.name == name.text;
      known += (known.empty() ? "" : ", ") + std::string(one.name);
    }
    if (found) continue;
    throw SyntaxError{.at = name.at,
                      .what = quoted(name.text) + " is no " + what + "; they are " + known};
  }
}

}  // namespace

Piece Builder::metadata(Piece rest) {
  if (rest.text.find('{') == std::string_view::npos) {
    throw SyntaxError{.at = rest.at, .what = "there is no initial state '{ ... }'"};
  }
  for (rest = rest.trimmed(); !rest.text.starts_with("{"); rest = rest.trimmed()) {
    std::size_t end = 0;
    if (rest.text.starts_with("\"")) {
      // A string may have several lines.
      end = rest.text.find('"', 1);
      if (end == std::string_view::npos) {
        throw SyntaxError{.at = rest.at, .what = "this string has no end"};
      }
    } else {
      end = std::min(rest.text.find('\n'), rest.text.size() - 1);
      metadata_line(rest.part(0, end + 1).trimmed());
    }
    rest = rest.part(end + 1);
    if (rest.text.find('{') == std::string_view::npos) {
      throw SyntaxError{.at = rest.at, .what = "there is no initial state '{ ... }'"};
    }
  }
  check_metadata();
  return rest;
}

void Builder::metadata_line(Piece line) {
  const std::size_t equals = line.text.find('=');
  if (line.text.substr(0, equals).find('{') != std::string_view::npos ||
      equals == std::string_view::npos || equals == 0) {
    throw SyntaxError{.at = line.at,
                      .what = quoted(line.text) +
                              ": before the initial state stand strings and lines as Key=Value"};
  }
  const Piece key = line.part(0, equals).trimmed();
  const Piece value = line.part(equals + 1).trimmed();
  const bool ours = std::find(kOurs.begin(), kOurs.end(), key.text) != kOurs.end();
  for (const std::string_view known : kOurs) {
    if (ours || !is_near(key.text, known)) continue;
    throw SyntaxError{.at = key.at,
                      .what = quoted(key.text) + ": did you mean " + quoted(known) + "?"};
  }
  if (ours && test.find(std::string(key.text)) != nullptr) {
    throw SyntaxError{.at = key.at, .what = "the line " + quoted(key.text) + " is there twice"};
  }
  test.metadata.emplace_back(key.text, value.text);
  lines_.emplace_back(key, value);
}

void Builder::check_metadata() const {
  for (const std::string_view key : {"Fills", "Evictions", "Pcid"})
    demand_value(key, {"on", "off"});
  demand_value("Apic", {"xapic", "x2apic"});
  demand_value("Walks", {"early", "whole"});
  for (const auto& [key, value] : lines_) {
    std::string error;
    if (key.text == "Expect" && !expectations(test, error)) {
      throw SyntaxError{.at = value.at, .what = error};
    }
    if (key.text == "Errata") demand_words(value, kErrata, "Errata", "erratum");
    if (key.text == "Hardware")
      demand_words(value, kLatitudes, "Hardware", "property of the processor");
  }
}

void Builder::demand_value(std::string_view key,
                           std::initializer_list<std::string_view> values) const {
  for (const auto& [name, value] : lines_) {
    if (name.text != key || std::find(values.begin(), values.end(), value.text) != values.end()) {
      continue;
    }
    throw SyntaxError{.at = value.at,
                      .what = quoted(value.text) + " is no value of " + std::string(key) +
                              "; it is " + std::string(*values.begin()) + " or " +
                              std::string(*(values.begin() + 1))};
  }
}

}  // namespace shootdown::host::litmus
