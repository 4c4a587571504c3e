// The words of a C function in a litmus file, one after the other.
#pragma once

#include <cstdint>
#include <string_view>

#include "litmus/text.h"

namespace shootdown::host::litmus {

enum class CTokenKind : std::uint8_t { name, number, symbol, end };

struct CToken {
  CTokenKind kind{CTokenKind::end};
  Piece piece;

  [[nodiscard]] bool is(std::string_view text) const { return piece.text == text; }
};

/// Reads on demand, so that what follows the functions need not be C.
class CLexer {
 public:
  explicit CLexer(Piece text) : rest_(text.trimmed()) {}

  [[nodiscard]] CToken peek() const;
  /// The one behind the next.
  [[nodiscard]] CToken peek_second() const;
  CToken take();
  bool take_if(std::string_view symbol);
  /// Throws SyntaxError if something else comes.
  void expect(std::string_view symbol);
  /// All that is not taken.
  [[nodiscard]] Piece rest() const { return rest_; }

 private:
  Piece rest_;
};

}  // namespace shootdown::host::litmus
