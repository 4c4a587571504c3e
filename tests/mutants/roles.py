"""What a story says of each CPU, held against the interleaving.

A story calls a CPU by the number that it has in the interleaving, and says what it is there when it comes up first:
"CPU 1, the initiator, unmaps a page". The roles are those of `ROLES`; "first", "second" or "other" may come before
one. A CPU that a verb of `VERBS` follows must have done that.
"""

import re
from dataclasses import dataclass

from tests.mutants.interleaving import Interleaving

_OPERATIONS = ("unmap|protect|protect_early|reclaim|reclaim_tables|replace|move|clean|flush_mm|flush_range|free_table|"
               "kernel_unmap|fork|map|split|collapse|exit")


def _operation(names: str) -> str:
    return rf"^== ({names})\b"


@dataclass(frozen=True)
class Role:
    """What must stand in the column of the CPU, or in any column (with its number as N), and what must not."""

    own: str = ""
    any: str = ""
    never: str = ""


ROLES = {
    "initiator": Role(own=_operation(_OPERATIONS)),
    "sender": Role(own=r"^send interrupt to"),
    "reclaimer": Role(own=_operation("reclaim")),
    "forking CPU": Role(own=_operation("fork")),
    "granting CPU": Role(own=r"^modify \w+_available = "),
    "target": Role(own=r"^interrupt: (call function|message)", any=r"^(send interrupt|hypercall: flush).*\bcpuN\b"),
    # It should have been a target.
    "missed CPU": Role(own=_operation("read|write"), never=r"^interrupt:"),
    "switching CPU": Role(own=_operation("switch_to")),
    "lazy CPU": Role(own=r"^== idle\b|is_lazy = 1"),
    "accessing CPU": Role(own=r"^== (read|write)\b|^(load from|store to|speculative fill of) page"),
    "walker": Role(own=_operation("walk")),
    "departing CPU": Role(own=_operation("offline")),
    "restarted CPU": Role(own=_operation("online")),
    "descheduled vCPU": Role(any=r"^the host deschedules cpuN\b"),
    "only CPU": Role(),  # there is one column
}
# What follows "CPU N", with what must be in its column then.
VERBS = {
    "unmaps": _operation("unmap|kernel_unmap|free_table"),
    "protects|write-protects": _operation("protect|protect_early"),
    "reclaims": _operation("reclaim"),
    "replaces": _operation("replace"),
    "moves": _operation("move"),
    "cleans": _operation("clean"),
    "splits": _operation("split"),
    "collapses": _operation("collapse"),
    "maps": _operation("map"),
    "forks": _operation("fork"),
    "ends": _operation("exit|switch_to"),  # an mm, or its switch
    "stores to|stored to": r"^== write\b|^store to page",
    "frees": _operation("free_table"),
    "switches|switched": _operation("switch_to"),
    "walks|looks a page up": _operation("walk"),
    "becomes lazy|is lazy": r"^== idle\b|is_lazy = 1",
    "leaves lazy mode": r"^== resume\b",
    "goes offline|has gone offline": _operation("offline"),
    "sends": r"^send interrupt",
    "queues": r"^compare-exchange cpu\d+\.pending\[\d+\] = ",
    "grants": r"^modify \w+_available = ",
    "increments": r"^modify \w+\.tlb_gen = ",
    "issues INVLPGB": r"^invlpgb ",
    "flushes": _operation(_OPERATIONS) + r"|^load CR3, flush|^invlpg",
}
_CPU = re.compile(r"\bCPU (\d+)\b")
_INTRODUCTION = re.compile(r"CPU (\d+), (?:the|a) (?:(?:first|second|other) )?([^,.;:]+)[,.;:]")


def _evidence(told: Interleaving, scenario: str) -> dict[int, list[str]]:
    """All that is known of what each CPU did: the beginning of a long interleaving is not in the page."""
    found: dict[int, list[str]] = {cpu: [] for cpu in told.cpus()}
    for cpu, operation in re.findall(r"(?m)^cpu (\d+): (.*)$", scenario):
        found[int(cpu)].append(f"== {operation}")
    for cpu in re.findall(r"(?m)^at \+\d+: fill cpu=(\d+) ", scenario):
        found[int(cpu)].append("speculative fill of page")
    for row in told.rows():
        found[row.cpu].append(row.text)
    return found


def _plays(name: str, cpu: int, did: dict[int, list[str]]) -> bool:
    role = ROLES[name]
    if name == "only CPU":
        return len(did) == 1
    if role.never and any(re.search(role.never, text) for text in did[cpu]):
        return False
    own = bool(role.own) and any(re.search(role.own, text) for text in did[cpu])
    everywhere = role.any.replace("cpuN", f"cpu{cpu}")
    return own or bool(everywhere) and any(re.search(everywhere, text) for all_of in did.values() for text in all_of)


def wrong(story: str, told: Interleaving | None, scenario: str) -> list[str]:
    """What a story says of its CPUs and the interleaving does not show. Without one there are no numbers to give."""
    if found := re.findall(r"\bcpu\d+\b", story):
        return [f"'{found[0]}' is to be 'CPU {found[0][3:]}'"]
    named = sorted({int(number) for number in _CPU.findall(story)})
    if told is None:
        return [f"CPU {number} has a number, but no interleaving shows it" for number in named]
    did = _evidence(told, scenario)
    if not named:
        return ["no CPU is named by its number"]
    problems = [f"the interleaving has no CPU {cpu}" for cpu in named if cpu not in did]
    if problems:
        return problems
    for cpu in named:
        at = re.search(rf"\bCPU {cpu}\b", story)
        introduced = _INTRODUCTION.match(story, at.start())
        if not introduced:
            problems.append(f"CPU {cpu} has no role where it comes up first ('CPU {cpu}, the initiator, ...')")
        elif introduced[2] not in ROLES:
            problems.append(f"'{introduced[2]}' is no role; there are: {', '.join(ROLES)}")
        elif not _plays(introduced[2], cpu, did):
            problems.append(f"CPU {cpu} is not the {introduced[2]} in the interleaving")
    everything = [text for all_of in did.values() for text in all_of]
    problems += [f"the interleaving has no {name}" for name in sorted(set(re.findall(r"\bmm\d+\b", story)))
                 if not any(name in text or f"mm={name[2:]}" in text for text in everything)]
    for shape, verb in ((r"tlb_gen to (\d+)", "modify"), (r"reads generation (\d+)", "load")):
        problems += [f"tlb_gen is never {number} in the interleaving" for number in re.findall(shape, story)
                     if not any(re.match(rf"{verb} \w+\.tlb_gen = {number}$", text) for text in everything)]
    for verb, shape in VERBS.items():
        for number in re.findall(rf"\b(?<!of )CPU (\d+)(?:, (?:the|a) [^,.;:]+,)?(?: has)? (?:{verb})\b", story):
            if not any(re.search(shape, text) for text in did[int(number)]):
                problems.append(f"CPU {number} does not do what '{verb.split('|', maxsplit=1)[0]}' says")
    return problems
