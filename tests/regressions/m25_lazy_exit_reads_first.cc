// Regression test: O1 a flush returns while a CPU can still use an older translation.
//
// Written by `bazel run //fuzz:reproduce -- --cpp NAME.cc FILE`. In tests/regressions it is a test.
// It needs //fuzz/run:story and //fuzz/scenario, and passes when no oracle fires.
#include <cstdio>
#include <string_view>

#include "fuzz/run/runner.h"
#include "fuzz/run/trace_report.h"
#include "fuzz/scenario/scenario.h"

namespace {

constexpr std::string_view kScenario = R"(shootdown-scenario 1
config cpus=3 mms=1 pcid=1 concurrent=1 ceiling=33
cpu 1: read page=0
cpu 1: idle
cpu 1: resume
cpu 2: replace mm=0 page=0
at +10: preempt cpu=2
)";

}  // namespace

int main() {
  using namespace shootdown::fuzz;
  static Scenario scenario;  // Too large for a stack.
  static Runner runner;
  ParseError error;
  if (!parse(kScenario, scenario, error)) {
    std::fprintf(stderr, "%s\n", print(error).c_str());
    return 2;
  }
  if (!runner.run(scenario).failed()) return 0;
  std::fputs(tell(runner, scenario, {}).c_str(), stderr);
  return 1;
}
