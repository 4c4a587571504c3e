#!/usr/bin/python3
"""Shows a bug of the museum: its story as a page that a browser opens, or as text.

usage: bazel run //:shootdown -- museum [NAME [--html OUT | ARGUMENT of reproduce]...]

Without NAME it lists the bugs with their titles. NAME is that of a patch in tests/mutants, or its beginning, such as
m25_. It is told as by 'reproduce', with the mutant's reproducer and its shortest scenario; --all FOLDER writes a page
for each bug, and an index of them by rule, oracle, system and year.
exit status: 0 told, 2 there is no such bug, or it could not be built
"""

import html
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from fuzz.campaign import ending, reproduce
from fuzz.campaign.disk import write_whole
from fuzz.campaign.paths import shown, user_path, workspace_directory
from tests.mutants import meanings, mutant

_MUTANTS = Path("tests/mutants")


class MuseumError(Exception):
    """The bug cannot be shown; the text says why."""


def bugs(root: Path) -> dict[str, mutant.Mutant]:
    """Those that have a scenario, by name."""
    found = {}
    for patch in sorted((root / _MUTANTS).glob("*.patch")):
        if (root / _MUTANTS / "scenarios" / f"{patch.stem}.txt").is_file():
            found[patch.stem] = mutant.read(patch)
    return found


def named(name: str, known: dict[str, mutant.Mutant]) -> str:
    """The one bug whose name begins so."""
    fitting = [one for one in known if one == name] or [one for one in known if one.startswith(name)]
    if len(fitting) != 1:
        raise MuseumError(f"{name}: {', '.join(fitting) or 'no such bug; without a name they are listed'}")
    return fitting[0]


def _build(root: Path, names: list[str]) -> None:
    labels = [f"//tests/mutants:{name}_reproduce" for name in names]
    if subprocess.run(["bazel", "build", "--noshow_progress", *labels], cwd=root, check=False).returncode != 0:
        raise MuseumError("the reproducers do not build")


def _arguments(root: Path, name: str, rest: list[str]) -> list[str]:
    return ["--binary", str(root / f"bazel-bin/tests/mutants/{name}_reproduce"), *rest,
            str(root / _MUTANTS / "scenarios" / f"{name}.txt")]


def index_page(known: dict[str, mutant.Mutant]) -> str:
    """Links to the pages, four times."""
    groups: list[tuple[str, Callable[[mutant.Mutant], str]]] = [
        ("rule", lambda one: one.rule), ("oracle", lambda one: one.oracles[0]),
        ("system", lambda one: meanings.system(one.reference) or "elsewhere"), ("year", lambda one: one.year)]
    parts = ["<!DOCTYPE html><html lang=en><meta charset=utf-8><title>The museum of TLB-shootdown bugs</title>",
             "<style>body{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em}</style>",
             "<h1>The museum of TLB-shootdown bugs</h1>"]
    for title, key in groups:
        parts.append(f"<h2>By {title}</h2>")
        for value in sorted({key(one) for one in known.values()}, key=lambda text: (len(text), text)):
            links = "".join(f"<li><a href=\"{name}.html\">{html.escape(one.label)}. {html.escape(one.title)}</a>"
                            for name, one in known.items() if key(one) == value)
            parts.append(f"<h3>{html.escape(value)}</h3><ul>{links}</ul>")
    return "\n".join(parts) + "\n"


def _write_all(root: Path, folder: Path, known: dict[str, mutant.Mutant]) -> None:
    _build(root, list(known))
    folder.mkdir(parents=True, exist_ok=True)
    for name in known:
        if reproduce.main(_arguments(root, name, ["--html", str(folder / f"{name}.html")])) != 1:
            raise MuseumError(f"{name} does not fail any more")
    write_whole(folder / "index.html", index_page(known).encode())
    print(f"{len(known)} pages and index.html in {shown(folder)}")


def main(argv: list[str]) -> int:
    if "--help" in argv or "-h" in argv:
        print(__doc__.strip())
        return 0
    root = workspace_directory()
    try:
        known = bugs(root)
        if not argv:
            print("\n".join(f"{name}: {one.title}" for name, one in known.items()))
            return 0
        if argv[0] == "--all":
            if len(argv) != 2:
                raise MuseumError("--all needs a folder and nothing else")
            _write_all(root, user_path(argv[1]), known)
            return 0
        name = named(argv[0], known)
        _build(root, [name])
        status = reproduce.main(_arguments(root, name, argv[1:]))
        return 0 if status == 1 else status
    except (MuseumError, mutant.MutantError, OSError) as error:
        print(f"museum: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    ending.run("museum", main)
