#include "kernel-glue/kernel/ktap.h"

#include "kernel-glue/kernel/console.h"
#include "kernel-glue/kernel/cpus.h"
#include "kernel-glue/kernel/interrupts.h"
#include "kernel-glue/kernel/memory.h"
#include "kernel-glue/kernel/stop.h"

namespace shootdown::kernel {
namespace {

struct Totals {
  std::size_t passed{0};
  std::size_t failed{0};
  std::size_t skipped{0};
};

/// What every test leaves as it found it.
void check_leftovers(Report& report, std::size_t frames_before) {
  report.expect(frames_in_use() == frames_before, "the test freed every frame it took");
  report.expect(x86::interrupts_enabled(), "the test left interrupts on");
  report.expect(x86::preemption_depth() == 0, "the test left preemption on");
}

void run_test(const Test& test, std::size_t number, Totals& totals) {
  if (cpu_count() < test.minimum_cpus) {
    ++totals.skipped;
    print("ok ", number, " ", test.name, " # SKIP needs ", test.minimum_cpus, " CPUs\n");
    return;
  }
  Report report;
  const std::size_t frames_before = frames_in_use();
  set_activity(test.name);
  arm_watchdog();
  test.run(report);
  disarm_watchdog();
  check_leftovers(report, frames_before);
  if (report.failed()) {
    ++totals.failed;
    print("not ok ", number, " ", test.name, " # violated: ", report.what(), " (",
          report.where().file_name(), ":", std::uint64_t{report.where().line()}, ")\n");
  } else {
    ++totals.passed;
    print("ok ", number, " ", test.name, "\n");
  }
}

bool is_chosen(const Test& test, const TestChoice& choice) {
  if (choice.only == nullptr) return true;
  const char* wanted = choice.only;
  const char* title = test.name;
  for (; *title != '\0'; ++title, ++wanted) {
    if (*wanted != (*title == ' ' ? '_' : *title)) return false;
  }
  return *wanted == ' ' || *wanted == '\0';
}

}  // namespace

void Report::expect(bool ok, const char* what, std::source_location where) {
  if (ok || failed()) return;
  what_ = what;
  where_ = where;
}

bool run_tests(const Test* tests, std::size_t count, const TestChoice& choice) {
  std::size_t chosen = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (!is_chosen(tests[i], choice)) continue;
    ++chosen;
    if (choice.list) print("# test: ", tests[i].name, "\n");
  }
  if (chosen == 0) fatal("no test has the title that was asked for");
  if (choice.list) return true;
  Totals totals;
  print("KTAP version 1\n1..", chosen, "\n");
  std::size_t number = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (is_chosen(tests[i], choice)) run_test(tests[i], ++number, totals);
  }
  set_activity("end");
  print("# totals: ", totals.passed, " passed, ", totals.failed, " failed, ", totals.skipped,
        " skipped\n");
  return totals.failed == 0;
}

}  // namespace shootdown::kernel
