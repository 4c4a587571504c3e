"""How the rows of an interleaving read: the primer of the museum's index, which page_test holds against all pages."""

import re

# What a row looks like, an example, and what it says.
ROWS = [
    (r"== .*", "== unmap mm=0 page=0 count=1", "the CPU begins this operation of its program"),
    (r"~~ at \+\d+: .*", "~~ at +10: preempt cpu=2", "this deviation of the scenario takes place here"),
    (r"load \S.* = .*", "load mm0.tlb_gen = 1", "an atomic load, and what it has found"),
    (r"store \S.* = .*", "store cpu0.is_lazy = 1", "an atomic store, visible at once"),
    (r"store, buffered, .*", "store, buffered, cpu0.is_lazy = 1",
     "a store that stays in the CPU's store buffer (scenarios with `tso` or `compiler_reordering`)"),
    (r"drains .*", "drains cpu0.is_lazy = 1", "that store has become visible"),
    (r"modify .*", "modify mm0.tlb_gen = 2", "a locked read-modify-write, and what it has left; a full barrier"),
    (r"compare-exchange .*", "compare-exchange mm0.users = 3", "a locked compare-and-swap, and what it has left"),
    (r"full fence", "full fence", "no later access comes before an earlier one"),
    (r"read \S.* = .*", "read mm0.table[504] = page 0 -> frame 12, writable",
     "the kernel reads a page-table entry, here that of page 0"),
    (r"write .*", "write mm0.table[504] = page 0 -> none",
     "the kernel writes a page-table entry; none: not present"),
    (r"load CR3, .*", "load CR3, keep mm0, PCID 2",
     "an mm is loaded, and what is cached under its PCID is kept, or flushed (`flush`)"),
    (r"load CR4, PGE .*", "load CR4, PGE off", "CR4.PGE changes, which flushes everything, global entries included"),
    (r"invlpg .*", "invlpg page 0", "one page is invalidated on this CPU"),
    (r"invpcid everything", "invpcid everything", "all that this CPU has cached is invalidated, global pages too"),
    (r"invlpgb .*", "invlpgb context, PCID 7", "a hardware broadcast: an invalidation for all CPUs"),
    (r"cpu\d+'s invlpgb arrives", "cpu1's invlpgb arrives", "this CPU carries a broadcast out"),
    (r"tlbsync", "tlbsync", "the issuer has waited until its broadcasts have arrived everywhere"),
    (r"hypercall: flush.*", "hypercall: flush cpu0 cpu1", "the hypervisor is asked to flush these CPUs"),
    (r"flushes cpu\d+", "flushes cpu0", "the hypervisor flushes one of them"),
    (r"message to cpu\d+", "message to cpu1", "the UV BAU is asked to flush another CPU"),
    (r"takes the message of cpu\d+", "takes the message of cpu0", "the handler reads what the UV BAU has brought"),
    (r"takes no more messages", "takes no more messages", "a CPU that goes offline leaves the UV BAU"),
    (r"send interrupt to .*", "send interrupt to cpu1", "IPIs leave; each arrives at a step of its own"),
    (r"interrupt: .* \{", "interrupt: call function {", "the IPI arrives, and its handler begins"),
    (r"NMI \{", "NMI {", "an NMI arrives"),
    (r"\} return from .*", "} return from interrupt", "the handler ends"),
    (r"thread \d+ is taken off \{", "thread 0 is taken off {", "the kernel takes this thread off its CPU"),
    (r"\} thread \d+ goes on", "} thread 0 goes on", "a thread that was taken off goes on, on this CPU"),
    (r"interrupts (on|off)", "interrupts off", "the CPU's interrupt flag changes"),
    (r"waits", "waits", "the CPU waits for another one to change something that it has read"),
    (r"pause, interrupts off", "pause, interrupts off", "it waits and takes no interrupts: a mistake"),
    (r"(load from|store to|fetch from) (kernel )?page \d+: (walked|cached)", "load from page 0: walked",
     "an access of the running program: its translation was found by a walk of the page tables, or was cached"),
    (r"speculative fill of .*", "speculative fill of page 0", "the walker caches a translation without an access"),
    (r"a device walks for .*", "a device walks for kernel page 0 of space 0, to level 1",
     "a device with a TLB of its own caches a translation"),
    (r"the host (deschedules cpu\d+|takes cpu\d+'s state)", "the host deschedules cpu1",
     "the hypervisor takes the processor away, or looks at the state that it shares with the guest"),
    (r"\[.*\]", "[writes CR4]", "the step of the verdict: the run ended in the middle of it"),
    (r"check failed: .*", "check failed: a range to flush is empty", "a check of the core stops the run"),
]

# The words that rows are about.
WORDS = [
    (r"mm\d+\.tlb_gen", "mm0.tlb_gen", "the generation of an mm: how many changes it has had"),
    (r"mm\d+\.cpu_mask", "mm0.cpu_mask", "the CPUs that may have the mm cached"),
    (r"cpu\d+\.loaded_mm", "cpu0.loaded_mm", "the mm that the CPU says it runs; none: it is inside a switch"),
    (r"cpu\d+\.is_lazy", "cpu0.is_lazy", "1: the CPU uses no user address (lazy TLB mode)"),
    (r"cpu\d+\.pending\[\d+\]", "cpu0.pending[0]",
     "the senders whose calls the CPU has not answered: those with even numbers in word 0"),
    (r"mm\d+\.table\[\d+\]", "mm0.table[504]", "an entry of a page table; `directory` and `upper` are above it"),
    (r"references of frame \d+", "references of frame 12", "how many uses a page frame has; 0: it is released"),
    (r"mm\d+\.pending", "mm0.pending", "operations that have changed entries and have not flushed"),
    (r"mm\d+\.batch_marks", "mm0.batch_marks", "whether a reclaim batch has removed entries and has not flushed"),
    (r"mm\d+\.users", "mm0.users", "operations that keep the mm from ending"),
    (r"mm\d+\.table\.lock", "mm0.table.lock", "the lock of a page table"),
]


def unknown_rows(rows: list[str]) -> list[str]:
    """Rows that the primer does not explain."""
    return [row for row in rows if not any(re.fullmatch(shape, row) for shape, _, _ in ROWS)]


def unused(rows: list[str]) -> list[str]:
    """Examples of what the primer explains and no row has."""
    return [example for shape, example, _ in ROWS if not any(re.fullmatch(shape, row) for row in rows)] + \
        [example for shape, example, _ in WORDS if not any(re.search(shape, row) for row in rows)]


def wrong_examples() -> list[str]:
    """Examples that are not what they are examples of."""
    return [example for shape, example, _ in ROWS if not re.fullmatch(shape, example)] + \
        [example for shape, example, _ in WORDS if not re.fullmatch(shape, example)]


def primer() -> str:
    """The tables of the index."""
    rows = "".join(f"| `{example}` | {meaning} |\n" for _, example, meaning in ROWS)
    words = "".join(f"| `{example}` | {meaning} |\n" for _, example, meaning in WORDS)
    return f"| row | it says |\n|---|---|\n{rows}\n| word | it is |\n|---|---|\n{words}"
