"""Figures that the documents publish: where each stands, and how it is read and written.

A test measures figures, which have keys, prints them, and compares them with what is published.
`refresh.py` runs the same tests and writes what they print into the documents.
"""

import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

_MARK = "FIGURE "
# Kinds of figures of which each has a row. `publish` adds those of searches; that of a proof says what it guarantees.
_PROOFS, _SEARCHES, _TICKS = "proof ", "executions ", "ledger pti="
_COMPLETE = {_PROOFS: "docs/proofs.md", _SEARCHES: "docs/executions.md", _TICKS: "tests/ledger/ticks.txt"}
REMEDY = "bazel run //tests/docs:refresh"
LEDGER_REMEDY = f"{REMEDY} -- --ledger"


@dataclass
class Place:
    """A figure in a text: the key, what is published, and where."""

    key: str
    text: str
    line: int  # of the document, from 0
    start: int  # in the line
    end: int


def _rows(lines: list[str], header: str) -> Iterator[tuple[int, list[re.Match]]]:
    """(line, cells) of each row of the tables whose first line begins with `header`."""
    inside = False
    for number, line in enumerate(lines):
        if line.startswith(header):
            inside = True
        elif not line.startswith("|"):
            inside = False
        elif inside and not line.startswith("|---"):
            yield number, list(re.finditer(r"(?<=\| )[^|]*?(?= \|)", line))


def _place(key: str, line: int, cell: re.Match, pattern: str) -> Iterator[Place]:
    """The first part of a cell that fits the pattern."""
    if match := re.search(pattern, cell[0]):
        start = cell.start() + match.start(1)
        yield Place(key, match[1], line, start, start + len(match[1]))


def museum_number(mutant: str) -> str:
    """As people write it: m04_no_barrier is 4, c06a_handler is c06a."""
    return re.match(r"m?0*(\w+?)_", mutant)[1]


def _proofs(lines: list[str]) -> Iterator[Place]:
    for line, (name, _, _, executions, plain) in _rows(lines, "| proof | CPUs |"):
        proof = name[0].strip("`")
        yield from _place(f"proof {proof}", line, executions, r"^([\d,]+)")
        yield from _place(f"proof {proof}, bounded", line, executions, r"; ([\d,]+)$")
        yield from _place(f"plain {proof}", line, plain, r"^10\^(\d+)")
    for header, memories in [("| museum | proof | found |", ["tso"]),
                             ("| museum | proof | `tso` | `sc` |", ["tso", "sc"]),
                             ("| museum | proof | `cxx` | `tso` |", ["cxx", "tso"])]:
        for line, cells in _rows(lines, header):
            number = re.match(r"\w+", cells[0][0])[0]
            for memory, cell in zip(memories, cells[2:]):
                key = f"found {number} {cells[1][0].strip('`')} {memory}"
                yield from _place(key, line, cell, r"^(\w+ in execution [\d,]+|absent)")


def _ticks(lines: list[str]) -> Iterator[Place]:
    for header, pti in [("| flush | 1 CPU |", "off"), ("| `--pti on` | 1 CPU |", "on")]:
        cpus: list[str] = []
        for line in lines:
            if line.startswith(header):
                cpus = re.findall(r"(\d+) CPU", line)
        for number, cells in _rows(lines, header):
            for count, cell in zip(cpus, cells[1:]):
                yield from _place(f"ticks pti={pti} cpus={count} {cells[0][0]}", number, cell,
                                  r"^(\d+(?: \(\d+\))?)$")


def _ledger(lines: list[str]) -> Iterator[Place]:
    for number, line in enumerate(lines):
        key, colon, text = line.partition(": ")
        if colon:
            yield Place(f"ledger {key}", text, number, len(key) + len(colon), len(line))


def _with_new_ledger_lines(lines: list[str], measured: dict[str, str]) -> list[str]:
    """The lines and, behind them, one for each figure that has none."""
    published = {place.key for place in _ledger(lines)}
    new = [f"{key.removeprefix('ledger ')}: {text}" for key, text in measured.items()
           if key.startswith(_TICKS) and key not in published]
    return [*lines[:-1], *new, lines[-1]]


def _searches(lines: list[str]) -> Iterator[Place]:
    for line, (name, options, executions) in _rows(lines, "| mutant | options |"):
        mutant = name[0].strip("`")
        yield from _place(f"options {mutant}", line, options, r"^(.+)$")
        yield from _place(f"executions {mutant}", line, executions, r"^(.+)$")


def _with_new_searches(lines: list[str], measured: dict[str, str]) -> list[str]:
    """The lines with a row for each search that has none, by name."""
    published = {place.key for place in _searches(lines)}
    new = [key for key in measured if key.startswith(_SEARCHES) and key not in published]
    for mutant in (key.removeprefix(_SEARCHES) for key in new):
        rows = [(number, cells[0][0].strip("`")) for number, cells in _rows(lines, "| mutant | options |")]
        at = next((number for number, name in rows if name > mutant), rows[-1][0] + 1)
        row = f"| `{mutant}` | {measured[f'options {mutant}']} | {measured[f'executions {mutant}']} |"
        lines = [*lines[:at], row, *lines[at:]]
    return lines


# Each document, and what finds the figures in its tables.
_DOCUMENTS: dict[str, Callable[[list[str]], Iterator[Place]]] = {
    "docs/executions.md": _searches,
    "docs/proofs.md": _proofs,
    "kernel-glue/README.md": _ticks,
    "tests/ledger/ticks.txt": _ledger,
}
# Examples: a command and what it prints. (document, how the command begins) -> key
EXAMPLES = {
    ("README.md", "$ bazel run //fuzz:explore -- switch_in_and_range_flush"): "example explore",
    ("README.md", "$ bazel run //fuzz:reproduce -- --binary"): "example reproduce",
    ("docs/first-change.md", "$ bazel run //fuzz:reproduce -- tests/mutants/scenarios/"): "example barrier report",
    ("docs/first-change.md", "$ bazel run //fuzz:explore -- switch_in_with_lazy_masks"): "example barrier proof",
    ("docs/first-change.md", "$ bazel run //fuzz:explore -- switch_in_and_range_flush"): "example explore",
    ("README.md", "$ bazel run //kernel-glue:bochs -- --cpus 8 --pti on"): "example bochs",
    ("kernel-glue/README.md", "$ bazel run //kernel-glue:bochs -- --cpus 8 --pti on"): "example bochs",
}
# Files that are what a program prints, and nothing else. key -> document
LEDGER = "ledger of the model"
PLOTS = ["desktop", "two-socket", "clusters", "phases", "many-pages"]
TEXTS = {LEDGER: "tests/ledger/model.txt", "modelled time": "docs/modelled-time.md",
         **{f"plot {name}": f"docs/modelled-time/{name}.svg" for name in PLOTS}}
_NOT_THERE = "(no line like"
# What is never the same twice, and what moves with every comment in a file.
_SECONDS = re.compile(r"\b\d+\.\d s\b")
_PLACE = re.compile(r"\s+\w+\.(?:h|cc):\d+(?: ~?\w+)?$")
_LINE = re.compile(r"(\.(?:h|cc)):\d+(?=$| ~?\w+$)")


def tables(root: Path) -> dict[str, str]:
    """The figures of all tables, by key."""
    found: dict[str, str] = {}
    for document, places in _DOCUMENTS.items():
        if (root / document).is_file():
            for place in places((root / document).read_text().split("\n")):
                assert place.key not in found, f"{document} has two places for {place.key}"
                found[place.key] = place.text
    return found


def _example_lines(lines: list[str], command: str) -> tuple[int, int, str]:
    """Where the output of a command stands, and how far it is indented."""
    first = next(i for i, line in enumerate(lines) if line.strip().startswith(command))
    indent = lines[first][:len(lines[first]) - len(lines[first].lstrip())]
    while lines[first].endswith("\\"):
        first += 1
    end = first = first + 1
    while end < len(lines) and not lines[end].startswith("```") and (
            not indent or not lines[end] or lines[end].startswith(indent)):
        end += 1
    while not lines[end - 1]:
        end -= 1
    return first, end, indent


def example(root: Path, document: str, command: str) -> list[str]:
    """What a document says that a command prints."""
    lines = (root / document).read_text().split("\n")
    first, end, indent = _example_lines(lines, command)
    return [line.removeprefix(indent) for line in lines[first:end]]


def _shape(line: str) -> str:
    """What two lines share that differ in numbers, and in the place of the code that they are about."""
    return re.sub(r"\d+", "#", _PLACE.sub("", line))


def shortened(published: list[str], printed: list[str]) -> list[str]:
    """What was printed, left out and cut off where the published lines are.

    A line "..." stands for any number of lines, and " ..." at the end of one for its rest.
    """
    if not any(line.endswith("...") for line in published):
        return printed
    result, at = [], 0
    for line in published:
        if line == "...":
            result.append(line)
            continue
        begin = line.removesuffix(" ...")
        # A cut line is as long as it was, in words.
        fitting = [i for i in range(at, len(printed))
                   if _shape(" ".join(printed[i].split(" ")[:len(begin.split(" "))])) == _shape(begin)]
        if not fitting:
            result.append(f"{_NOT_THERE}: {line})")
            continue
        at = fitting[0] + 1
        kept = " ".join(printed[fitting[0]].split(" ")[:len(begin.split(" "))])
        result.append(kept + line[len(begin):])
    return result


def timeless(lines: list[str]) -> list[str]:
    """The lines without times and numbers of lines of code."""
    return [_LINE.sub(r"\1:N", _SECONDS.sub("N s", line.rstrip())) for line in lines]


def tell(measured: dict[str, str]) -> None:
    """Prints figures for `heard`."""
    for key, text in measured.items():
        print(_MARK + json.dumps([key, text]), flush=True)


def heard(output: str) -> dict[str, str]:
    """The figures in the output of a test."""
    return dict(json.loads(line.removeprefix(_MARK)) for line in output.splitlines()
                if line.startswith(_MARK))


def _missing(measured: dict[str, str], published: dict[str, str], kind: str) -> list[str]:
    return [f"{key}: {_COMPLETE[kind]} has no row for it, measured was {text}" for key, text in measured.items()
            if key.startswith(kind) and key not in published]


def _changed_lines(document: str, said: list[str], printed: list[str]) -> list[str]:
    """The lines of a text that are published otherwise than they were printed: by what is before the colon."""
    published, measured = ({line.partition(": ")[0]: line for line in lines} for lines in (said, printed))
    changed = [f"{document}: {key}\n  published: {published.get(key, '(not there)')}\n"
               f"  measured:  {measured.get(key, '(not there)')}"
               for key in {**published, **measured} if published.get(key) != measured.get(key)]
    return changed or [f"{document}: the order of the lines is another"] if said != printed else []


def unwritten(root: Path, measured: dict[str, str]) -> list[str]:
    """The figures that `publish` cannot write, one line each: a row is to be added first, with any figure in it."""
    return [f"{line}; add one, with its guarantee" for line in _missing(measured, tables(root), _PROOFS)]


def differences(root: Path, measured: dict[str, str]) -> list[str]:
    """What is published otherwise than it was measured, one line each."""
    published = tables(root)
    wrong = _missing(measured, published, _SEARCHES) + _missing(measured, published, _TICKS)
    for key, text in measured.items():
        if key in published and published[key] != text:
            wrong.append(f"{key}: published is {published[key]}, measured was {text}")
        for (document, command), name in EXAMPLES.items():
            if name == key and (root / document).is_file():
                said = example(root, document, command)
                if timeless(said) != timeless(shortened(said, text.split("\n"))):
                    wrong.append(f"{document}: '{command}' prints something else:\n{text}")
    texts: list[str] = []
    for key, document in TEXTS.items():
        if key in measured:
            texts += _changed_lines(document, (root / document).read_text().splitlines(), measured[key].splitlines())
    of_ledger = [line for line in wrong if line.startswith(("ledger ", "ticks "))]
    return [*(line + f"\n  ({REMEDY} writes it)" for line in wrong if line not in of_ledger),
            *(line + f"\n  ({LEDGER_REMEDY} writes it)" for line in of_ledger + texts), *unwritten(root, measured)]


def publish(root: Path, measured: dict[str, str]) -> list[str]:
    """Writes figures into the documents, but those that are `unwritten`. Returns the documents that have changed."""
    changed = []
    for document in sorted({*_DOCUMENTS, *(document for document, _ in EXAMPLES), *TEXTS.values()}):
        path = root / document
        before = path.read_text()
        lines = before.split("\n")
        for key, text in TEXTS.items():
            if text == document and key in measured:
                lines = measured[key].split("\n")
        if document == _COMPLETE[_SEARCHES]:
            lines = _with_new_searches(lines, measured)
        if document == _COMPLETE[_TICKS]:
            lines = _with_new_ledger_lines(lines, measured)
        places = list(_DOCUMENTS[document](lines)) if document in _DOCUMENTS else []
        # From the end of each line, so that places before it stay where they are.
        for place in sorted(places, key=lambda place: (place.line, -place.start)):
            if place.key in measured:
                line = lines[place.line]
                lines[place.line] = line[:place.start] + measured[place.key] + line[place.end:]
        for (where, command), name in EXAMPLES.items():
            if where == document and name in measured:
                first, end, indent = _example_lines(lines, command)
                said = [line.removeprefix(indent) for line in lines[first:end]]
                new = shortened(said, measured[name].split("\n"))
                # What the text shows and the program no longer prints is left to people.
                if timeless(new) != timeless(said) and not any(line.startswith(_NOT_THERE) for line in new):
                    lines[first:end] = [(indent + line).rstrip() for line in new]
        if "\n".join(lines) != before:
            temporary = path.with_name(f".{path.name}.{os.getpid()}")
            temporary.write_text("\n".join(lines))
            temporary.replace(path)
            changed.append(document)
    return changed
