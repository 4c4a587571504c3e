// Pieces of a litmus file, which know where in it they stand.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace shootdown::host::litmus {

/// Thrown inside the parser and caught by `parse`.
struct SyntaxError {
  std::size_t at;  // characters of the file before it
  std::string what;
};

struct Piece {
  std::string_view text;
  std::size_t at{0};  // likewise

  [[nodiscard]] bool empty() const { return text.empty(); }
  /// The part from `from`, at most `count` characters of it.
  [[nodiscard]] Piece part(std::size_t from, std::size_t count = std::string_view::npos) const;
  /// Without white space at both ends.
  [[nodiscard]] Piece trimmed() const;
};

/// Line and column, both from 1.
struct Position {
  unsigned line{0};
  unsigned column{0};
};
[[nodiscard]] Position position(std::string_view text, std::size_t at);

/// Blanks out `(* comments *)`, which nest, in the functions of a test in C its comments instead, a
/// byte-order mark and carriage returns, and keeps everything else where it is. Throws SyntaxError,
/// for bytes that no text has, too.
[[nodiscard]] std::string without_comments(std::string_view text);

[[nodiscard]] std::string lower(std::string_view text);
[[nodiscard]] bool is_name_start(char character);
[[nodiscard]] bool is_name_part(char character);
[[nodiscard]] bool is_name(std::string_view text);

/// Splits at `separator` outside of brackets, and trims. An empty text has no pieces.
[[nodiscard]] std::vector<Piece> split(Piece piece, char separator);
[[nodiscard]] std::vector<Piece> split_lines(Piece piece);
/// Splits at white space.
[[nodiscard]] std::vector<Piece> words(Piece piece);

/// Decimal or 0x..., with a sign. Nothing if it does not fit into 64 bits.
[[nodiscard]] std::optional<std::int64_t> number(std::string_view text);

/// In quotes, for error messages: the text on one line and not too long.
[[nodiscard]] std::string quoted(std::string_view text);

}  // namespace shootdown::host::litmus
