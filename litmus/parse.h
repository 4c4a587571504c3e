// From the text of a litmus test to the test.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "litmus/test.h"

namespace shootdown::host::litmus {

struct ParseError {
  unsigned line{0};
  unsigned column{0};
  std::string what;  // what is wrong, with the piece of text, and what is possible instead
};

/// The test, or nothing and an error. Nothing outside the text matters.
[[nodiscard]] std::optional<Test> parse(std::string_view text, ParseError& error);

}  // namespace shootdown::host::litmus
