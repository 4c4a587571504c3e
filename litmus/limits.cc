// Where a verdict is the model's and need not be a processor's.
#include <algorithm>

#include "litmus/run.h"

namespace shootdown::host::litmus {

namespace {

template <class Predicate>
bool any_instruction(const Test& test, const Predicate& predicate) {
  return std::any_of(test.columns.begin(), test.columns.end(), [&](const Column& column) {
    return std::any_of(column.code.begin(), column.code.end(), predicate);
  });
}

/// A plain store to an entry.
bool stores_entry(const Instruction& made) {
  return made.op == Op::mov && made.operands[0].kind == OperandKind::entry;
}

}  // namespace

std::vector<std::string> limits_of_model(const Test& test, Memory memory) {
  std::vector<std::string> limits;
  // Under sc there are no store buffers, in the model and in what is asked.
  if (memory == Memory::sc) return limits;
  if (test.has_plain_accesses) {
    limits.emplace_back("takes plain accesses for relaxed ones, but C++ leaves races undefined");
  }
  const auto is = [](Op op) { return [op](const Instruction& made) { return made.op == op; }; };
  const std::string* apic = test.find("Apic");
  const bool x2apic = apic == nullptr || *apic != "xapic";
  if (any_instruction(test, stores_entry)) {
    limits.emplace_back("makes a MOV to a page-table entry a locked write");
  }
  if (x2apic && any_instruction(test, is(Op::ipi)) && any_instruction(test, is(Op::full_fence))) {
    limits.emplace_back("lets an x2APIC's interrupt wait for MFENCE without LFENCE");
  }
  return limits;
}

}  // namespace shootdown::host::litmus
