"""What every command does that runs foreign code on the modelled machine: it compiles and links the code in a temporary
folder, runs a search over it, and names the lines of the code in what that prints."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

CLEAN, FOUND, COULD_NOT = 0, 1, 2

# Accesses are calls, and none is optimised away that another CPU could notice. No run-time library is linked. A call
# returns to the code, so that it names the place.
INSTRUMENTED = ["-g", "-fPIC", "-fno-optimize-sibling-calls", "-ffreestanding", "-fno-builtin",
                "-fno-stack-protector", "-fsanitize=thread", "-mllvm", "-tsan-instrument-func-entry-exit=0",
                "-mllvm", "-tsan-instrument-read-before-write=1"]
# Its own functions go before those of the C library, and all names are looked up before it runs.
_LINK = ["-shared", "-nostdlib", "-Wl,-Bsymbolic", "-Wl,-z,now", "-Wl,-z,norelro"]
# A call of the runtime that is an access; a fence is none.
ACCESS = re.compile(r"callq?\s+0x[0-9a-f]+ <__tsan_(?!init|func|atomic_thread_fence|atomic_signal_fence)\w+")
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


def _symbolized(code: Path, places: list[str]) -> dict[str, list[dict]]:
    run = subprocess.run(["llvm-symbolizer-19", f"--obj={code}", "--output-style=JSON"], input="\n".join(places) + "\n",
                         stdout=subprocess.PIPE, text=True, check=True)
    told = [json.loads(line) for line in run.stdout.splitlines() if line]
    return {place: entry["Symbol"] for place, entry in zip(places, told)}


def frames_of(code: Path, places: list[str]) -> dict[str, list[tuple[str, int]]]:
    """The file's name and the line of each offset, and of all calls that were inlined around it."""
    return {place: [(Path(frame["FileName"]).name, frame["Line"]) for frame in frames]
            for place, frames in _symbolized(code, places).items()}


def _line(frames: list[dict]) -> str:
    """Such as "memory.c:41". What a function of a header does is told as its caller's."""
    places = [frame for frame in frames if not frame["FileName"].endswith(".h")] or frames
    return f"{Path(places[0]['FileName']).name}:{places[0]['Line']}"


def lines_of(code: Path, places: list[str]) -> dict[str, str]:
    """File and line of each offset."""
    return {place: _line(frames) for place, frames in _symbolized(code, places).items()}


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
    said, errors = code.parent / "said", code.parent / "errors"
    with said.open("w") as out, errors.open("w") as err:
        with subprocess.Popen(command, stdout=out, stderr=None if shows_progress else err) as run:
            stopped = _wait(run)
    sys.stderr.write(errors.read_text())
    text = named(said.read_text(), code)
    if stopped:
        raise ForeignError(f"stopped\n{text}".rstrip())
    if run.returncode < 0:
        raise ForeignError(f"{text}signal {-run.returncode} ends the search")
    return run.returncode, text


def _wait(run: subprocess.Popen) -> bool:
    """Until it ends. Whether the user has stopped it: it says what it has done, and ends within seconds."""
    try:
        run.wait()
        return False
    except KeyboardInterrupt:
        run.terminate()
        run.wait()
        return True


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def status_of(command: str, work: Callable[[], int]) -> int:
    """The exit status of a command. What keeps it from its work is one line, and its folders are removed."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _interrupt)
    try:
        status = work()
        sys.stdout.flush()
        return status
    except ForeignError as error:
        return _failed(command, str(error))
    except OSError as error:
        return _failed(command, f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except subprocess.CalledProcessError as error:
        return _failed(command, f"{error.cmd[0]} fails, status {error.returncode}")
    except KeyboardInterrupt:
        return _failed(command, "stopped")


def _failed(command: str, why: str) -> int:
    try:
        sys.stdout.flush()
    except OSError:
        # Python would try once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    print(f"{command}: {why}", file=sys.stderr)
    return COULD_NOT
