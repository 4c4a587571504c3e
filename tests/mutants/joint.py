"""One core that holds all mutants, of which a program runs one: compiled once instead of once for each.

Each function of which a patch changes the body gets both bodies, and each initialiser both values; what a patch
adds is there for all. Which of them runs is asked where they begin. A patch that cannot be held in this way, such as
one that changes the type of a member, does not compile, or is refused here.

A file that a patch changes consists of sections, each behind a line that says whose text it is:

    //@ text                 of all; a file begins with it
    //@ code                 of no source: chooses
    //@ only NAME...         of these mutants
    //@ not NAME...          of all others and of the clean core

`select` gives back the text of one of them, which must be the patched file and is compared with it
(joint_test.py), so that nothing is lost or mixed up on the way.
"""

import argparse
import difflib
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterable
from pathlib import Path

from tests.mutants import declarations, mutant
from tests.mutants.declarations import Declaration, Kind

CHOICE = "tests/mutants/choice.h"
NAMES = "mutants/names.cc"
_MARK = "//@ "
_CHOICE_MARK, _CHOICE_MARK_SIZE = b"the mutant that runs", 24
_NAMES_TEXT = """\
// The mutants that a program holds. Written by tests/mutants/joint.py.
#include <span>

#include "tests/mutants/choice.h"

namespace {

constexpr shootdown::mutants::Named kNamed[] = {
@NAMED@};

}  // namespace

std::span<const shootdown::mutants::Named> shootdown::mutants::all() { return kNamed; }
"""


class _File:
    """A clean file, and what the patches make of it."""

    def __init__(self, path: str, text: str):
        self.path = path
        self._clean = declarations.read(text)
        # By the place in the clean file: whose bodies it has, which mutants lack it, and what is added in front.
        self._bodies: dict[int, dict[str, tuple[Declaration, int]]] = {}
        self._left_out: dict[int, list[str]] = {}
        self._added: dict[int, list[tuple[str, str, int]]] = {}

    def add(self, name: str, text: str) -> None:
        """Takes in the file as it is with a patch."""
        changed = declarations.read(text)
        lines = _first_lines(changed)
        match = difflib.SequenceMatcher(None, [one.key for one in self._clean], [one.key for one in changed],
                                        autojunk=False)
        for _, begin, end, other, other_end in match.get_opcodes():
            if [one.key for one in self._clean[begin:end]] == [one.key for one in changed[other:other_end]]:
                for place, one, line in zip(range(begin, end), changed[other:other_end], lines[other:other_end]):
                    self._compare(name, place, one, line)
                continue
            for place in range(begin, end):
                self._left_out.setdefault(place, []).append(name)
            for one, line in zip(changed[other:other_end], lines[other:other_end]):
                self._added.setdefault(end, []).append((name, one.text, line))

    def _compare(self, name: str, place: int, one: Declaration, line: int) -> None:
        clean = self._clean[place]
        if one == clean:
            return
        if (one.head, one.tail) != (clean.head, clean.tail) or one.kind == Kind.OTHER:
            raise mutant.MutantError(f"{name} changes a comment in front of a declaration of {self.path}: that is no "
                                     "part of the bug; leave it as it is")
        if not one.body.strip() or not clean.body.strip():
            raise mutant.MutantError(f"{name} changes an empty initialiser in {self.path}, line {line}: write the "
                                     "value that it has")
        self._bodies.setdefault(place, {})[name] = (one, line + one.head.count("\n"))

    def text(self) -> str:
        """The file with all mutants."""
        out = _Writer(self.path)
        for place, (clean, line) in enumerate(zip(self._clean, _first_lines(self._clean))):
            for name, text, where in self._added.get(place, []):
                out.section(f"only {name}", text, where)
            without = self._left_out.get(place, [])
            whose = "not " + " ".join(without) if without else "text"
            bodies = self._bodies.get(place)
            if not bodies:
                out.section(whose, clean.text, line)
                continue
            begin = line + clean.head.count("\n")
            out.section(whose, clean.head, line)
            _choose(out, clean, begin, bodies, without)
            out.section(whose, clean.tail, begin + clean.body.count("\n"))
        return out.done()


def _first_lines(found: list[Declaration]) -> list[int]:
    lines, line = [], 1
    for one in found:
        lines.append(line)
        line += one.text.count("\n")
    return lines


def _choose(out: "_Writer", clean: Declaration, line: int, bodies: dict[str, tuple[Declaration, int]],
            without: list[str]) -> None:
    """Writes all bodies of a function or all values of a variable, and the question which of them it is."""
    is_function = clean.kind == Kind.FUNCTION
    out.code("{" if is_function else "(")
    for place, (name, (one, where)) in enumerate(bodies.items()):
        ask = f"::shootdown::mutants::is(0x{number(name):08x})"
        if is_function:
            out.code(f"{'else ' if place else ''}if ({ask})")
        else:
            out.code(f"{ask} ?")
        out.section(f"only {name}", one.body, where)
        out.code("" if is_function else ":")
    if is_function:
        out.code("else")
    out.section("not " + " ".join([*bodies, *without]), clean.body, line)
    out.code("}" if is_function else ")")


class _Writer:
    """Writes sections. The compiler takes each line for the one that it is in the clean or the patched file."""

    def __init__(self, path: str):
        self._path = path
        self._sections: list[list[str]] = [["text", ""]]

    def section(self, whose: str, text: str, line: int) -> None:
        """Text that begins in the line of that number."""
        if whose == "text" and self._sections[-1][0] == "text":
            self._sections[-1][1] += text
        elif text:
            # The line of the mark itself is counted.
            self.code(f'#line {line - 1} "{self._path}"')
            self._sections.append([whose, text])

    def code(self, text: str) -> None:
        if self._sections[-1][0] == "code":
            self._sections[-1][1] += "\n" + text
        else:
            self._sections.append(["code", text])

    def done(self) -> str:
        first, rest = self._sections[0][1].split("\n", 1)
        include = f'#include "{CHOICE}"\n#line 1 "{self._path}"'
        sections = [["code", include], ["text", rest], *self._sections[1:]]
        return first + "\n" + "".join(f"\n{_MARK}{whose}\n{text}" for whose, text in sections)


def select(text: str, name: str | None) -> str:
    """The file as it is with the mutant, or the clean one."""
    sections: list[tuple[str, list[str]]] = [("text", [])]
    for line in text.split("\n"):
        if line.startswith(_MARK):
            sections.append((line.removeprefix(_MARK), []))
        else:
            sections[-1][1].append(line)
    out = ""
    for whose, lines in sections:
        word, *names = whose.split()
        if word == "text" or (word == "only" and name in names) or (word == "not" and name not in names):
            out += "\n".join(lines)
    return out


def number(name: str) -> int:
    """The mutant's number, by which a program knows it."""
    return zlib.crc32(name.encode())


def names_source(names: Iterable[str]) -> str:
    """A source file that says which mutants there are, for the program that chooses by name."""
    numbers = {name: number(name) for name in names}
    if len({0, *numbers.values()}) != 1 + len(numbers):
        raise mutant.MutantError("two mutants have the same number, the CRC-32 of their names: rename one")
    named = "".join(f'    {{"{name}", 0x{value:08x}}},\n' for name, value in numbers.items())
    return _NAMES_TEXT.replace("@NAMED@", named)


def choose_in(image: bytes, name: str) -> bytes:
    """A program with a joint core inside, changed so that it runs the mutant from its start."""
    at = image.find(_CHOICE_MARK)
    if at < 0 or image.find(_CHOICE_MARK, at + 1) >= 0:
        raise mutant.MutantError("the image does not have the one variable that says which mutant runs: it is not of "
                                 "//tests/mutants:joint_image, or is compressed")
    at += _CHOICE_MARK_SIZE
    return image[:at] + number(name).to_bytes(4, "little") + image[at + 4:]


def merge(clean: dict[str, Path], patches: Iterable[Path]) -> dict[str, str]:
    """The changed files by their places in the tree. Raises MutantError with all patches that do not fit."""
    files: dict[str, _File] = {}
    wrong = []
    for patch in patches:
        try:
            for path, text in _patched(clean, patch).items():
                file = files.setdefault(path, _File(path, clean[path].read_text()))
                file.add(patch.stem, text)
        except mutant.MutantError as error:
            wrong.append(str(error))
    if wrong:
        raise mutant.MutantError("\n".join(wrong))
    return {path: file.text() for path, file in files.items()}


def _patched(clean: dict[str, Path], patch: Path) -> dict[str, str]:
    """The files that a patch changes, changed."""
    paths = mutant.patched_files(patch)
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        for path in paths:
            if path not in clean:
                raise mutant.MutantError(f"{patch} changes {path}, which is not among the files to merge")
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(clean[path], tree / path)
        mutant.apply(patch, tree)
        return {path: (tree / path).read_text() for path in paths}


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patches", required=True, nargs="+", type=Path)
    parser.add_argument("--tree", required=True, type=Path, help="folder that takes the files")
    parser.add_argument("--files", required=True, nargs="+", metavar="FROM=TO", help="TO is relative to the tree")
    args = parser.parse_args(argv)
    clean = {target: Path(source) for source, _, target in (pair.partition("=") for pair in args.files)}
    try:
        merged = merge(clean, args.patches)
        merged[NAMES] = names_source(patch.stem for patch in args.patches)
    except mutant.MutantError as error:
        print(error, file=sys.stderr)
        return 1
    for path in {*clean, *merged}:
        file = args.tree / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(merged[path] if path in merged else clean[path].read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
