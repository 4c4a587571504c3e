"""Rules and orderings of the protocol, mutants that break them, and proofs that find these: docs/proofs.md.

A row says that exploring a proof finds a mutant, by which oracle, and which rules and orderings the mutant breaks.
"""

import os
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.mutants import mutant

DOCUMENT = "docs/proofs.md"
PROTOCOL = "docs/protocol.md"
PROOFS = "fuzz/proofs"
MUTANTS = "tests/mutants"
HEADER = "| broken | mutant | proof | oracle |"
REASONS = "| without a row | why |"

# A patch names one rule. These orderings are what that rule asks of the code, or are broken by the same mutant.
ALSO = {
    "c08b_lazy_entry_relaxed": "M4",
    "m04_no_barrier_at_switch_in": "M2",
    "m11_no_window": "M10",
    "m25_lazy_exit_reads_first": "M3",
    "m25a_lazy_exit_without_barrier": "M3",
    "m27_bump_after_ipi": "M1",
    "m41_generation_before_mask": "M2",
    "m42b_read_after_flush": "M5",
    "m76_answer_overtaken_by_the_lock": "M9",
    "m78_bit_cleared_early": "M19",
}


@dataclass(frozen=True)
class Row:
    """A mutant that a proof finds."""

    broken: str  # as "R2, M2"
    mutant: str
    proof: str
    oracle: str

    @property
    def text(self) -> str:
        return f"| {self.broken} | `{self.mutant}` | `{self.proof}` | {self.oracle} |"


@dataclass(frozen=True)
class Found:
    """What an exploration came to: the oracle, or nothing, and after how many executions."""

    oracle: str
    executions: int


def _table(text: str, header: str) -> list[list[str]]:
    """The cells of the table with this header, row by row."""
    lines = text.split("\n")
    if header not in lines:
        raise ValueError(f"{DOCUMENT} has no table '{header}'")
    rows = []
    for line in lines[lines.index(header) + 2:]:
        if not line.startswith("| "):
            break
        rows.append([cell.strip(" `") for cell in line.strip("|").split(" | ")])
    return rows


def published(text: str) -> list[Row]:
    """The rows that a text of the document has."""
    return [Row(*cells) for cells in _table(text, HEADER)]


def reasons(text: str) -> dict[str, str]:
    """Why some rules and orderings have no row."""
    return {rule: why for rule, why in _table(text, REASONS)}


def wanted(protocol: str) -> list[str]:
    """Each rule and each ordering that the protocol states, in its order."""
    return [*re.findall(r"(?m)^\*\*(R\d+) ", protocol), *re.findall(r"(?m)^\| (M\d+) \|", protocol)]


def without(rules: Iterable[str], rows: Iterable[Row], why: dict[str, str]) -> list[str]:
    """What is wrong: a rule without a row and a reason, and one with both."""
    shown = {rule for row in rows for rule in row.broken.split(", ")}
    wrong = [f"{rule}: no row of {DOCUMENT} shows it, and no reason is given" for rule in rules
             if rule not in shown and rule not in why]
    return wrong + [f"{rule}: has a row, and a reason why it has none" for rule in why if rule in shown]


def broken_by(root: Path, name: str) -> str:
    """What a mutant breaks, as a row says it."""
    rule = mutant.read(root / MUTANTS / f"{name}.patch").rule
    return f"{rule}, {ALSO[name]}" if name in ALSO else rule


def reorders(proof: Path) -> bool:
    """Whether a compiler reorders in the proof."""
    return "compiler_reordering=1" in proof.read_text()


def explore(program: str, name: str, proof: Path, executions: int) -> Found:
    """Explores a proof on a mutant. Raises RuntimeError if that could not be done."""
    run = subprocess.run([program, "--samples", "0", "--executions", str(executions), str(proof)],
                         env={**os.environ, "SHOOTDOWN_MUTANT": name}, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True, check=False)
    counted = re.search(r"(?m)^  (\d+) executions, (\d+) given up", run.stdout)
    if run.returncode not in (0, 1) or counted is None:
        raise RuntimeError(f"{name} in {proof.stem}: exit status {run.returncode}\n{run.stderr}")
    found = re.search(r"(?m)^  FOUND (\w+) ", run.stdout)
    return Found(found[1] if found else "", int(counted[1]) + int(counted[2]))
