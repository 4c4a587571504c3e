// Where a verdict is the model's and need not be a processor's.
#include <algorithm>

#include "litmus/run.h"

namespace shootdown::host::litmus {

namespace {

bool changes_entry_locked(const Instruction& made) {
  if (!made.locked && made.op != Op::xchg) return false;
  return std::any_of(made.operands.begin(), made.operands.end(),
                     [](const Operand& one) { return one.kind == OperandKind::entry; });
}

}  // namespace

std::vector<std::string> limits_of_model(const Test& test, Memory memory) {
  std::vector<std::string> limits;
  // Under sc there are no store buffers, in the model and in what is asked.
  if (memory == Memory::sc) return limits;
  if (test.has_plain_accesses) {
    limits.emplace_back("takes plain accesses for relaxed ones, but C++ leaves races undefined");
  }
  const bool sends =
      test.has_instruction([](const Instruction& made) { return made.op == Op::ipi; });
  if (sends && !test.says("Apic", "xapic") && test.has_instruction(changes_entry_locked)) {
    limits.emplace_back("holds an x2APIC's interrupt back for a locked write of an entry");
  }
  return limits;
}

}  // namespace shootdown::host::litmus
