"""The record of a run as a C++ test of its own: it passes when no oracle fires in that scenario."""

_TEXT = """\
// Regression test: @TITLE@.
//
// Written by `bazel run //fuzz:reproduce -- --cpp NAME.cc FILE`. In tests/regressions it is a test.
// It needs //fuzz/run:story and //fuzz/scenario, and passes when no oracle fires.
#include <cstdio>
#include <string_view>

#include "fuzz/run/runner.h"
#include "fuzz/run/trace_report.h"
#include "fuzz/scenario/scenario.h"

namespace {

constexpr std::string_view kScenario = R"(@SCENARIO@
)";

}  // namespace

int main() {
  using namespace shootdown::fuzz;
  static Scenario scenario;  // Too large for a stack.
  static Runner runner;
  ParseError error;
  if (!parse(kScenario, scenario, error)) {
    std::fprintf(stderr, "%s\\n", print(error).c_str());
    return 2;
  }
  if (!runner.run(scenario).failed()) return 0;
  std::fputs(tell(runner, scenario, {}).c_str(), stderr);
  return 1;
}
"""


def test_of(record: dict) -> str:
    """The file. `record` is that of a run which fails, or of one that is to stay clean."""
    title = record["title"] if record["verdict"] else "every CPU finishes and no oracle fires"
    lines = [line for line in record["scenario"] if not line.startswith("#")]
    return _TEXT.replace("@TITLE@", title).replace("@SCENARIO@", "\n".join(lines))
