"""Whether lines that a change touches are compiled, and whether they ran: a clean search says nothing of others."""

import difflib
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ports.harness import foreign

_FUNCTION = re.compile(r"^[0-9a-f]+ <(.+)>:$")
_INSTRUCTION = re.compile(r"^\s*([0-9a-f]+):")
_NEAR = 5  # lines around one that has no instructions of its own, as a barrier of the compiler

Line = tuple[str, int]  # a file's name, and a number


class Compiled(NamedTuple):
    """What the object's instructions say of its lines."""
    functions: dict[Line, set[str]]  # in which a line has instructions; it may be inlined
    sites: dict[Line, set[str]]  # behind its accesses
    in_function: dict[str, set[str]]  # sites of a function


def compiled(code: Path) -> Compiled:
    """Reads the disassembled object."""
    text = subprocess.run(["llvm-objdump-19", "--disassemble", "--no-show-raw-insn", str(code)],
                          stdout=subprocess.PIPE, text=True, check=True).stdout
    function, called = "", None
    found: list[tuple[str, str, str | None]] = []  # an instruction, its function, and the call before it
    for told_line in text.splitlines():
        if named := _FUNCTION.match(told_line):
            function, called = named[1], None
        elif instruction := _INSTRUCTION.match(told_line):
            place = f"0x{instruction[1]}"
            found.append((place, function, called))
            called = place if foreign.ACCESS.search(told_line) else None
    frames = foreign.frames_of(code, [place for place, _, _ in found])
    result = Compiled({}, {}, {})
    for place, function, called in found:
        for line in frames[place]:
            result.functions.setdefault(line, set()).add(function)
        if called is not None:
            result.in_function.setdefault(function, set()).add(place)
            for line in frames[called]:
                result.sites.setdefault(line, set()).add(place)
    return result


def _is_code(text: str) -> bool:
    """Not blank, a brace, or only a comment."""
    return re.fullmatch(r"\s*(?:[{}]|/[*/].*|\*.*)?\s*", text) is None


def lines(before: dict[str, str], after: dict[str, str]) -> list[Line]:
    """Of the files behind the change. Where lines are gone, those around the gap stand for them."""
    result = []
    for path, text in after.items():
        old, new = before[path].splitlines(), text.splitlines()
        matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
        for kind, first_old, last_old, first, last in matcher.get_opcodes():
            touched: Iterable[int] = range(first, last)
            if kind == "equal" or not any(map(_is_code, old[first_old:last_old] + new[first:last])):
                continue
            if first == last:
                touched = (number for number in (first - 1, first) if 0 <= number < len(new))
            result += [(Path(path).name, number + 1) for number in touched if _is_code(new[number])]
    return result


class Told(NamedTuple):
    """Of the lines that were changed."""
    changed: int
    compiled: int
    ran: int

    def __str__(self) -> str:
        return f"{self.compiled} of {self.changed} changed lines are compiled, {self.ran} of them ran"


def _standing_for(line: Line, known: Compiled) -> list[Line]:
    """The line, or those around it if it has no instructions."""
    if line in known.functions:
        return [line]
    file, number = line
    result = []
    for step in (-1, 1):
        near = [(file, number + step * distance) for distance in range(1, _NEAR + 1)]
        result += [place for place in near if place in known.functions][:1]
    return result


def told(code: Path, changed: list[Line], ran: set[str]) -> Told:
    """A line without accesses ran, as far as can be seen, where its function did."""
    known = compiled(code)
    is_there, has_run = 0, 0
    for line in changed:
        places = _standing_for(line, known)
        is_there += bool(places)
        for place in places:
            sites = known.sites.get(place) or set().union(
                *(known.in_function.get(name, set()) for name in known.functions[place]))
            if not sites.isdisjoint(ran):
                has_run += 1
                break
    return Told(len(changed), is_there, has_run)


def need_any(known: Told) -> None:
    """Of a search that has found nothing."""
    if known.ran == 0:
        raise foreign.ForeignError(f"THE CHANGE WAS NOT TRIED: no changed line has run ({known})")
