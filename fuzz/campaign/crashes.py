"""Crash files: what each one says, which of them are the same, and the folder that holds them."""

import hashlib
import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fuzz.campaign.disk import locked, reason, write_whole

INDEX = "titles.txt"
# How a file of bytes begins (fuzz/scenario/scenario.h). Fuzzers write theirs without it, and then a crash file looks
# like any other.
MARK = b"shootdown-bytes 1\n"
_FAILURE = re.compile(r"SHOOTDOWN-FAILURE: (\S+)\s*(.*)")
_SUMMARY = re.compile(r"SUMMARY: (Address|UndefinedBehavior|Thread|Memory|Leak)Sanitizer: (.+)")
_UNDEFINED = re.compile(r"(\S+): runtime error: (.+)")
_SHORT = {"Address": "ASan", "UndefinedBehavior": "UBSan", "Thread": "TSan", "Memory": "MSan",
          "Leak": "LSan"}
# Further files of a failure that is already known are kept up to this number.
_KEPT_PER_TITLE = 10


@dataclass(frozen=True)
class Title:
    """What failed, in one line: an oracle of the project, or the tool that stopped the run."""

    oracle: str
    text: str

    def __str__(self) -> str:
        return f"{self.oracle} {self.text}".strip()

    @property
    def key(self) -> str:
        """Equal for two failures of one kind: they differ at most in numbers."""
        return self.oracle + " " + re.sub(r"0x[0-9a-fA-F]+|\d+", "#", self.text)


def marked(data: bytes) -> bytes:
    """The input of a fuzzer as a file that the reproducer knows for one. Text says itself what it is."""
    return data if data.startswith((MARK, b"shootdown-scenario")) else MARK + data


def title_from_output(output: str) -> Title | None:
    """The failure that a run printed, or None if it printed none."""
    if match := _FAILURE.search(output):
        return Title(match[1], match[2].strip())
    if match := _SUMMARY.search(output):
        name = _SHORT[match[1]]
        if name == "UBSan" and (error := _UNDEFINED.search(output)):
            return Title(name, f"{error[2]} at {error[1]}")
        return Title(name, match[2].strip())
    if match := _UNDEFINED.search(output):
        return Title("UBSan", f"{match[2]} at {match[1]}")
    return None


def replay(program: Path, file: Path, timeout: float = 10.0) -> Title | None:
    """Runs a fuzz program once on one file. Returns what failed, or None if nothing did."""
    # Symbols take most of a second, and an oracle's report needs none.
    for symbolize in (0, 1):
        sanitizer = f"abort_on_error=1:detect_leaks=0:symbolize={symbolize}"
        env = {**os.environ, "ASAN_OPTIONS": sanitizer, "UBSAN_OPTIONS": sanitizer}
        try:
            run = subprocess.run([program, file], env=env, stdin=subprocess.DEVNULL,
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                 timeout=timeout, cwd=file.parent, start_new_session=True,
                                 check=False)
        except subprocess.TimeoutExpired:
            return Title("HANG", f"no result within {timeout:g} s")
        if run.returncode == 0:
            return None
        output = run.stdout.decode(errors="replace")
        if _FAILURE.search(output):
            break
    return title_from_output(output) or Title(
        "CRASH", f"exit status {run.returncode} without a report")


@dataclass
class Crash:
    """One input that failed."""

    title: Title
    path: Path
    size: int
    engine: str
    executions: int | None
    command: str = ""  # shows it again; empty if nothing does
    story: Any = None  # its minimised scenario (stories.py), and the command that shows that
    story_command: str = ""


@dataclass
class Group:
    """All failures with one title. The numbers in the title are those of the smallest file."""

    crashes: list[Crash] = field(default_factory=list)
    count: int = 0

    @property
    def smallest(self) -> Crash:
        return self.crashes[0]

    @property
    def stories(self) -> list[Crash]:
        """One crash for each different minimised scenario, the smallest scenarios first."""
        found: dict[str, Crash] = {}
        for crash in self.crashes:
            if crash.story is not None:
                found.setdefault(crash.story.key, crash)
        return sorted(found.values(), key=lambda crash: (len(crash.story.lines), len(crash.story.key), crash.story.key))

    @property
    def first(self) -> Crash:
        """The find that took the fewest executions, if the engines said how many."""
        return min(self.crashes, key=lambda c: c.executions if c.executions is not None else 2**63)


class CrashStore:
    """The folder of crash files of a campaign, made when the first one arrives.

    A file that it has no room for stays on the disk on which it was found, in the folder `aside`.
    """

    def __init__(self, folder: Path, aside: Path | None = None, marks: bool = True):
        self.folder = folder
        self._marks = marks  # files are inputs as bytes, which the reproducer must know
        self.trouble: str | None = None  # why files cannot be kept there
        self._aside = aside
        self.groups: dict[str, Group] = {}
        self._hashes: set[str] = set()

    @property
    def total(self) -> int:
        """Different crash files seen, kept or not."""
        return sum(group.count for group in self.groups.values())

    @property
    def kept_aside(self) -> list[Path]:
        """Files that are not in the folder, because it could not take them."""
        return sorted(crash.path for group in self.groups.values() for crash in group.crashes
                      if crash.path.parent != self.folder)

    def add(self, source: Path, title: Title, engine: str, executions: int | None,
            command: Callable[[Path], str] = lambda file: "",
            story: Callable[[Path], tuple[Any, str] | None] = lambda file: None) -> None:
        """Takes a copy of a crash file, unless the same bytes or enough like them are here.

        `command` is asked what shows the copy again, and `story` for its minimised scenario.
        """
        data = marked(source.read_bytes()) if self._marks else source.read_bytes()
        digest = hashlib.sha1(data).hexdigest()
        if digest in self._hashes:
            return
        self._hashes.add(digest)
        group = self.groups.setdefault(title.key, Group())
        group.count += 1
        if len(group.crashes) >= _KEPT_PER_TITLE and len(data) >= group.smallest.size:
            return
        oracle = re.sub(r"[^A-Za-z0-9]+", "", title.oracle) or "X"
        path = self._keep(source, data, f"{oracle}-{digest[:12]}.bin")
        told, shows_story = story(path) or (None, "")
        group.crashes.append(Crash(title, path, len(data), engine, executions, command(path), told, shows_story))
        group.crashes.sort(key=lambda crash: (crash.size, crash.path.name))
        self._write_index()

    def _keep(self, source: Path, data: bytes, name: str) -> Path:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(self.folder / name, data)
            return self.folder / name
        except OSError as error:
            self.trouble = self.trouble or reason(error)
        if self._aside is None:
            return source
        try:
            # A new name takes no room, and leaves the engine's folder as the engine expects it.
            self._aside.mkdir(exist_ok=True)
            os.link(source, self._aside / name)
            return self._aside / name
        except OSError:
            return source

    def sorted_groups(self) -> list[Group]:
        """Groups in the order of their oracles, as people number them: O2 before O10."""
        def order(group: Group) -> tuple:
            oracle = group.smallest.title.oracle
            number = re.search(r"\d+", oracle)
            return (re.sub(r"\d+", "", oracle), int(number[0]) if number else 0,
                    group.smallest.title.text)
        return sorted(self.groups.values(), key=order)

    def _write_index(self) -> None:
        try:
            with locked(self.folder):
                self._merge_index()
        except OSError as error:
            self.trouble = self.trouble or reason(error)

    def _merge_index(self) -> None:
        lines = ["# file, title, bytes, engine, executions until found, command that shows it, file and lines of its "
                 "minimised scenario; same titles together, smallest file first\n"]
        mine = set()
        for group in self.sorted_groups():
            for crash in group.crashes:
                # Not here but aside: its whole path tells where.
                name = crash.path.name if crash.path.parent == self.folder else str(crash.path)
                mine.add(name)
                after = "?" if crash.executions is None else str(crash.executions)
                story = [crash.story.file.name, "; ".join(crash.story.lines)] if crash.story else ["-", "-"]
                lines.append("\t".join([name, str(crash.title), str(crash.size), crash.engine, after,
                                        crash.story_command or crash.command or "-", *story]) + "\n")
        lines += [line for line in self._earlier() if line.split("\t")[0] not in mine]
        write_whole(self.folder / INDEX, "".join(lines).encode())

    def _earlier(self) -> list[str]:
        """Lines of campaigns before this one, which used the same folder."""
        try:
            lines = (self.folder / INDEX).read_text().splitlines(keepends=True)
        except FileNotFoundError:
            return []
        return [line for line in lines if not line.startswith("#")
                and (self.folder / line.split("\t")[0]).exists()]
