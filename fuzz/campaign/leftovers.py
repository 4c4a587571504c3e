"""What a campaign leaves behind that was killed, and how the next one takes it over.

Each campaign works in a folder of its own below TMPDIR, and notes there who it is. One that was killed could not copy
the last crash files and inputs out of it. The next one of the same programs does.
"""

import json
import os
from pathlib import Path

from fuzz.campaign.disk import write_whole

PREFIX = "shootdown-campaign-"
_NOTE = "campaign.json"
# Where each engine has its crash files and its inputs.
_CRASHES = {"libfuzzer": ("libfuzzer-*/artifacts/*",), "afl": ("afl-out/*/crashes/id*",),
            "random": ("random-*/found-*",)}
_INPUTS = ("corpus/*", "afl-out/*/queue/id*")


def _began(pid: int) -> str | None:
    """When a process began, in the kernel's ticks; none: there is no such process, or it is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


def sign(work: Path, target: str, programs: dict[str, Path]) -> None:
    """Notes whose folder it is."""
    note = {"pid": os.getpid(), "began": _began(os.getpid()), "target": target,
            "programs": {name: str(path) for name, path in programs.items()}}
    write_whole(work / _NOTE, json.dumps(note).encode())


def _is_left(folder: Path, target: str, programs: dict[str, Path]) -> bool:
    """Whether its campaign is gone, and fuzzed the same."""
    try:
        note = json.loads((folder / _NOTE).read_text())
        is_gone = _began(note["pid"]) != note["began"]
        return is_gone and note["target"] == target and any(
            note["programs"].get(name) == str(path) for name, path in programs.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def take_over(work: Path, target: str, programs: dict[str, Path]) -> list[Path]:
    """The folders of campaigns that were killed, below `work` now: a name is changed at once, so only one gets it."""
    taken = []
    for folder in sorted(work.parent.glob(PREFIX + "*")):
        if folder == work or not _is_left(folder, target, programs):
            continue
        own = work / f"left-{len(taken)}"
        try:
            folder.rename(own)
        except OSError:  # Another campaign was faster, or it belongs to another user.
            continue
        # It may have taken over others itself, and those others.
        taken += [own, *sorted(path for path in own.rglob("left-*") if path.is_dir())]
    return taken


def crashes(folder: Path) -> list[tuple[str, Path]]:
    """Its crash files, each with the engine's name."""
    return [(engine, path) for engine, patterns in _CRASHES.items() for pattern in patterns
            for path in sorted(folder.glob(pattern)) if path.is_file() and path.stat().st_size > 0]


def inputs(folder: Path) -> list[Path]:
    """Its inputs: what was written halfway has a dot before its name."""
    return [path for pattern in _INPUTS for path in sorted(folder.glob(pattern))
            if path.is_file() and not path.name.startswith(".")]
