"""The interleaving of a page: its rows, the CPU of each, and the two steps that the verdict names."""

import re
from dataclasses import dataclass

# In front of each line: which step of the verdict this is, if any.
_FIRST, _THEN, _BOTH = "first  ", "then   ", "both   "
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
        """The line of each step that the verdict names: "first", which is not always there, and "then"."""
        named = re.findall(r"(?m)^(first|then):\s+step (\d+), cpu(\d+): (.*)$", "\n".join(self.verdict))
        return {which: self._line(int(step), int(cpu), what) for which, step, cpu, what in named}

    def _line(self, step: int, cpu: int, what: str) -> int:
        before = [row for row in self.rows() if row.cpu == cpu and row.step <= step]
        if not before:
            raise InterleavingError(f"the verdict names step {step} of cpu{cpu}, which has none so early")
        at = [row for row in before if row.step == before[-1].step]
        if "cached" in what:
            at = [row for row in at if _CACHED.search(row.text)] or at
        return at[-1].line

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
        return Interleaving(lines, self.verdict)

    def marked(self) -> str:
        """The lines, with the steps of the verdict marked at the left."""
        steps = self.steps()
        first, then = steps.get("first"), steps.get("then")
        marks = {first: _FIRST, then: _BOTH if first == then else _THEN}
        return "\n".join((marks.get(line, _NONE) + text).rstrip() for line, text in enumerate(self.lines))


def parse(marked: str, verdict: str) -> Interleaving:
    """Reads what `marked` has written, or lines without marks."""
    lines = marked.rstrip("\n").splitlines()
    if not lines or not re.match(r"\s*step ", lines[0]):
        raise InterleavingError("the interleaving has no line that names the columns")
    if lines[0].startswith(_NONE):
        lines = [line[len(_NONE):] for line in lines]
    return Interleaving(lines, verdict.rstrip("\n").splitlines())
