"""What a change does, and where: in which configurations runs differ from those of the clean core, and how often the
changed lines run.

A search over all configurations gives each of them little time. One in which the changed lines do not run, or change
nothing, can show no bug of theirs, so the searches look where many runs differ and the changed lines run often. One
of the two is not enough: a fence that is missing makes every run differ.
"""

import difflib
import os
import re
import subprocess
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from fuzz.campaign.crashes import Title
from tests.coverage import lcov

# Of each configuration so many runs are compared. No seed of the searches is near.
_RUNS = 1_500
SEED = 2**40
_HASH = 8
_FOUND = re.compile(r"^found (\S+) (.*) after (\d+) executions$", re.MULTILINE)
# A configuration that has less than a quarter of the weight of the heaviest one gets no time of its own.
_LIGHTEST = 4
_MOST_FOCUSES = 12
# Ends the names of the files in which a program counts its lines: one file for each build.
_PROFILES = "-%m.profraw"
# Says nothing of what runs: the count of a brace is that of what is around it.
_BLANK = re.compile(r"[\s{}();]*(//.*)?$")


class SurveyError(Exception):
    """It cannot be told what the change does; the text says why."""


@dataclass(frozen=True)
class Found:
    """What a run of the survey has shown already."""

    title: Title
    executions: int
    crash: bytes
    focus: str = ""

    @property
    def seed(self) -> int:
        """What the search takes to make this run first."""
        return SEED + self.executions - 1


@dataclass
class Survey:
    """In how many of how many runs the change made a difference, and how often its lines ran, by configuration."""

    runs: int = 0
    differing: dict[str, int] = field(default_factory=dict)
    ran: dict[str, int] = field(default_factory=dict)  # without those where it cannot be told
    rarest: dict[str, int] = field(default_factory=dict)  # the same of the changed line that runs least
    found: Found | None = None

    @property
    def different(self) -> int:
        return sum(self.differing.values())

    def focuses(self) -> list[str]:
        """Where it makes the most difference, that first. Where no run differs yet, the lines still may run."""
        ran = self.rarest if any(self.rarest.values()) else self.ran
        weights = {focus: (differing + (focus in ran)) * ran.get(focus, 1)
                   for focus, differing in self.differing.items()}
        ranked = sorted((focus for focus in weights if weights[focus]), key=lambda focus: -weights[focus])
        return [focus for focus in ranked[:_MOST_FOCUSES] if weights[focus] * _LIGHTEST >= weights[ranked[0]]]


def _run(argv: list[str], timeout: float | None = None, profile: str | None = None) -> tuple[int, str]:
    env = os.environ | ({} if profile is None else {"LLVM_PROFILE_FILE": profile})
    try:
        run = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                             check=False, timeout=timeout, env=env)
    except subprocess.TimeoutExpired as error:
        raise SurveyError(f"{argv[0]} did not end within {timeout:.0f} s") from error
    return run.returncode, run.stdout


def _hashes(program: Path, focus: str, stem: Path, timeout: float) -> tuple[bytes, Found | None]:
    """The hash of each run, up to the first that is reported."""
    hashes, crash = stem.with_suffix(".hashes"), stem.with_suffix(".bin")
    status, output = _run([str(program), "--strategy", "aimed", "--seed", str(SEED), "--executions", str(_RUNS),
                           "--focus", focus, "--hashes", str(hashes), "--out", str(crash)], timeout,
                          f"{stem}{_PROFILES}")
    found = None
    if match := _FOUND.search(output):
        found = Found(Title(match[1], match[2]), int(match[3]), crash.read_bytes(), focus)
    if status != (0 if found is None else 1) or not hashes.is_file():
        raise SurveyError(f"{program} ended with exit status {status} and these words:\n  {output.strip()[-500:]}")
    return hashes.read_bytes(), found


def focuses_of(program: Path, timeout: float) -> list[str]:
    """The configurations that a search knows by name."""
    status, output = _run([str(program), "--list-focuses"], timeout)
    names = output.splitlines()
    if status != 0 or not names:
        raise SurveyError(f"{program} does not tell its focuses: {output.strip()[-500:]}")
    return names


def profiles_of(stem: Path) -> list[Path]:
    """What the program with this stem has counted."""
    return sorted(stem.parent.glob(stem.name + _PROFILES.replace("%m", "*")))


def look(changed: Path, clean: Path, folder: Path, jobs: int, timeout: float,
         counted: Callable[[list[Path]], "Ran | None"], tick: Callable[[int, int], None]) -> Survey:
    """Compares the two programs in every configuration, until a run of the changed one is reported. None of their
    processes may take longer than `timeout`. `counted` tells from profiles how often the changed lines ran.
    """
    folder.mkdir(parents=True)
    names = focuses_of(changed, timeout)
    survey = Survey()

    def compare(number: int) -> tuple[str, int, int, Ran | None, Found | None]:
        if survey.found is not None:
            return names[number], 0, 0, None, None
        stem = folder / f"changed-{number}"
        one, found = _hashes(changed, names[number], stem, timeout)
        if found is not None:
            return names[number], 0, 0, None, found
        other, wrong = _hashes(clean, names[number], folder / f"clean-{number}", timeout)
        if wrong is not None:
            raise SurveyError(f"the clean core is reported, with the focus '{names[number]}': {wrong.title}")
        pairs = min(len(one), len(other)) // _HASH
        differing = sum(one[at:at + _HASH] != other[at:at + _HASH] for at in range(0, pairs * _HASH, _HASH))
        return names[number], pairs, differing, counted(profiles_of(stem)), None

    with ThreadPoolExecutor(jobs) as pool:
        for done, (name, runs, differing, ran, found) in enumerate(pool.map(compare, range(len(names)))):
            survey.runs += runs
            survey.differing[name] = differing
            if ran is not None and ran.most is not None:
                survey.ran[name], survey.rarest[name] = ran.most, ran.least
            survey.found = survey.found or found
            tick(done + 1, len(names))
    return survey


def changed_lines(before: str, after: str) -> list[int]:
    """The lines of code that are new; where some are only gone, those that now meet there."""
    old, new = before.splitlines(), after.splitlines()
    numbers: set[int] = set()
    for kind, _, _, begin, end in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "delete":
            numbers.update((begin, begin + 1))
        elif kind != "equal":
            numbers.update(range(begin + 1, end + 1))
    return sorted(number for number in numbers if 1 <= number <= len(new) and not _BLANK.match(new[number - 1]))


def line_counts(program: Path, profiles: list[Path], files: Iterable[str]) -> dict[str, dict[int, int]]:
    """How often each line of these files ran, where it can be told."""
    merged = profiles[0].with_suffix(".profdata")
    try:
        lcov.merge(profiles, merged)
        known = lcov.lines_of(merged, [program])
    except lcov.LcovError as error:
        raise SurveyError(str(error)) from error
    return {file: next((lines.counts for name, lines in known.items() if f"/{name}".endswith(f"/{file}")), {})
            for file in files}


@dataclass(frozen=True)
class Ran:
    """How often the changed lines ran."""

    most: int | None  # None where no line of the change can be counted, such as a constant
    never: list[str]  # FILE:LINE of those that did not
    least: int = 0


def count(lines: dict[str, list[int]], counts: dict[str, dict[int, int]]) -> Ran:
    """`lines` and `counts` are by file."""
    known = {f"{file}:{line}": counts[file][line] for file in lines for line in lines[file] if line in counts[file]}
    return Ran(max(known.values(), default=None), [place for place, times in known.items() if times == 0],
               min(known.values(), default=0))
