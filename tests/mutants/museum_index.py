"""The index of the museum, docs/museum/README.md: its bugs by rule, by oracle, by system, by year and by difficulty."""

import re
import statistics
from pathlib import Path

from tests.mutants import meanings, mutant, notation

EXECUTIONS = "docs/executions.md"
_DECADES = [10, 100, 1000, 10000]
_INTRODUCTION = """\
# The museum of TLB-shootdown bugs

Written by `bazel run //tests/mutants:pages`. Each page is about one bug: what happened, the rule that it breaks,
the shortest scenario known that shows it, step by step, and the patch that puts it back into this core. The bugs
are by [rule](#by-rule), [oracle](#by-oracle), [system](#by-system), [year](#by-year) and
[difficulty](#by-difficulty). `bazel run //:shootdown -- museum NAME` shows one as a timeline to step through.
[museum.md](../museum.md) measures which engine finds which of them, [bochs.md](bochs.md) says what the emulated
machine shows of them, and [tests/mutants](../../tests/mutants/README.md) how one is added. A number alone is that
of the catalogue of known bugs; an o stands before bugs of this core, a c before memory orders that are too weak.

A first round: [21](m21_cpu0_means_none.md) (a target is missed), [42](m42_partial_with_gap.md) (generations),
[41](m41_generation_before_mask.md) (a switch and a flush), [25](m25_lazy_exit_reads_first.md) (lazy mode),
[1](m01_lazy_skipped_on_freed_tables.md) (page tables), [25a](m25a_lazy_exit_without_barrier.md) (store buffers),
[49](m49_dirty_page_unlocked_before_flush.md) (the memory manager).
"""
_PRIMER = """\
## How to read a page

The scenario is a program for each CPU (`cpu N:`) and what deviates from the default schedule (`at +N:`). The
interleaving is its run on the modelled machine: a column for each CPU, time goes down, and the number at the left
counts the operations that another CPU could see. A CPU that does nothing visible has no row. Of a long run the end
is shown, and from the rest the beginnings of operations, the deviations and the steps of the verdict. In brackets
below a row stands what it has changed that no other row tells: what the CPU has cached (`page 0 -> frame 12`), which
cached pages memory no longer maps so ("stale now"), and what the CPU has recorded of its ASIDs.

The verdict is that of an oracle: what it saw, the promise that is broken, and the step at which it saw that
("then"), often with the one that made it possible ("first"). Both words stand in front of the rows of these steps.
Where the verdict names one step only, the museum adds the row that it is in conflict with ("cause"). A report comes
as soon as the promise is broken, so the misuse itself, such as a store to a released page, is often not reached any
more.

The story calls each CPU by the number that it has in the interleaving, with its role. The initiator has changed
page tables and flushes; a target is to flush as well, told by an interrupt, a hypercall or a broadcast; a switching
CPU changes its mm, the address space that it runs; a lazy CPU runs a kernel thread and uses no user address of the
mm that is loaded. Where one CPU suffices, it plays all the roles.
"""


def executions(root: Path) -> dict[str, float]:
    """After how many executions the tests find each mutant: the median of their seeds."""
    rows = re.findall(r"(?m)^\| `(\w+)` \| .* \| ([\d,]+(?: / [\d,]+)*) \|$", (root / EXECUTIONS).read_text())
    return {name: statistics.median(int(count.replace(",", "")) for count in counts.split(" / "))
            for name, counts in rows}


def _links(read: list[mutant.Mutant]) -> str:
    return ", ".join(f"[{one.label}]({one.name}.md)" for one in read)


def _grouped(pairs: list[tuple[str, list[mutant.Mutant]]]) -> str:
    return "".join(f"* {name} ({len(group)}): {_links(group)}\n" for name, group in pairs if group)


def _by_rule(read: list[mutant.Mutant], rules: dict[str, meanings.Rule]) -> str:
    text = ""
    for name in sorted({one.rule for one in read}, key=meanings.in_order):
        text += f"* **{rules[name].linked}**: {rules[name].text}\n"
        text += "".join(f"  * {one.label} [{one.title}]({one.name}.md)\n" for one in read if one.rule == name)
    return text


def _by_oracle(read: list[mutant.Mutant], units: dict[str, str]) -> str:
    searched = [one for one in read if one.name not in units]
    names = {one.oracles[0] for one in searched}
    groups = [(f"{name}, {meanings.ORACLES[name]}", [one for one in searched if one.oracles[0] == name])
              for name in sorted(names, key=lambda name: (int(re.sub(r"\D", "", name) or 99), name))]
    return _grouped([*groups, ("no oracle but a unit test", [one for one in read if one.name in units])])


def _by_system(read: list[mutant.Mutant]) -> str:
    names = {meanings.system(one.reference) or "" for one in read}
    groups = [(name, [one for one in read if meanings.system(one.reference) == name]) for name in names]
    return _grouped(sorted(groups, key=lambda pair: (-len(pair[1]), pair[0])))


def _by_year(read: list[mutant.Mutant]) -> str:
    return _grouped([(year, [one for one in read if one.year == year]) for year in sorted({one.year for one in read})])


def _by_difficulty(read: list[mutant.Mutant], units: dict[str, str], counts: dict[str, float]) -> str:
    searched = {one.name: counts[one.name] for one in read if one.name in counts}
    pairs = []
    for least, most in zip([0, *_DECADES], [*_DECADES, float("inf")], strict=True):
        name = f"at most {most:,} executions" if most < float("inf") else "more"
        pairs.append((name, [one for one in read if least < searched.get(one.name, 0) <= most]))
    rest = [one for one in read if one.name not in searched]
    pairs += [("too rare for a search in the tests, which run the scenario",
               [one for one in rest if one.name not in units]),
              ("no scenario shows it, a unit test does", [one for one in rest if one.name in units])]
    return _grouped(pairs)


def index(root: Path, read: list[mutant.Mutant], units: dict[str, str]) -> str:
    """The whole file; `units` are the mutants that only a unit test shows."""
    return "\n".join([
        _INTRODUCTION, _PRIMER, notation.primer(),
        "## By rule\n", _by_rule(read, meanings.rules(root)),
        "## By oracle\n", f"The [oracle](../../{meanings.ORACLES_FILE}) that is expected to report it.\n",
        _by_oracle(read, units),
        "## By system\n", "Where the bug was, by its reference.\n", _by_system(read),
        "## By year\n", "When it was found or mended.\n", _by_year(read),
        "## By difficulty\n",
        f"Executions of the random search until the mutant is reported, the median of the seeds in "
        f"[{EXECUTIONS}](../{Path(EXECUTIONS).name}).\n", _by_difficulty(read, units, executions(root))])
