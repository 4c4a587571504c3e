#include "fuzz/run/trace_report.h"

#include <string>

#include "fuzz/scenario/kinds.h"

namespace shootdown::fuzz {

const char* describe_memory(const Header& header) {
  if (header.compiler_reordering) return "as a C++ compiler may reorder it on x86-64";
  return header.tso ? "stores go through store buffers" : "memory is sequentially consistent";
}

std::string tell(Runner& runner, const Scenario& scenario, const TraceReportOptions& options) {
  return told(runner, record(runner, scenario, options.control), options.timeline);
}

std::string told(Runner& runner, const Story& story, const TimelineOptions& options) {
  const host::Report& report = runner.report();
  const Header& header = story.scenario.header;
  std::vector<TimelineRow> rows = rows_of(story);
  mark_conflict(report, rows);
  return "CONFIGURATION\n  " + describe(header) + "\n\nSCENARIO\n" + print(story.scenario) +
         "\nINTERLEAVING (one column per CPU; " + describe_memory(header) + ")\n" +
         interleaving(rows, header.cpus, options) + "\n" + verdict(runner.machine(), report);
}

std::string describe(const Header& header) {
  std::string text;
  text += "CPUs " + std::to_string(header.cpus) + ", address spaces " + std::to_string(header.mms) +
          ", PCID " + (header.pcid ? "on" : "off") + ", concurrent flush " +
          (header.concurrent ? "on" : "off") + ", ceiling " + std::to_string(header.ceiling) +
          " strides";
  if (header.backend != Header{}.backend) text += ", backend " + std::string(name(header.backend));
  for (const HeaderSwitch& one : kHeaderSwitches) {
    if (header.*one.field == Header{}.*one.field) continue;
    text += ", " + std::string(one.name) + (header.*one.field ? " on" : " off");
  }
  return text;
}

}  // namespace shootdown::fuzz
