// Test results in KTAP, version 1, on the console.
#pragma once

#include <cstddef>
#include <source_location>

#include "core/types.h"

namespace shootdown::kernel {

/// The result of one test while it runs. Only CPU 0 calls it.
class Report {
 public:
  /// Records a failure unless `ok`. The test goes on, so that what it set up is taken down.
  void expect(bool ok, const char* what,
              std::source_location where = std::source_location::current());

  /// A line for the reader, no verdict.
  template <class... Parts>
  void note(const Parts&... parts);

  [[nodiscard]] bool failed() const { return what_ != nullptr; }
  [[nodiscard]] const char* what() const { return what_; }
  [[nodiscard]] const std::source_location& where() const { return where_; }

 private:
  const char* what_{nullptr};
  std::source_location where_{};
};

struct Test {
  const char* name;
  void (*run)(Report& report);
  /// Fewer CPUs than this: skipped.
  CpuId minimum_cpus{1};
};

/// Which tests are run, and how.
struct TestChoice {
  /// The one that has this title, underscores standing for spaces, up to the next space or the end;
  /// null: all.
  const char* only{nullptr};
  /// Their titles are printed and nothing is run.
  bool list{false};
};

/// Runs the tests, each under the watchdog, and prints plan, results and totals. True if none
/// failed.
[[nodiscard]] bool run_tests(const Test* tests, std::size_t count, const TestChoice& choice);

}  // namespace shootdown::kernel

// Implementation of the template.

#include "kernel-glue/kernel/console.h"

namespace shootdown::kernel {

template <class... Parts>
void Report::note(const Parts&... parts) {
  print("# ", parts..., "\n");
}

}  // namespace shootdown::kernel
