// The fuzz target of the litmus runner: for any bytes the parser says what is wrong and
// where, or makes a test that runs, if it is small, in every mode.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "litmus/parse.h"
#include "litmus/run.h"

namespace {

using namespace shootdown::host;
using namespace shootdown::host::litmus;

[[noreturn]] void fail(const char* title) {
  std::fprintf(stderr, "SHOOTDOWN-FAILURE: LITMUS %s\n", title);
  std::abort();
}

/// Whether `line` and `column` are a place in the text, or right behind one of its lines.
bool is_place(std::string_view text, unsigned line, unsigned column) {
  if (line == 0 || column == 0) return false;
  for (; line > 1; --line) {
    const std::size_t end = text.find('\n');
    if (end == std::string_view::npos) return false;
    text.remove_prefix(end + 1);
  }
  return column <= text.substr(0, text.find('\n')).size() + 1;
}

void check_place(std::string_view text, unsigned line, unsigned column) {
  if (!is_place(text, line, column)) fail("an error is in a place that there is not");
}

/// Small enough for thousands of runs in a second.
bool is_small(const Test& test) {
  constexpr std::size_t kMostRun = 40;
  std::size_t count = 0;
  for (const Column& column : test.columns) count += column.code.size();
  return count <= kMostRun;
}

void run_in(const Test& test, Memory memory, std::string_view text) {
  const Result result = run(test, memory, {.most_executions = 20, .most_repeats = 1});
  if (!result.problem.empty()) {
    if (result.line != 0) check_place(text, result.line, result.column);
    return;
  }
  if (result.positive + result.negative + result.cut > result.explored.executions) {
    fail("more executions are counted than there are");
  }
  if (print(test, result).empty()) fail("a result prints as nothing");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  ParseError error;
  const auto test = parse(text, error);
  if (!test) {
    if (error.what.empty()) fail("a test is refused without a reason");
    check_place(text, error.line, error.column);
    return 0;
  }
  for (const Warning& warning : test->warnings) check_place(text, warning.line, warning.column);
  if (!is_small(*test)) return 0;
  for (const MemoryName& one : kMemories) run_in(*test, one.memory, text);
  return 0;
}
