#include "litmus/parse.h"

#include <algorithm>
#include <array>
#include <utility>

#include "litmus/builder.h"
#include "litmus/c_program.h"

namespace shootdown::host::litmus {

namespace {

/// "X86 NAME", perhaps with "(NAME IN PRINT)" and ';', and what comes after that.
Piece take_header(Builder& builder, Piece text) {
  text = text.trimmed();
  const std::size_t end = std::min(text.text.find_first_of("\n{"), text.text.size());
  const std::vector<Piece> head = words(text.part(0, end));
  if (head.size() < 2) {
    throw SyntaxError{.at = text.at,
                      .what = "the first line must be 'X86 NAME', 'X86_64 NAME' or 'C NAME'"};
  }
  std::string arch = lower(head[0].text);
  std::transform(arch.begin(), arch.end(), arch.begin(), [](char c) {
    return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  });
  if (arch != "X86" && arch != "X86_64" && arch != "C") {
    throw SyntaxError{.at = head[0].at,
                      .what = "architecture " + quoted(head[0].text) +
                              " is not supported; X86, X86_64 and C are"};
  }
  builder.test.arch = arch;
  builder.test.name = head[1].text;
  Piece rest = text.part(head[1].at + head[1].text.size() - text.at).trimmed();
  if (rest.text.starts_with("(")) {
    const std::size_t close = rest.text.substr(0, rest.text.find('\n')).find(')');
    if (close == std::string_view::npos) {
      throw SyntaxError{.at = rest.at, .what = "')' is missing behind the test's name"};
    }
    rest = rest.part(close + 1).trimmed();
  }
  if (rest.text.starts_with(";")) rest = rest.part(1).trimmed();
  const bool ends = rest.at > text.at + text.text.find('\n') || rest.text.starts_with("{") ||
                    rest.text.starts_with("\"");
  if (ends) return rest;
  throw SyntaxError{.at = rest.at,
                    .what = quoted(rest.text.substr(0, rest.text.find('\n'))) +
                            ": the first line is '" + std::string(head[0].text) +
                            " NAME', and a string may follow"};
}

/// Where the program's table ends: at a keyword that begins a line or follows a row.
std::size_t end_of_program(std::string_view text) {
  static constexpr std::array<std::string_view, 6> kWords{"exists", "forall", "locations",
                                                          "filter", "final",  "observed"};
  bool at_start = true;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (at_start) {
      std::size_t word = i;
      if (text[i] == '~') word = std::min(text.find_first_not_of(" \t", i + 1), text.size());
      for (const std::string_view keyword : kWords) {
        if (lower(text.substr(word, keyword.size())) != keyword) continue;
        const std::size_t after = word + keyword.size();
        const bool whole = after >= text.size() || !is_name_part(text[after]);
        const std::size_t next = text.find_first_not_of(" \t\n", after);
        // A label may have that name.
        if (whole && (next == std::string_view::npos || text[next] != ':')) return i;
      }
    }
    if (text[i] == '\n' || text[i] == ';') {
      at_start = true;
    } else if (text[i] != ' ' && text[i] != '\t') {
      at_start = false;
    }
  }
  return text.size();
}

/// The '}' that matches the '{' at the start.
std::size_t end_of_block(Piece text) {
  int depth = 0;
  for (std::size_t i = 0; i < text.text.size(); ++i) {
    if (text.text[i] == '{') ++depth;
    if (text.text[i] == '}' && --depth == 0) return i;
  }
  throw SyntaxError{.at = text.at, .what = "the initial state has no '}'"};
}

/// Where things stand that are told of later.
void locate(std::string_view text, Test& test) {
  for (Warning& warning : test.warnings) {
    const Position where = position(text, warning.at);
    warning.line = where.line;
    warning.column = where.column;
  }
  for (Column& column : test.columns) {
    for (Instruction& made : column.code) {
      const Position where = position(text, made.at);
      made.line = where.line;
      made.column = where.column;
    }
  }
}

Test parse_clean(const std::string& clean) {
  Builder builder;
  Piece rest = builder.metadata(take_header(builder, {.text = clean}));
  const std::size_t close = end_of_block(rest);
  builder.initial_state(rest.part(1, close - 1));
  rest = rest.part(close + 1).trimmed();
  if (rest.text.starts_with(";")) rest = rest.part(1);
  const Piece program = rest.trimmed();
  if (builder.test.is_c()) {
    rest = CProgram(builder, rest).parse();
  } else {
    const std::size_t end = end_of_program(rest.text);
    builder.program(rest.part(0, end).trimmed());
    rest = rest.part(end);
  }
  builder.final_part(rest);
  builder.finish(program);
  locate(clean, builder.test);
  return std::move(builder.test);
}

}  // namespace

std::optional<Test> parse(std::string_view text, ParseError& error) {
  try {
    if (text.size() > kMostFileBytes) {
      throw SyntaxError{.at = 0,
                        .what = "the file is too long for a litmus test, which has " +
                                std::to_string(kMostFileBytes) + " bytes at most"};
    }
    return parse_clean(without_comments(text));
  } catch (const SyntaxError& wrong) {
    const Position where = position(text, wrong.at);
    error = {.line = where.line, .column = where.column, .what = wrong.what};
    return {};
  }
}

}  // namespace shootdown::host::litmus
