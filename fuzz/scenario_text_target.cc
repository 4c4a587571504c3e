// The fuzz target of the scenario's text form: for any bytes the parser says what is
// wrong and where, or makes a scenario that printing and both forms keep as it is.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "fuzz/scenario/scenario.h"

namespace {

using namespace shootdown::fuzz;

[[noreturn]] void fail(const char* title) {
  std::fprintf(stderr, "SHOOTDOWN-FAILURE: TEXT %s\n", title);
  std::abort();
}

void check_error(std::string_view text, const ParseError& error) {
  const auto lines = static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n')) + 1;
  if (error.what.empty()) fail("a scenario is refused without a reason");
  if (error.line == 0 || error.line > lines) fail("an error is in a line that there is not");
  for (const char character : error.what) {
    if (static_cast<unsigned char>(character) < 0x20) fail("an error is not printable");
  }
}

void check_scenario(const Scenario& scenario) {
  static Scenario again;
  ParseError error;
  const std::string text = print(scenario);
  if (!is_text(text)) fail("what is printed is not taken for text");
  if (!parse(text, again, error)) fail("what is printed is refused");
  if (!(again == scenario)) fail("printing and parsing changes a scenario");
  if (print(again) != text) fail("the same scenario is printed in two ways");
  const std::vector<std::uint8_t> bytes = encode(scenario);
  decode(bytes, again);
  if (!(again == scenario)) fail("the two forms of a scenario differ");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static Scenario scenario;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  ParseError error;
  if (parse(text, scenario, error)) {
    check_scenario(scenario);
  } else {
    check_error(text, error);
  }
  return 0;
}
