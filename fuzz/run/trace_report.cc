#include "fuzz/run/trace_report.h"

#include <string>

#include "fuzz/scenario/kinds.h"

namespace shootdown::fuzz {

namespace {

const char* describe_memory(const Header& header) {
  if (header.compiler_reordering) return "as a C++ compiler may reorder it on x86-64";
  return header.tso ? "stores go through store buffers" : "memory is sequentially consistent";
}

}  // namespace

std::string tell(Runner& runner, const Scenario& scenario, const TraceReportOptions& options) {
  runner.machine().recorder().turn_timeline(true);
  const host::Report& report =
      options.control != nullptr ? runner.run(scenario, *options.control) : runner.run(scenario);
  runner.machine().recorder().turn_timeline(false);
  const Header& header = scenario.header;
  std::string text = "CONFIGURATION\n";
  text += "  CPUs " + std::to_string(header.cpus) + ", address spaces " +
          std::to_string(header.mms) + ", PCID " + (header.pcid ? "on" : "off") +
          ", concurrent flush " + (header.concurrent ? "on" : "off") + ", ceiling " +
          std::to_string(header.ceiling) + " strides";
  if (header.backend != Header{}.backend) text += ", backend " + std::string(name(header.backend));
  for (const HeaderSwitch& one : kHeaderSwitches) {
    if (header.*one.field == Header{}.*one.field) continue;
    text += ", " + std::string(one.name) + (header.*one.field ? " on" : " off");
  }
  text += "\n\n";
  const Scenario& told = options.control != nullptr ? scenario : runner.unfolded();
  text += "SCENARIO\n" + print(told) + "\n";
  text += std::string("INTERLEAVING (one column per CPU; ") + describe_memory(header) + ")\n";
  text += interleaving(runner.machine(), options.timeline) + "\n";
  return text + verdict(runner.machine(), report);
}

}  // namespace shootdown::fuzz
