"""What clang's source coverage tells: how often each line of each source file was executed."""

import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

_PROFDATA = "llvm-profdata-19"
_COV = "llvm-cov-19"


class LcovError(Exception):
    """A tool of LLVM is missing or has failed; the text says which."""


@dataclass
class Lines:
    """What is known of one source file: line number -> how often it was executed."""

    counts: dict[int, int] = field(default_factory=dict)

    @property
    def missed(self) -> list[int]:
        return sorted(line for line, count in self.counts.items() if count == 0)


def parse(text: str) -> dict[str, Lines]:
    """The files of an lcov report by name."""
    files: dict[str, Lines] = {}
    current = Lines()
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key == "SF":
            current = files.setdefault(value, Lines())
        elif key == "DA":
            number, count = value.split(",")[:2]
            current.counts[int(number)] = max(current.counts.get(int(number), 0), int(count))
    return files


def merge(profiles: Iterable[Path], merged: Path) -> None:
    """One profile of what several runs have left. Raises LcovError."""
    _call(_PROFDATA, "merge", "-sparse", "-o", str(merged), *map(str, profiles))


def llvm_cov(command: str, merged: Path, programs: list[Path], *options: str, cwd: Path | None = None) -> str:
    """What the tool prints of the lines of these programs. Raises LcovError."""
    objects = [word for program in programs[1:] for word in ("-object", str(program))]
    return _call(_COV, command, str(programs[0]), *objects, f"-instr-profile={merged}", *options, cwd=cwd)


def lines_of(merged: Path, programs: list[Path], cwd: Path | None = None) -> dict[str, Lines]:
    """The source files of these programs by name. Raises LcovError."""
    return parse(llvm_cov("export", merged, programs, "-format=lcov", cwd=cwd))


def _call(tool: str, *arguments: str, cwd: Path | None = None) -> str:
    try:
        run = subprocess.run([tool, *arguments], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                             errors="replace", check=False)
    except FileNotFoundError as error:
        raise LcovError(f"{tool} is not installed; run tools/setup") from error
    if run.returncode != 0:
        raise LcovError(f"{tool} {arguments[0]} failed:\n{run.stderr.strip()[-2000:]}")
    return run.stdout
