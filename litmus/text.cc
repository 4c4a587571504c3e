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

namespace {

/// What begins and ends comments where the text has come to.
struct CommentStyle {
  std::string_view open;
  std::string_view close;
  bool nests;
};
constexpr CommentStyle kHerds{.open = "(*", .close = "*)", .nests = true};
constexpr CommentStyle kOfC{.open = "/*", .close = "*/", .nests = false};
constexpr CommentStyle kLineOfC{.open = "//", .close = "\n", .nests = false};

/// In a test in C, "(*x" is no comment inside a function, and "//" is one behind the initial state
/// only.
class CommentFinder {
 public:
  explicit CommentFinder(bool is_c) : is_c_(is_c) {}

  void pass(char character) {
    if (character == '{') ++depth_;
    if (character != '}' || depth_ == 0) return;
    if (--depth_ == 0) ++blocks_;
  }
  [[nodiscard]] const CommentStyle* opens(std::string_view text) const {
    const bool in_function = is_c_ && blocks_ > 0 && depth_ > 0;
    if (!in_function && text.starts_with(kHerds.open)) return &kHerds;
    if (!is_c_ || blocks_ == 0) return nullptr;
    if (text.starts_with(kOfC.open)) return &kOfC;
    return text.starts_with(kLineOfC.open) ? &kLineOfC : nullptr;
  }

 private:
  bool is_c_;
  std::size_t depth_{0};
  std::size_t blocks_{0};
};

/// The end of the comment at `at`, behind its last character.
std::size_t end_of_comment(std::string_view text, std::size_t at, const CommentStyle& style) {
  std::size_t depth = 0;
  for (std::size_t i = at; i < text.size(); ++i) {
    const std::string_view rest = text.substr(i);
    if (rest.starts_with(style.open) && (depth == 0 || style.nests)) {
      ++depth;
      i += style.open.size() - 1;
    } else if (rest.starts_with(style.close) && --depth == 0) {
      return i + style.close.size();
    } else if (rest.starts_with(style.close)) {
      i += style.close.size() - 1;
    }
  }
  if (style.close == kLineOfC.close) return text.size();
  throw SyntaxError{.at = at, .what = "this comment has no end"};
}

/// Whether the first line is that of a test in C.
bool is_c_test(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    if (text.substr(i).starts_with(kHerds.open)) {
      i = end_of_comment(text, i, kHerds);
    } else if (is_space(text[i])) {
      ++i;
    } else {
      const bool is_letter = text[i] == 'C' || text[i] == 'c';
      return is_letter && i + 1 < text.size() && is_space(text[i + 1]);
    }
  }
  return false;
}

}  // namespace

std::string without_comments(std::string_view text) {
  constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
  std::string result(text);
  std::size_t i = 0;
  if (text.starts_with(kByteOrderMark)) {
    i = kByteOrderMark.size();
    std::fill_n(result.begin(), i, ' ');
  }
  for (std::size_t at = i; at < text.size(); ++at) {
    const bool blank = text[at] == '\n' || text[at] == '\r' || text[at] == '\t';
    if (!blank && std::iscntrl(static_cast<unsigned char>(text[at])) != 0) {
      throw SyntaxError{
          .at = at,
          .what = "a byte of value " + std::to_string(text[at]) + "; a litmus test is text"};
    }
    if (text[at] == '\r') result[at] = ' ';
  }
  CommentFinder finder(is_c_test(text.substr(i)));
  while (i < text.size()) {
    const CommentStyle* const style = finder.opens(text.substr(i));
    if (style == nullptr) {
      finder.pass(text[i++]);
      continue;
    }
    for (const std::size_t end = end_of_comment(text, i, *style); i < end; ++i) {
      if (text[i] != '\n') result[i] = ' ';
    }
  }
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
