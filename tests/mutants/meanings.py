"""What the pages of the museum say of rules, oracles and references, with links."""

import re
from dataclasses import dataclass
from pathlib import Path

PROTOCOL = "docs/protocol.md"
ORACLES_FILE = "fuzz/README.md"

# One line each; the table of ORACLES_FILE says exactly when each fires.
ORACLES = {
    "O1": "a flush returns while a CPU can use an older translation",
    "O2": "an access, or a CPU that leaves lazy mode, uses a translation older than a completed flush",
    "O3": "a generation leaves its bounds",
    "O4": "an ASID holds something older than the generation that it records",
    "O5": "a CPU can walk a page table that was released",
    "O6": "a frame or a table is released while it can be used",
    "O7": "a CPU has an mm in CR3 and is not in its mask",
    "O8": "interrupts are on while CR3 and the bookkeeping disagree",
    "O9": "a lazy CPU uses user memory, or is lazy on the kernel's mm",
    "O10": "a partial flush skips a generation",
    "O11": "the recorded generation was read after the flush",
    "O12": "the user PCID keeps what was flushed under the kernel PCID",
    "O13": "a CPU can use a kernel translation that was flushed",
    "O14": "two ASIDs of a CPU name the same mm",
    "O15": "a call does not run exactly once with interrupts off",
    "O16": "a published request changes",
    "O17": "a queued call is forgotten",
    "O18": "a CPU waits for ever, or with interrupts off",
    "O19": "an interrupt, a call or a full flush was not needed",
    "O20": "a batch flush leaves something that can be used",
    "O21": "an operation completes over a change that is not flushed",
    "O22": "`user_access_ok` gives an NMI the wrong answer",
    "O23": "CR4 and its shadow differ",
    "O24": "a CPU that comes up can use what its TLB held before",
    "O25": "a temporary mm does not end as it began",
    "O26": "a preempted vCPU is skipped, and no flush comes before it runs",
    "O27": "a global ASID is shared or used again unflushed, or a CPU beside it is missed",
    "O28": "what was invalidated does not cover what was asked",
    "O29": "a counter differs from what happened",
    "O31": "an mm is destroyed while a CPU has it loaded",
    "O32": "a CPU uses kernel state on a user root",
    "O33": "an address leads to two frames, or a load misses the last store",
    "O34": "an operation on memory does not leave what it says",
    "O35": "references are not what entries and operations hold, or a page leaks",
    "O36": "a switch returns while an earlier store of its caller waits in the store buffer",
    "ORDER": "by the C++ memory model nothing orders a handover",
    "CHECK": "a check inside the core fails",
    "FAULT": "an instruction faults",
}

# Rules that are no rule, ordering or invariant with a number.
_OTHER_RULES = {
    "contract": ("The contract", "what an operation promises to its caller, or the kernel to the core"),
    "hardware": ("The hardware", "what the manual says of an instruction or of the walker"),
    "none": ("None", "nothing stale is ever used, but a figure is wrong"),
}
_HEADING = re.compile(r"(?m)^#+ (.*)$")

# Where a commit of a repository, or the number of a report, can be looked at.
_LINUX = "https://git.kernel.org/torvalds/c/"
_LINKS = [
    (r"CVE-\d+-\d+", "https://www.cve.org/CVERecord?id={}"),
    (r"XSA-(\d+)", "https://xenbits.xen.org/xsa/advisory-{}.html"),
    (r"\br(\d{6})\b", "https://svnweb.freebsd.org/changeset/base/{}"),
    (r"\bD\d{5}\b", "https://reviews.freebsd.org/{}"),
    (r"\bEN-\d+:\d+\.\w+", "https://www.freebsd.org/security/advisories/FreeBSD-{}.asc"),
    (r"Project Zero issue (\d+)", "https://bugs.chromium.org/p/project-zero/issues/detail?id={}"),
    (r"docs/(\w+\.md)", "../{}"),
]
_REPOSITORIES = {"FreeBSD": "https://cgit.freebsd.org/src/commit/?id=",
                 "OpenBSD": "https://github.com/openbsd/src/commit/"}

# Which system a bug was in, by its reference; the first that fits.
_SYSTEMS = [
    ("FreeBSD", r"^FreeBSD\b"),
    ("OpenBSD", r"^OpenBSD\b"),
    ("Xen", r"^Xen\b"),
    ("processors", r"^(AMD|Intel|Xeon Phi)\b"),
    ("Linux", r"\bLinux\b|\bKVM\b"),
    ("this core, a memory order made too weak", r"^an ordering of "),
    ("this core", r"\bthis (core|project|memory manager)\b"),
    ("constructed", r"^constructed\b"),
    ("no report known", r"^no report known\b"),
]


@dataclass(frozen=True)
class Rule:
    """A rule, ordering or invariant, and where it is argued."""

    title: str
    text: str
    link: str  # from docs/museum; empty: nothing to argue

    @property
    def linked(self) -> str:
        """Its title with the link."""
        return f"[{self.title}]({self.link})" if self.link else self.title


def rules(root: Path) -> dict[str, Rule]:
    """What each rule, ordering and invariant says, as docs/protocol.md puts it."""
    protocol = (root / PROTOCOL).read_text()
    found = {}
    for shape in (r"(?ms)^\*\*(R\d+) (.*?)\.?\*\*", r"(?m)^\| (M\d+) \| (.*?) \|",
                  r"(?ms)^\* \*\*(I\d+)\*\* (.*?)(?=\.\s)"):
        for match in re.finditer(shape, protocol):
            text = " ".join(match[2].split())
            found[match[1]] = Rule(match[1], text, f"../protocol.md#{_anchor(protocol, match.start())}")
    for name, (title, text) in _OTHER_RULES.items():
        at = protocol.find("**A flush promises.**") if name == "contract" else -1
        found[name] = Rule(title, text, f"../protocol.md#{_anchor(protocol, at)}" if at > 0 else "")
    return found


def _anchor(text: str, at: int) -> str:
    """The name of the heading above a place, as the viewers of Markdown make it."""
    heading = [match[1] for match in _HEADING.finditer(text, 0, at)][-1]
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def in_order(name: str) -> tuple[int, int, str]:
    """Rules, then orderings, then invariants, then what has no number."""
    match = re.fullmatch(r"([RMI])(\d+)", name)
    return ("RMI".index(match[1]), int(match[2]), "") if match else (3, 0, name)


def linked(reference: str) -> str:
    """A reference as it is, with links to commits, advisories and reviews."""
    for shape, address in _LINKS:
        reference = re.sub(rf"(?<![\[/=-]){shape}",
                           lambda match, to=address: f"[{match[0]}]({to.format(match[match.lastindex or 0])})",
                           reference)
    repository = next((to for name, to in _REPOSITORIES.items() if reference.startswith(name)), _LINUX)
    return re.sub(r"(?<![\w/=])[0-9a-f]{12}\b", lambda match: f"[{match[0]}]({repository}{match[0]})", reference)


def system(reference: str) -> str | None:
    """Which kernel, hypervisor or processor a bug was in."""
    return next((name for name, shape in _SYSTEMS if re.search(shape, reference)), None)
