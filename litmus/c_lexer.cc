#include "litmus/c_lexer.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <string>

namespace shootdown::host::litmus {

namespace {

bool is_word_part(char character) {
  return std::isalnum(static_cast<unsigned char>(character)) != 0 || character == '_';
}

std::size_t symbol_length(std::string_view text) {
  static constexpr std::array<std::string_view, 14> kLong{"==", "!=", "<=", ">=", "&&", "||", "++",
                                                          "--", "+=", "-=", "&=", "|=", "^=", "->"};
  const bool is_long = std::any_of(kLong.begin(), kLong.end(), [&](std::string_view symbol) {
    return text.starts_with(symbol);
  });
  return is_long ? 2 : 1;
}

}  // namespace

CToken CLexer::peek() const {
  if (rest_.empty()) return {.kind = CTokenKind::end, .piece = rest_};
  const std::string_view text = rest_.text;
  if (!is_word_part(text[0])) {
    return {.kind = CTokenKind::symbol, .piece = rest_.part(0, symbol_length(text))};
  }
  std::size_t length = 0;
  while (length < text.size() && is_word_part(text[length])) ++length;
  const bool digit = std::isdigit(static_cast<unsigned char>(text[0])) != 0;
  return {.kind = digit ? CTokenKind::number : CTokenKind::name, .piece = rest_.part(0, length)};
}

CToken CLexer::peek_second() const {
  CLexer copy = *this;
  copy.take();
  return copy.peek();
}

CToken CLexer::take() {
  const CToken token = peek();
  rest_ = rest_.part(token.piece.text.size()).trimmed();
  return token;
}

bool CLexer::take_if(std::string_view symbol) {
  if (!peek().is(symbol)) return false;
  take();
  return true;
}

void CLexer::expect(std::string_view symbol) {
  if (take_if(symbol)) return;
  const CToken token = peek();
  throw SyntaxError{
      .at = token.piece.at,
      .what = "'" + std::string(symbol) + "' is expected, not " +
              (token.kind == CTokenKind::end ? "the end of the file" : quoted(token.piece.text))};
}

}  // namespace shootdown::host::litmus
