#include "litmus/text.h"

#include <algorithm>
#include <cctype>
#include <charconv>

namespace shootdown::host::litmus {

namespace {

bool is_space(char character) { return std::isspace(static_cast<unsigned char>(character)) != 0; }

}  // namespace

Piece Piece::part(std::size_t from, std::size_t count) const {
  return {.text = text.substr(from, count), .at = at + from};
}

Piece Piece::trimmed() const {
  std::size_t first = 0;
  while (first < text.size() && is_space(text[first])) ++first;
  std::size_t last = text.size();
  while (last > first && is_space(text[last - 1])) --last;
  return part(first, last - first);
}

Position position(std::string_view text, std::size_t at) {
  Position found{.line = 1, .column = 1};
  for (const char character : text.substr(0, at)) {
    found = character == '\n' ? Position{.line = found.line + 1, .column = 1}
                              : Position{.line = found.line, .column = found.column + 1};
  }
  return found;
}

std::string without_comments(std::string_view text) {
  constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
  std::string result(text);
  std::size_t depth = 0;
  std::size_t opened = 0;
  std::size_t i = 0;
  if (text.starts_with(kByteOrderMark)) {
    i = kByteOrderMark.size();
    std::fill_n(result.begin(), i, ' ');
  }
  for (; i < text.size(); ++i) {
    const std::string_view two = text.substr(i, 2);
    const bool blank = text[i] == '\n' || text[i] == '\r' || text[i] == '\t';
    if (!blank && std::iscntrl(static_cast<unsigned char>(text[i])) != 0) {
      throw SyntaxError{
          .at = i,
          .what = "a byte of value " + std::to_string(text[i]) + "; a litmus test is text"};
    }
    if (two == "(*") {
      if (depth++ == 0) opened = i;
      result[i] = result[i + 1] = ' ';
      ++i;
    } else if (two == "*)" && depth > 0) {
      --depth;
      result[i] = result[i + 1] = ' ';
      ++i;
    } else if ((depth > 0 && text[i] != '\n') || text[i] == '\r') {
      result[i] = ' ';
    }
  }
  if (depth > 0) throw SyntaxError{.at = opened, .what = "this comment has no end"};
  return result;
}

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& character : result) {
    character = static_cast<char>(std::tolower(static_cast<unsigned char>(character)));
  }
  return result;
}

bool is_name_start(char character) {
  return std::isalpha(static_cast<unsigned char>(character)) != 0 || character == '_' ||
         character == '.';
}

bool is_name_part(char character) {
  return is_name_start(character) || std::isdigit(static_cast<unsigned char>(character)) != 0;
}

bool is_name(std::string_view text) {
  return !text.empty() && is_name_start(text[0]) &&
         std::all_of(text.begin(), text.end(), is_name_part);
}

std::vector<Piece> split(Piece piece, char separator) {
  std::vector<Piece> pieces;
  if (piece.trimmed().empty()) return pieces;
  std::size_t start = 0;
  int depth = 0;
  for (std::size_t i = 0; i < piece.text.size(); ++i) {
    const char character = piece.text[i];
    if (character == '(' || character == '[' || character == '{') ++depth;
    if (character == ')' || character == ']' || character == '}') --depth;
    if (character != separator || depth > 0) continue;
    pieces.push_back(piece.part(start, i - start).trimmed());
    start = i + 1;
  }
  pieces.push_back(piece.part(start).trimmed());
  return pieces;
}

std::vector<Piece> split_lines(Piece piece) {
  std::vector<Piece> lines;
  while (!piece.empty()) {
    const std::size_t end = piece.text.find('\n');
    lines.push_back(piece.part(0, end));
    piece = end == std::string_view::npos ? Piece{} : piece.part(end + 1);
  }
  return lines;
}

std::vector<Piece> words(Piece piece) {
  std::vector<Piece> result;
  std::size_t i = 0;
  while (i < piece.text.size()) {
    while (i < piece.text.size() && is_space(piece.text[i])) ++i;
    const std::size_t start = i;
    while (i < piece.text.size() && !is_space(piece.text[i])) ++i;
    if (i > start) result.push_back(piece.part(start, i - start));
  }
  return result;
}

std::optional<std::int64_t> number(std::string_view text) {
  bool negative = false;
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) {
    negative = text[0] == '-';
    text.remove_prefix(1);
  }
  int base = 10;
  if (text.starts_with("0x") || text.starts_with("0X")) {
    base = 16;
    text.remove_prefix(2);
  }
  std::uint64_t value = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value, base);
  constexpr std::uint64_t kMostNegative = std::uint64_t{1} << 63U;
  if (text.empty() || result.ec != std::errc() || result.ptr != text.data() + text.size() ||
      (negative && value > kMostNegative)) {
    return {};
  }
  return static_cast<std::int64_t>(negative ? 0 - value : value);
}

std::string quoted(std::string_view text) {
  constexpr std::size_t kLongest = 60;
  std::string result = "'";
  for (const char character : text.substr(0, kLongest)) {
    result += std::isprint(static_cast<unsigned char>(character)) != 0 ? character : ' ';
  }
  return result + (text.size() > kLongest ? "...'" : "'");
}

}  // namespace shootdown::host::litmus
