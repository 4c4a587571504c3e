"""The command that shows a crash again, found by trying it.

The reproducer tells the story, if there is one of the same build. One that says "ok" shows nothing:
a crash of another build, or a sanitizer's, is then shown by the program that found it.
"""

import os
import re
import shlex
import subprocess
from pathlib import Path

from fuzz.campaign.crashes import Title
from fuzz.campaign.paths import program, shown, workspace_directory
from fuzz.campaign.stories import Story, minimised

_TARGET = "bazel run //fuzz:reproduce --"
_CLEAN = "fuzz/reproduce_bin"
# A program of a mutant is called NAME_PART.
_PART = re.compile(r"_(libfuzzer|afl|search)$")
_CLEAN_PARTS = ("shootdown_libfuzzer", "shootdown_afl", "search_bin")
# The reproducer takes a file for text unless it is told, or sees, that it is none.
_FORMS = ([], ["--bytes"])
_NEVER = ("UNSTABLE", "UNKNOWN")  # Replaying it shows nothing, or is to be done yet.
_NO_STORY = ("HANG", "MEMORY")  # The reproducer would take as long, and has no limit.


def reproducer_of(fuzzer: Path) -> Path | None:
    """The reproducer that was built from the same sources as a fuzz program, by its name."""
    if fuzzer.name in _CLEAN_PARTS:
        sibling = fuzzer.with_name("reproduce_bin")
    else:
        sibling = fuzzer.with_name(_PART.sub("_reproduce", fuzzer.name))
    usable = sibling != fuzzer and sibling.is_file() and os.access(sibling, os.X_OK)
    return sibling if usable else None


def _shows(words: list[str], title: Title) -> bool:
    """Whether the reproducer reports the oracle of the title."""
    try:
        run = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return run.returncode == 1 and run.stdout.decode(errors="replace").split()[:1] == [title.oracle]


def _typed(path: Path) -> str:
    """A program as the user would type it: a shell does not look in the folder where it stands."""
    built = workspace_directory() / "bazel-bin" / "fuzz" / path.name
    if path == program(f"fuzz/{path.name}"):
        path = built if built.exists() and built.samefile(path) else path.resolve()
    text = shown(path)
    return text if "/" in text else "./" + text


def _form(reproducer: Path, file: Path, title: Title) -> list[str] | None:
    """How the reproducer takes the file so that it shows the crash; None: it does not."""
    return next((form for form in _FORMS if _shows([str(reproducer), "--title", *form, str(file)], title)), None)


def _typed_reproducer(reproducer: Path, words: list[str]) -> str:
    binary = [] if reproducer == program(_CLEAN) else ["--binary", shown(reproducer)]
    return f"{_TARGET} {shlex.join([*binary, *words])}"


def story(fuzzer: Path, file: Path, title: Title) -> tuple[Story, str] | None:
    """The minimised scenario of a crash, and the command that shows it, which was seen to."""
    reproducer = reproducer_of(fuzzer)
    if reproducer is None or title.oracle in (*_NEVER, *_NO_STORY):
        return None
    form = _form(reproducer, file, title)
    told = None if form is None else minimised(reproducer, form, file, title)
    if told is None or not _shows([str(reproducer), "--title", str(told.file)], told.title):
        return None
    return told, _typed_reproducer(reproducer, [shown(told.file)])


def command(fuzzer: Path, again: list[str], file: Path, title: Title, given: str | None) -> str:
    """What to type to see the crash again; empty if nothing shows it.

    `again` is the command line of the fuzz program that fails once more; `given` is what the user
    wants to read in front of the file.
    """
    if given is not None:
        return f"{given} {shlex.quote(shown(file))}"
    if title.oracle in _NEVER:
        return ""
    reproducer = reproducer_of(fuzzer)
    if reproducer is not None and title.oracle not in _NO_STORY:
        form = _form(reproducer, file, title)
        if form is not None:
            return _typed_reproducer(reproducer, [*form, shown(file)])
    words = [shown(file) if word == str(file) else word for word in again[1:]]
    return shlex.join([_typed(fuzzer), *words])
