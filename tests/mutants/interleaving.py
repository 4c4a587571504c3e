"""The interleaving of a page: its rows, the CPU of each, what it has changed, and the marks in front."""

import dataclasses
import re
from dataclasses import dataclass

# In front of each line the reproducer marks the steps of the verdict and the deviations. Where the verdict names one
# step only, the patch may name the row that it is in conflict with: the cause.
_MARK_WIDTH = 7
_CAUSE = "cause"
_LEFT_OUT = re.compile(r"\s*\.\.\. \d+ (?:rows|lines) left out$")


class InterleavingError(Exception):
    """A text that is no interleaving, or a patch that names a row that is not there; the text says why."""


@dataclass(frozen=True)
class Row:
    """One line that a CPU has; what was wrapped is put together again."""

    line: int  # of the text
    step: int
    cpu: int
    text: str
    mark: str = ""  # first, then, both, dev
    notes: str = ""  # what it has changed, each in brackets


@dataclass(frozen=True)
class Interleaving:
    """What the reproducer has told of a run."""

    lines: list[str]  # without the mark of the cause
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
            mark, rest = text[:_MARK_WIDTH].strip(), text[_MARK_WIDTH:]
            match = re.match(r"(\d*) +(?=\S)", rest)
            if line == 0 or _LEFT_OUT.match(text) or not match:
                continue
            if not match[1]:
                rows[-1] = _goes_on(rows[-1], rest.strip())
                continue
            # What a store buffer does is told two places further in.
            at = _MARK_WIDTH + match.end()
            cpu = max(index for index, column in enumerate(columns) if column <= at)
            rows.append(Row(line, int(match[1]), self.cpus()[cpu], text[at:].rstrip(), mark))
        return rows

    def _cause_line(self) -> int | None:
        if not self.cause:
            return None
        then = next((row.line for row in self.rows() if row.mark in ("then", "both")), 0)
        if any(row.mark in ("first", "both") for row in self.rows()):
            raise InterleavingError("the verdict names a first step, so the patch may not name a cause")
        name, _, text = self.cause.removeprefix("CPU ").partition(": ")
        rows = [row.line for row in self.rows() if row.cpu == int(name) and row.text == text and row.line < then]
        if not rows:
            raise InterleavingError(f"before the step of the verdict there is no row '{text}' of CPU {name}")
        return rows[-1]

    def shortened(self, most: int) -> "Interleaving":
        """The last rows, and of those before them the beginnings of operations and what is marked."""
        rows = self.rows()
        cause = self._cause_line()
        shown = [row for index, row in enumerate(rows) if index >= len(rows) - most
                 or row.text.startswith("== ") or row.mark or row.line == cause]
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
        """The lines, with the cause marked, too."""
        cause = self._cause_line()
        return "\n".join((_CAUSE.ljust(_MARK_WIDTH) + text[_MARK_WIDTH:] if line == cause else text).rstrip()
                         for line, text in enumerate(self.lines))


def _goes_on(row: Row, text: str) -> Row:
    """The row with a further line of it. One in brackets, or behind an open bracket, belongs to the notes."""
    if text.startswith("[") or row.notes and not row.notes.endswith("]"):
        return dataclasses.replace(row, notes=f"{row.notes} {text}".strip())
    return dataclasses.replace(row, text=f"{row.text} {text}")


def parse(marked: str, verdict: str, cause: str = "") -> Interleaving:
    """Reads what `marked` has written, or what a reproducer tells."""
    lines = marked.rstrip("\n").splitlines()
    if not lines or not re.match(r"\s*step ", lines[0]):
        raise InterleavingError("the interleaving has no line that names the columns")
    lines = [" " * _MARK_WIDTH + line[_MARK_WIDTH:] if line.startswith(_CAUSE) else line for line in lines]
    return Interleaving([line.rstrip() for line in lines], verdict.rstrip("\n").splitlines(), cause)
