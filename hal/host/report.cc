#include "hal/host/report.h"

namespace shootdown::host {

std::string oracle_name(Oracle oracle) {
  if (oracle == Oracle::none) return "none";
  if (oracle == Oracle::check) return "CHECK";
  if (oracle == Oracle::fault) return "FAULT";
  if (oracle == Oracle::order) return "ORDER";
  return "O" + std::to_string(static_cast<unsigned>(oracle));
}

std::string_view oracle_meaning(Oracle oracle) {
  switch (oracle) {
    case Oracle::none:
      return "nothing is wrong";
    case Oracle::o1:
      return "when a flush returns, no CPU can use an older translation (R1, R2)";
    case Oracle::o2:
      return "no access uses a translation older than a completed flush (R3)";
    case Oracle::o3:
      return "generations stay in their bounds (R1, R4)";
    case Oracle::o4:
      return "a slot holds nothing older than the generation it records (R4)";
    case Oracle::o5:
      return "no CPU can walk a page table that was released (R6)";
    case Oracle::o6:
      return "no CPU can use a frame that was released (completion tokens)";
    case Oracle::o7:
      return "a CPU whose CR3 holds a space is in that space's mask (R7)";
    case Oracle::o8:
      return "with interrupts on, the bookkeeping agrees with CR3 (R2)";
    case Oracle::o9:
      return "a lazy CPU has a user space loaded and does not use its addresses (R3)";
    case Oracle::o10:
      return "a partial flush covers exactly one missing generation (R5)";
    case Oracle::o11:
      return "the recorded generation was read before the flush (R4)";
    case Oracle::o12:
      return "the user half is flushed or marked (R9)";
    case Oracle::o13:
      return "no CPU can use an older kernel translation";
    case Oracle::o14:
      return "a CPU's slots name each space at most once (R13)";
    case Oracle::o15:
      return "each call runs exactly once, with interrupts off (R10)";
    case Oracle::o16:
      return "a published request does not change (R10)";
    case Oracle::o17:
      return "a queued call is not forgotten (R11)";
    case Oracle::o18:
      return "everybody finishes; nobody waits with interrupts off (R12)";
    case Oracle::o19:
      return "no needless interrupts, hypercalls and full flushes (R13)";
    case Oracle::o20:
      return "after a batch flush, no CPU can use what the batch removed (R1, R13)";
    case Oracle::o21:
      return "who meets an unflushed change does not promise more than was flushed";
    case Oracle::o22:
      return "user_access_ok is true only if user addresses mean the task's space";
    case Oracle::o23:
      return "CR4 and its shadow agree when interrupts are on";
    case Oracle::o24:
      return "a CPU that comes up uses nothing that its TLB held before";
    case Oracle::o25:
      return "a temporary space ends as it began";
    case Oracle::o26:
      return "a skipped vCPU flushes before it runs again";
    case Oracle::o27:
      return "a global slot has one space, is clean when granted, and no CPU beside it is missed";
    case Oracle::o28:
      return "a flush covers its whole range";
    case Oracle::o29:
      return "counters agree with what was executed";
    case Oracle::o30:
      return "all configurations give the same verdicts";
    case Oracle::o31:
      return "a space is not destroyed while a CPU has it loaded, and not loaded afterwards";
    case Oracle::o32:
      return "on a user root, nothing of the kernel is used but the entry block";
    case Oracle::o33:
      return "an address leads to one page at a time, which reads as it was stored last";
    case Oracle::o34:
      return "an operation on memory leaves what it says that it leaves";
    case Oracle::check:
      return "a check inside the core failed";
    case Oracle::fault:
      return "no instruction faults in the core";
    case Oracle::order:
      return "what is handed over happens before its use, whatever a compiler does (M6, M7, M8, "
             "M14)";
  }
  return "";
}

}  // namespace shootdown::host
