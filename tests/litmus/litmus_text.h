// A litmus test as text: the test that it is, or what is wrong with it.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "litmus/parse.h"
#include "litmus/run.h"

namespace shootdown::host::litmus {

/// The test, which must parse.
inline litmus::Test parsed(const std::string& text) {
  ParseError error;
  auto test = parse(text, error);
  EXPECT_TRUE(test.has_value()) << error.line << ":" << error.column << ": " << error.what << "\n"
                                << text;
  return test.value_or(litmus::Test());
}

/// "LINE:COLUMN: what", of the parser or of the run.
inline std::string refusal_of(const std::string& text, Memory memory = Memory::tso) {
  ParseError error;
  const auto test = parse(text, error);
  if (!test) {
    return std::to_string(error.line) + ":" + std::to_string(error.column) + ": " + error.what;
  }
  const Result result = run(*test, memory, {});
  if (result.problem.empty()) return "a verdict";
  return std::to_string(result.line) + ":" + std::to_string(result.column) + ": " + result.problem;
}

}  // namespace shootdown::host::litmus
