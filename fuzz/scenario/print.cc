// The text form of a scenario: printing. FORMAT.md describes the grammar.
#include "fuzz/scenario/kinds.h"
#include "fuzz/scenario/scenario.h"

namespace shootdown::fuzz {
namespace {

void append_field(std::string& text, std::string_view name, unsigned value) {
  text.append(" ").append(name).append("=").append(std::to_string(value));
}

}  // namespace

std::string_view name(OpKind kind) { return shape(kind).name; }
std::string_view name(EventKind kind) { return shape(kind).name; }

std::string print(const Op& op) {
  const OpShape& used = shape(op.kind);
  std::string text(used.name);
  if (used.uses_mm) append_field(text, "mm", op.mm);
  if (used.uses_page) append_field(text, "page", op.page);
  if (used.uses_count) append_field(text, "count", op.count);
  if (used.to != Target::none) append_field(text, "to", op.to());
  return text;
}

std::string print(const Deviation& deviation) {
  const DeviationShape& used = shape(deviation.kind);
  std::string text(used.name);
  append_field(text, used.of_mm ? "mm" : "cpu", deviation.cpu);
  if (!used.arg_name.empty()) {
    append_field(text, used.arg_name, used.value_of(deviation.arg) + used.arg_first);
  }
  if (used.level_of(deviation.arg) > 1)
    append_field(text, used.level_name, used.level_of(deviation.arg));
  return text;
}

std::string print(const Scenario& scenario) {
  const Header& header = scenario.header;
  std::string text(kTextTitle);
  text.append(" ").append(kTextVersion).append("\nconfig");
  append_field(text, "cpus", header.cpus);
  append_field(text, "mms", header.mms);
  append_field(text, "pcid", header.pcid);
  append_field(text, "concurrent", header.concurrent);
  append_field(text, "ceiling", header.ceiling);
  // Only what is not as usual: the line stays short, and old texts stay valid.
  if (header.backend != Header{}.backend) text.append(" backend=").append(name(header.backend));
  for (const HeaderSwitch& one : kHeaderSwitches) {
    if (header.*one.field == Header{}.*one.field) continue;
    append_field(text, one.name, header.*one.field ? 1 : 0);
  }
  text += "\n# cpu N: what this CPU does, in this order\n";
  for (unsigned cpu = 0; cpu < kMaxCpus; ++cpu) {
    for (const Op& op : scenario.ops[cpu]) {
      text.append("cpu ").append(std::to_string(cpu)).append(": ").append(print(op)).append("\n");
    }
  }
  text += "# at +N: what deviates from the default schedule, N visible operations after the last\n";
  for (const Deviation& deviation : scenario.deviations) {
    text.append("at +").append(std::to_string(deviation.delay)).append(": ");
    text.append(print(deviation)).append("\n");
  }
  return text;
}

}  // namespace shootdown::fuzz
