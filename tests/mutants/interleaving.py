"""The interleaving of a page: its rows, the CPU of each, and the two steps that the verdict names."""

import dataclasses
import re
from dataclasses import dataclass

# In front of each line: which step of the verdict this is, if any. Where the verdict names one only, the patch may name
# the row that it is in conflict with: the cause.
_FIRST, _THEN, _BOTH, _CAUSE = "first  ", "then   ", "both   ", "cause  "
_NONE = " " * len(_FIRST)
_LEFT_OUT = re.compile(r"\s*\.\.\. \d+ rows left out$")
_CACHED = re.compile(r"fill|walked|walks|load from|store to")


class InterleavingError(Exception):
    """A text that is no interleaving, or a verdict that does not belong to it; the text says why."""


@dataclass(frozen=True)
class Row:
    """One line that a CPU has; what was wrapped is put together again."""

    line: int  # of the text
    step: int
    cpu: int
    text: str


@dataclass(frozen=True)
class Interleaving:
    """What the reproducer has told of a run."""

    lines: list[str]  # without marks
    verdict: list[str]
    cause: str = ""  # "CPU 1: text of its row"

    def cpus(self) -> list[int]:
        """The CPUs that have a column."""
        return [int(number) for number in re.findall(r"cpu(\d+)", self.lines[0])]

    def rows(self) -> list[Row]:
        """All lines but the first, which names the columns, and those that say what is left out."""
        columns = [match.start() for match in re.finditer(r"cpu\d+", self.lines[0])]
        if not columns:
            raise InterleavingError("the interleaving names no CPUs")
        rows: list[Row] = []
        for line, text in enumerate(self.lines):
            match = re.match(r"(\d*) +(?=\S)", text)
            if line == 0 or _LEFT_OUT.match(text) or not match:
                continue
            if not match[1]:
                rows[-1] = Row(rows[-1].line, rows[-1].step, rows[-1].cpu, f"{rows[-1].text} {text.strip()}")
                continue
            # What a store buffer does is told two places further in.
            cpu = max(index for index, column in enumerate(columns) if column <= match.end())
            rows.append(Row(line, int(match[1]), self.cpus()[cpu], text[match.end():].rstrip()))
        return rows

    def steps(self) -> dict[str, int]:
        """The line of each step that the verdict names, "first", which is not always there, and "then"; and "cause"."""
        named = re.findall(r"(?m)^(first|then):\s+step (\d+), cpu(\d+): (.*)$", "\n".join(self.verdict))
        steps = {which: self._line(int(step), int(cpu), what) for which, step, cpu, what in named}
        if not self.cause:
            return steps
        if "first" in steps:
            raise InterleavingError("the verdict names a first step, so the patch may not name a cause")
        name, _, text = self.cause.removeprefix("CPU ").partition(": ")
        rows = [row.line for row in self.rows() if row.cpu == int(name) and row.text == text
                and row.line < steps["then"]]
        if not rows:
            raise InterleavingError(f"before the step of the verdict there is no row '{text}' of CPU {name}")
        return steps | {"cause": rows[-1]}

    def _line(self, step: int, cpu: int, what: str) -> int:
        before = [row for row in self.rows() if row.cpu == cpu and row.step <= step]
        if not before:
            raise InterleavingError(f"the verdict names step {step} of cpu{cpu}, which has none so early")
        at = [row for row in before if row.step == before[-1].step]
        if "cached" in what:
            at = [row for row in at if _CACHED.search(row.text)] or at
        return at[-1].line

    def ended(self) -> "Interleaving":
        """With a row in brackets for the step of the verdict, if the run ended in the middle of it."""
        last = re.search(r"(?m)^then:\s+step (\d+), cpu(\d+): (.*)$", "\n".join(self.verdict))
        if not last or int(last[1]) <= max((row.step for row in self.rows()), default=0):
            return self
        column = self.lines[0].index(f"cpu{last[2]}")
        return dataclasses.replace(self, lines=[*self.lines, f"{last[1]:<{column}}[{last[3]}]"])

    def shortened(self, most: int) -> "Interleaving":
        """The last rows, and of those before them the beginnings of operations and the steps of the verdict."""
        rows = self.rows()
        steps = self.steps().values()
        shown = [row for index, row in enumerate(rows)
                 if index >= len(rows) - most or row.text.startswith("== ") or row.line in steps]
        lines, end = [self.lines[0]], {row.line: after.line for row, after in zip(rows, rows[1:])}
        left_out = 0
        for row in rows:
            if row not in shown:
                left_out += 1
                continue
            if left_out:
                lines.append(f"  ... {left_out} rows left out")
                left_out = 0
            lines += self.lines[row.line:end.get(row.line)]
        return dataclasses.replace(self, lines=lines)

    def marked(self) -> str:
        """The lines, with the steps of the verdict marked at the left."""
        steps = self.steps()
        first, then = steps.get("first"), steps.get("then")
        marks = {first: _FIRST, then: _BOTH if first == then else _THEN, steps.get("cause"): _CAUSE}
        return "\n".join((marks.get(line, _NONE) + text).rstrip() for line, text in enumerate(self.lines))


def parse(marked: str, verdict: str, cause: str = "") -> Interleaving:
    """Reads what `marked` has written, or lines without marks."""
    lines = marked.rstrip("\n").splitlines()
    if not lines or not re.match(r"\s*step ", lines[0]):
        raise InterleavingError("the interleaving has no line that names the columns")
    if lines[0].startswith(_NONE):
        lines = [line[len(_NONE):] for line in lines]
    return Interleaving(lines, verdict.rstrip("\n").splitlines(), cause)
