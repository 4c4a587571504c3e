// Pieces of a litmus file, with the lines they stand on.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace shootdown::host::litmus {

/// Thrown inside the parser and caught by `parse`.
struct SyntaxError {
  unsigned line;
  std::string what;
};

struct Piece {
  std::string_view text;
  unsigned line{1};

  [[nodiscard]] bool empty() const { return text.empty(); }
  /// The part from `from`, at most `count` characters of it.
  [[nodiscard]] Piece part(std::size_t from, std::size_t count = std::string_view::npos) const;
  /// Without white space at both ends.
  [[nodiscard]] Piece trimmed() const;
};

/// Blanks out `(* comments *)`, which nest, and keeps the lines where they are. Throws SyntaxError.
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

/// Decimal or 0x..., with a sign.
[[nodiscard]] std::optional<std::int64_t> number(std::string_view text);

/// In quotes, for error messages: the text on one line and not too long.
[[nodiscard]] std::string quoted(std::string_view text);

}  // namespace shootdown::host::litmus
