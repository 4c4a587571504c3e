"""Mutants: patches that put one real bug back into the clean code, and what they say of it.

A patch begins with comment lines `# FIELD: TEXT`, then the unified diff follows:

    museum     number in the catalogue of bugs, or "none": a memory order that is too weak (cNN), or a bug of our
               own (oNN)
    title      the bug in one line
    year       when it was found or mended, or "unknown"
    reference  where it happened
    rule       what it breaks of docs/protocol.md: a rule R1 to R13, an ordering M1 to M20, an invariant I1 to
               I7 or the contract; or a promise of the hardware; or none if only a figure is wrong
    oracles    the oracles that may report it, the one to expect first
    story      the interleaving in words; several lines. Each CPU has the number of its column there, and a role
               where it comes up first: "CPU 1, the initiator, unmaps a page" (roles.py)
    cause      where the verdict names one step only: the row of the interleaving that the step is in conflict with,
               "CPU 1: write mm1.table[504] = 0", the last such row before it; may be left out
    needs      what the modelled machine must be able to do
    bochs      "yes" if a self-test in the emulated machine shows it every time, "no" if it cannot,
               "not surely" if it needs an interleaving that cannot be forced there; ": " and why
               may follow the last two
"""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

FIELDS = ("museum", "title", "year", "reference", "rule", "oracles", "story", "needs", "bochs")
_OPTIONAL = ("cause",)
_SHAPES = {
    "museum": r"\d+|none",
    "year": r"(19|20)\d\d|unknown",
    "rule": r"R([1-9]|1[0-3])|M(1[0-9]|20|[1-9])|I[1-7]|contract|hardware|none",
    "oracles": r"(O\d+|CHECK|FAULT|ORDER)(, (O\d+|CHECK|FAULT|ORDER))*",
    "cause": r"CPU \d+: .+",
    "bochs": r"yes|no(: \S.*)?|not surely: \S.*",
}
_SEVERAL_LINES = ("story",)
# Rooms that hold the system under test, and what runs below it. A patch of the fuzzer or its oracles
# would prove nothing.
_MAY_CHANGE = ("core/", "kernel-glue/mm/", "hal/host/")
_MOST_CHANGED_LINES = 30


class MutantError(Exception):
    """A patch that is not as it should be; the text names the file and the fix."""


class MissingTool(MutantError):
    """Nothing is wrong with the patch: what applies it is not there."""


@dataclass(frozen=True)
class Mutant:
    """One patch, read."""

    path: Path
    museum: int  # 0: none
    title: str
    year: str
    reference: str
    rule: str
    oracles: list[str]
    story: str
    needs: str
    bochs: str
    diff: str
    cause: str

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def label(self) -> str:
        """How the bug is called for short: its number with the letter of a variant."""
        return self.name.partition("_")[0].removeprefix("m").lstrip("0")

    @property
    def files(self) -> list[str]:
        """The files that the patch changes, relative to the top of the tree."""
        return re.findall(r"^\+\+\+ b/(\S+)$", self.diff, re.MULTILINE)

    @property
    def changed_lines(self) -> int:
        return len(re.findall(r"^(\+(?!\+\+ )|-(?!-- ))", self.diff, re.MULTILINE))


def read(path: Path) -> Mutant:
    """Reads a patch. Raises MutantError with all that is wrong with it."""
    text = path.read_text()
    header, separator, diff = text.partition("\n--- ")
    values = _fields(path, header.splitlines())
    if not separator:
        raise MutantError(f"{path}: no line starts with '--- '; a unified diff must follow the "
                          "fields")
    mutant = Mutant(
        path=path, museum=int(values["museum"].replace("none", "0")), title=values["title"], year=values["year"],
        reference=values["reference"], rule=values["rule"],
        oracles=values["oracles"].split(", "), story=values["story"], needs=values["needs"],
        bochs=values["bochs"], diff="--- " + diff, cause=values.get("cause", ""))
    _check_diff(mutant)
    return mutant


def _fields(path: Path, lines: list[str]) -> dict[str, str]:
    values: dict[str, str] = {}
    wrong = []
    for number, line in enumerate(lines, 1):
        match = re.fullmatch(r"# (\w+): (\S.*)", line)
        if not match:
            wrong.append(f"line {number} is not '# FIELD: TEXT'")
            continue
        field, text = match[1], match[2].strip()
        if field not in FIELDS + _OPTIONAL:
            wrong.append(f"line {number}: unknown field '{field}', known: {', '.join(FIELDS + _OPTIONAL)}")
        elif field in values and field not in _SEVERAL_LINES:
            wrong.append(f"line {number}: '{field}' is given twice")
        else:
            values[field] = f"{values[field]} {text}" if field in values else text
    wrong += [f"the field '{field}' is missing" for field in FIELDS if field not in values]
    for field, shape in _SHAPES.items():
        if field in values and not re.fullmatch(shape, values[field]):
            wrong.append(f"'{field}: {values[field]}' should look like {shape}")
    if wrong:
        raise MutantError(f"{path}: " + "; ".join(wrong))
    return values


def _check_diff(mutant: Mutant) -> None:
    wrong = []
    old = re.findall(r"^--- a/(\S+)$", mutant.diff, re.MULTILINE)
    if not mutant.files or old != mutant.files:
        wrong.append("each file of the diff needs the lines '--- a/PATH' and '+++ b/PATH'")
    for file in mutant.files:
        if not file.startswith(_MAY_CHANGE):
            wrong.append(f"it changes {file}, but only {' and '.join(_MAY_CHANGE)} may be changed")
    if mutant.changed_lines > _MOST_CHANGED_LINES:
        wrong.append(f"{mutant.changed_lines} lines change, the most is {_MOST_CHANGED_LINES}: a "
                     "mutant is one mistake, not a rewrite")
    if wrong:
        raise MutantError(f"{mutant.path}: " + "; ".join(wrong))


def patched_files(patch: Path) -> list[str]:
    """The files that a patch with any header changes, relative to the top of the tree."""
    return re.findall(r"^\+\+\+ b/(\S+)$", patch.read_text(), re.MULTILINE)


def apply(mutant_file: Path, tree: Path, dry_run: bool = False, fuzz: int = 0, strip: int = 1) -> None:
    """Applies a patch to a copy of the sources. Lines around each change must be as they were,
    but for `fuzz` of them at either end; `strip` folders are left off the names in it.

    Raises MutantError if they are not.
    """
    argv = ["patch", f"--strip={strip}", f"--fuzz={fuzz}", "--forward", "--batch", "--no-backup-if-mismatch",
            "--reject-file=-", f"--directory={tree}", f"--input={mutant_file.absolute()}"]
    try:
        run = subprocess.run(argv + (["--dry-run"] if dry_run else []), stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True, errors="replace", check=False)
    except FileNotFoundError as error:
        raise MissingTool("the program 'patch' is not installed; it is in the Debian package "
                          "patch; run tools/setup") from error
    if run.returncode != 0:
        raise MutantError(f"{mutant_file} does not apply. Make it again from the code as it is "
                          f"now.\n{run.stdout}")
