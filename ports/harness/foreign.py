"""What every command does that runs foreign code on the modelled machine: it compiles and links the code in a temporary
folder, runs a search over it, and names the lines of the code in what that prints."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

CLEAN, FOUND, COULD_NOT = 0, 1, 2

# Accesses are calls, and none is optimised away that another CPU could notice. No run-time library is linked. A call
# returns to the code, so that it names the place.
INSTRUMENTED = ["-g", "-fPIC", "-fno-optimize-sibling-calls", "-ffreestanding", "-fno-builtin",
                "-fno-stack-protector", "-fsanitize=thread", "-mllvm", "-tsan-instrument-func-entry-exit=0",
                "-mllvm", "-tsan-instrument-read-before-write=1"]
# Its own functions go before those of the C library, and all names are looked up before it runs.
_LINK = ["-shared", "-nostdlib", "-Wl,-Bsymbolic", "-Wl,-z,now", "-Wl,-z,norelro"]
_PLACE = re.compile(r"\{(0x[0-9a-f]+)\}")


class ForeignError(Exception):
    """Why the code could not be tried."""


def need(compiler: str) -> None:
    """The program is installed, or it is said."""
    if shutil.which(compiler) is None:
        raise ForeignError(f"{compiler} is not installed; tools/setup installs it")


def link(objects: list[Path], target: Path) -> None:
    """One shared object of them."""
    run = subprocess.run(["clang-19", *_LINK, *map(str, objects), "-o", str(target)], check=False)
    if run.returncode != 0:
        raise ForeignError("the sources do not link")


def write_names(code: Path, target: Path) -> None:
    """The names of its variables, as the search reads them."""
    with target.open("w") as file:
        subprocess.run(["llvm-nm-19", "--print-size", "--defined-only", str(code)], stdout=file, check=True)


def _line(frames: list[dict]) -> str:
    """Such as "memory.c:41". What a function of a header does is told as its caller's."""
    places = [frame for frame in frames if not frame["FileName"].endswith(".h")] or frames
    return f"{Path(places[0]['FileName']).name}:{places[0]['Line']}"


def lines_of(code: Path, places: list[str]) -> dict[str, str]:
    """File and line of each offset."""
    run = subprocess.run(["llvm-symbolizer-19", f"--obj={code}", "--output-style=JSON"], input="\n".join(places) + "\n",
                         stdout=subprocess.PIPE, text=True, check=True)
    told = [json.loads(line) for line in run.stdout.splitlines() if line]
    return {place: _line(entry["Symbol"]) for place, entry in zip(places, told)}


def named(text: str, code: Path) -> str:
    """The text with file and line where it has an offset."""
    places = sorted(set(_PLACE.findall(text)))
    if not places:
        return text
    lines = lines_of(code, places)
    return _PLACE.sub(lambda place: lines[place[1]], text)


def search(program: Path, code: Path, names: Path, options: list[str]) -> tuple[int, str]:
    """Runs the search. Its exit status, and what it says with lines; errors and progress are shown at once."""
    command = [str(program), "--code", str(code), "--names", str(names), *options]
    shows_progress = sys.stderr.isatty()
    if shows_progress:
        command.append("--progress")
    run = subprocess.run(command, stdout=subprocess.PIPE, stderr=None if shows_progress else subprocess.PIPE,
                         text=True, check=False)
    sys.stderr.write(run.stderr or "")
    text = named(run.stdout, code)
    if run.returncode < 0:
        raise ForeignError(f"{text}the code ends the program by signal {-run.returncode}: "
                           "it uses memory that it was not given, or an instruction of its own")
    return run.returncode, text
