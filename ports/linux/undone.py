"""Fixes and rules of Linux's TLB code, each undone by find-and-replace in a copy of the user's tree.

A rule names the code by a few of its words only; nothing of the kernel's text is here. What a rule does not find in a
tree is no part of that tree's code."""

import re
from typing import NamedTuple

TLB, SMP = "arch/x86/mm/tlb.c", "kernel/smp.c"


class Undone(NamedTuple):
    """One rule: what is undone, where, and by which configuration and oracle it is found."""
    name: str
    what: str
    file: str
    changes: tuple[tuple[str, str], ...]  # regular expressions and what comes in their place; all must fit
    options: tuple[str, ...]  # of a search that meets it often
    oracles: str  # a regular expression


UNDONE = (
    Undone("switching_cpu_is_no_target",
           "a CPU inside a switch is left out of a flush: what it loads next counts too late", TLB,
           ((r"== LOADED_MM_SWITCHING\)\s*return true",
             "== LOADED_MM_SWITCHING && 0) return true"),),
           ("--pti", "off"), "O1|O6|O20|O21"),
    Undone("generation_before_mask",
           "a switch reads the mm's generation before it is in the mm's mask", TLB,
           ((r"if \(next != &init_mm\)\s*cpumask_set_cpu",
             "next_tlb_gen = atomic64_read(&next->context.tlb_gen); if (next != &init_mm) cpumask_set_cpu"),
            (r"(mm_cpumask\(next\)\);\s*)next_tlb_gen = atomic64_read\([^;]*;",
             r"\1")),
           ("--pti", "off"), "O1|O6|O21|KERNEL"),
    Undone("lazy_exit_without_barrier",
           "no barrier between the end of lazy mode and the look at the generation", TLB,
           ((r"\bsmp_mb\(\);",
             "barrier();"),),
           ("--memory", "tso", "--pti", "off"), "O1|O2|O6|O20|O21"),
    Undone("partial_flush_over_a_gap",
           "single pages are flushed where an older flush is still owed", TLB,
           ((r"f->new_tlb_gen == local_tlb_gen \+ 1 &&",
             "1 &&"),),
           ("--pti", "off"), "O1|O6|O20|O21"),
    Undone("lazy_cpus_skipped_for_tables",
           "a flush for freed page tables spares lazy CPUs", TLB,
           ((r"if \(info->freed_tables\)",
             "if (0)"),),
           ("--pti", "off"), "O5"),
    Undone("lazy_target_stays",
           "a lazy CPU that is asked to flush neither flushes nor leaves the mm", TLB,
           ((r"switch_mm_irqs_off\(NULL, &init_mm, NULL\);\s*return;",
             "return;"),),
           ("--pti", "off"), "O5"),
    Undone("unlocked_before_its_function",
           "a call counts as done before its function has run", SMP,
           ((r"((?:csd_do_func\(func, info, "
             r"csd|func\(info)\);)\s*(csd_unlock\(csd\);)(\s*csd_lock_record\(NULL\);\s*\} else)",
             r"\2 \1 \3"),),
           ("--pti", "off"), "O1|O5|O6|O20|O21|O13|KERNEL|STUCK"),
    Undone("user_half_forgotten",
           "page-table isolation: single pages stay in the PCID of user mode", TLB,
           ((r"invpcid_flush_one\(user_pcid\(loaded_mm_asid\), addr\);",
             ";"),),
           ("--pti", "on"), "O1|O2|O5|O6|O21"),
    Undone("user_half_forgotten_in_full",
           "page-table isolation: a full flush leaves the PCID of user mode as it is", TLB,
           ((r"invalidate_user_asid\(this_cpu_read\([^;]*;",
             ";"),),
           ("--pti", "on"), "O1|O2|O5|O6|O21"),
    Undone("other_asids_forgotten",
           "page-table isolation: a kernel page stays in the PCIDs that are not loaded", TLB,
           ((r"this_cpu_write\(cpu_tlbstate\.invalidate_other, true\);",
             ";"),),
           ("--pti", "on"), "O13|O6"),
    Undone("asid_used_again_unflushed",
           "an ASID goes to another mm without a flush", TLB,
           ((r"(next_asid, 1\);\s*\}\s*)\*need_flush = true;",
             r"\1*need_flush = false;"),),
           ("--pti", "off"), "O1|O4|O5|O6|KERNEL"),
    Undone("switch_back_unflushed",
           "a CPU comes back to an mm and does not look whether it missed a flush", TLB,
           ((r"\*need_flush = \(this_cpu_read\(",
             "*need_flush = 0 && (this_cpu_read("),),
           ("--pti", "off"), "O1|O5|O6|O21"),
    Undone("nmi_during_a_switch",
           "an NMI inside a switch is told that it may read user memory", TLB,
           ((r"this_cpu_write\(cpu_tlbstate\.loaded_mm, LOADED_MM_SWITCHING\);",
             ";"),),
           ("--pti", "off"), "O22|KERNEL|O1|O6|O21"),
    Undone("global_pages_stay",
           "a flush of everything leaves global translations", TLB,
           ((r"if \((?:cpu_feature_enabled|boot_cpu_has)\(X86_FEATURE_PGE\)\)",
             "if (0)"),),
           ("--pti", "off"), "O13|O6"),
    Undone("batch_flushed_here_only",
           "a reclaim batch is flushed on one CPU", TLB,
           ((r"flush_tlb_multi\(&batch->cpumask, info\);",
             "{ local_irq_disable(); flush_tlb_func(info); local_irq_enable(); }"),),
           ("--pti", "off"), "O20|O6|O1"),
    Undone("never_in_the_mask",
           "a switch leaves the CPU out of the mask of the mm", TLB,
           ((r"(if \(next != &init_mm\)\s*)cpumask_set_cpu\([^;]*;",
             r"\1;"),),
           ("--pti", "off"), "O1|O6|O21|KERNEL"),
)


def undone(name: str) -> Undone | None:
    """The rule of this name."""
    return next((rule for rule in UNDONE if rule.name == name), None)


def apply(rule: Undone, text: str) -> str | None:
    """The file's text with the rule; None: it does not fit this tree."""
    for pattern, replacement in rule.changes:
        text, count = re.subn(pattern, replacement, text, count=1)
        if count == 0:
            return None
    return text
