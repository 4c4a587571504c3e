#include "fuzz/oracles/reports/catalogue.h"

namespace shootdown::fuzz {

using host::ReportKind;

// One entry a paragraph; the text of `fires` stands in fuzz/README.md as it is here.
const std::array<CatalogueEntry, kOracles> kCatalogue{{
    {.kind = {.name = "O1",
              .promise = "when a flush returns, no CPU can use an older translation (R1, R2)"},
     .fires =
         "a flush returns while a CPU can use an older translation, or a CPU switches in or ends a "
         "flush function with one; a page is released, and a store to it left no dirty bit"},
    {.kind = {.name = "O2",
              .promise = "no access uses a translation older than a completed flush (R3)"},
     .fires = "an access uses, or a CPU leaves lazy mode with, a translation older than a "
              "completed flush or operation"},
    {.kind = {.name = "O3", .promise = "generations stay in their bounds (R1, R4)"},
     .fires = "a generation leaves its bounds"},
    {.kind = {.name = "O4",
              .promise = "an ASID holds nothing older than the generation it records (R4)"},
     .fires =
         "an ASID holds something older than the generation it records, a global one something "
         "older than a flush of it, or either something of another mm"},
    {.kind = {.name = "O5", .promise = "no CPU can walk a page table that was released (R6)"},
     .fires = "a walk reads a released page table, or another mm's, or one is released, or the "
              "flush for it returns, while a CPU can walk it; an ASID is loaded with a pointer to "
              "one (tables of every level)"},
    {.kind = {.name = "O6",
              .promise = "no CPU can use a frame that was released (completion tokens)"},
     .fires =
         "a frame is released while a CPU can use it or an entry maps it, used afterwards, or "
         "released twice; a table is released while a lockless walker is in it; a page is released "
         "to which a reference is held"},
    {.kind = {.name = "O7", .promise = "a CPU whose CR3 holds an mm is in that mm's mask (R7)"},
     .fires = "a CPU has an mm in CR3 but is not in its mask"},
    {.kind = {.name = "O8", .promise = "with interrupts on, the bookkeeping agrees with CR3 (R2)"},
     .fires = "interrupts are on while CR3 and the bookkeeping disagree"},
    {.kind = {.name = "O9",
              .promise = "a lazy CPU has a user space loaded and does not use its addresses (R3)"},
     .fires = "a lazy CPU uses user memory, or is lazy on the kernel's own mm"},
    {.kind = {.name = "O10",
              .promise = "a partial flush covers exactly one missing generation (R5)"},
     .fires = "a partial flush skips a generation"},
    {.kind = {.name = "O11", .promise = "the recorded generation was read before the flush (R4)"},
     .fires = "a generation is recorded that was read after the flush"},
    {.kind = {.name = "O12", .promise = "the user PCID is flushed or marked (R9)"},
     .fires =
         "under page-table isolation the user PCID keeps what was flushed under the kernel PCID"},
    {.kind = {.name = "O13", .promise = "no CPU can use an older kernel translation"},
     .fires = "a kernel range is flushed but a CPU can use an older kernel translation, under "
              "isolation also in user mode or at the next entry, or it switches in with one"},
    {.kind = {.name = "O14", .promise = "a CPU's ASIDs name each mm at most once (R13)"},
     .fires = "two ASIDs of a CPU name the same mm"},
    {.kind = {.name = "O15", .promise = "each call runs exactly once, with interrupts off (R10)"},
     .fires = "a call does not run exactly once with interrupts off"},
    {.kind = {.name = "O16", .promise = "a published request does not change (R10)"},
     .fires = "a published request changes"},
    {.kind = {.name = "O17", .promise = "a queued call is not forgotten (R11)"},
     .fires = "a queued call is forgotten"},
    {.kind = {.name = "O18",
              .promise = "each CPU finishes, and none waits with interrupts off (R12)"},
     .fires = "a CPU never finishes, or waits with interrupts off"},
    {.kind = {.name = "O19",
              .promise = "no needless interrupts, hypercalls and full flushes (R13)"},
     .fires = "a needless interrupt or call, or a full flush where a partial one of 4 KiB pages "
              "was enough"},
    {.kind = {.name = "O20",
              .promise = "after a batch flush, no CPU can use what the batch removed (R1, R13)"},
     .fires = "a batch flush leaves something usable"},
    {.kind = {.name = "O21",
              .promise = "who meets an unflushed change does not promise more than was flushed"},
     .fires = "an operation completes over an unflushed change; a page is copied, or counts as "
              "clean, while a CPU can store to it unseen"},
    {.kind = {.name = "O22",
              .promise = "user_access_ok is true only if user addresses mean the task's mm"},
     .fires = "`user_access_ok` would lie to an NMI, or has (`nmi`)"},
    {.kind = {.name = "O23", .promise = "CR4 and its shadow agree when interrupts are on"},
     .fires = "CR4 and its shadow differ"},
    {.kind = {.name = "O24",
              .promise = "a CPU that comes up uses nothing that its TLB held before"},
     .fires = "a CPU that comes up would use what its TLB held before"},
    {.kind = {.name = "O25", .promise = "a temporary mm ends as it began"},
     .fires = "a temporary mm does not end as it began"},
    {.kind = {.name = "O26", .promise = "a skipped vCPU flushes before it runs again"},
     .fires =
         "a preempted virtual CPU is skipped although the host will not flush it before it runs"},
    {.kind =
         {.name = "O27",
          .promise =
              "a global ASID has one mm, is clean when granted, and no CPU beside it is missed"},
     .fires = "a global ASID is shared, used again unflushed, or a CPU beside it is passed over"},
    {.kind = {.name = "O28", .promise = "a flush covers its whole range"},
     .fires = "a CPU that may use the mm, or the kernel's half, has not dropped every page that "
              "holds a byte of the range asked, by its hardware's account"},
    {.kind = {.name = "O29", .promise = "counters agree with what was executed"},
     .fires =
         "a counter is not what was sent, queued, run and executed on its CPU once that has done "
         "all that it had to do, by whichever instruction and counted at whichever moment"},
    {.kind = {.name = "O30", .promise = "all configurations give the same verdicts"}, .fires = ""},
    {.kind = {.name = "O31",
              .promise =
                  "an mm is not destroyed while a CPU has it loaded, and not loaded afterwards"},
     .fires = "an mm is destroyed while a CPU has it loaded, or is in its mask"},
    {.kind = {.name = "O32",
              .promise = "on a user root, nothing of the kernel is used but the entry block"},
     .fires = "under isolation, a CPU changes its own state, or an entry into the kernel goes on, "
              "while CR3 holds a user root"},
    {.kind = {.name = "O33",
              .promise =
                  "an address leads to one page at a time, which reads as it was stored last"},
     .fires = "an address leads to two frames at once: an entry becomes present, or is, while a "
              "CPU can use, or uses, another page there; a load does not return what was stored "
              "last to that page of that mm, through copies, forks, moves and other page sizes"},
    {.kind = {.name = "O34",
              .promise = "an operation on memory leaves what it says that it leaves"},
     .fires = "`unmap` leaves a page that was there before, `protect` a right; a right that was "
              "taken comes back with a page that is only replaced, or one that was not is lost; a "
              "fork's child lacks a page that the parent had throughout, or has other content; a "
              "lockless walk returns a page that was not mapped there during the walk; an accessed "
              "bit is lost"},
    {.kind = {.name = "O35",
              .promise = "memory is counted as it is used, and what nothing leads to is released"},
     .fires = "all programs have ended, and a page has other than a reference for each entry that "
              "maps it, or none; or a page table is neither on the way to an entry of a living mm "
              "nor waits for lockless walkers"},
    {.kind = {.name = "O36",
              .promise =
                  "a full barrier stands between a task's predecessor and its user mode (M16)"},
     .fires = "a switch that changes the mm or leaves lazy mode returns while a store that its "
              "caller made before it waits in the store buffer. With `tso` and "
              "`compiler_reordering`"},
    {.kind = {.name = "ORDER",
              .promise = "what is handed over happens before its use, however a compiler orders "
                         "(M6, M7, M8, M14)"},
     .fires =
         "by the C++ memory model, nothing orders a handover: a generation and the changes that it "
         "stands for (M6), a call and its post (M7), an answer and the flush's return, a page's "
         "last use and its release (M8), a global ASID and its transition (M14). With "
         "`compiler_reordering` only"},
}};

const ReportKind* kind_named(std::string_view name) {
  for (const ReportKind* kind : {&host::kCheck, &host::kFault}) {
    if (kind->name == name) return kind;
  }
  for (const CatalogueEntry& entry : kCatalogue) {
    if (entry.kind.name == name) return &entry.kind;
  }
  return nullptr;
}

}  // namespace shootdown::fuzz
