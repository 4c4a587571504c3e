#!/usr/bin/python3
"""Compiles memory-management code for the modelled machine, searches, and names its lines in the story."""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

from fuzz.campaign.paths import program, shown, user_path, workspace_directory

_CLEAN, _FOUND, _COULD_NOT = 0, 1, 2

_EPILOG = """\
examples:
  bazel run //kernel-glue/embed:try -- --source mm.c
  bazel run //kernel-glue/embed:try -- --source examples/kernel_c/memory.c --source examples/kernel_c/on_model.c
  bazel run //kernel-glue/embed:try -- --source mm.c --seed 7 --executions 100000 -- -DDEBUG -Iinclude

What the code gives and is given is in kernel-glue/embed/on_model.h; the README beside it shows an example.
Paths are relative to where you stand. What follows a second -- goes to the compiler.
exit status: 0 nothing was found, 1 an oracle has fired, 2 it could not be tried"""

# Accesses are calls, and none is optimised away that another CPU could notice. No run-time library is linked.
_COMPILE = ["-O1", "-g", "-fPIC", "-ffreestanding", "-fno-builtin", "-fno-stack-protector", "-Wall",
            "-fsanitize=thread", "-mllvm", "-tsan-instrument-func-entry-exit=0",
            "-mllvm", "-tsan-instrument-read-before-write=1",
            "-DSD_ON_MODEL", "-DSD_DEBUG"]
# Its own functions go before those of the C library, and all names are looked up before it runs.
_LINK = ["-shared", "-nostdlib", "-Wl,-Bsymbolic", "-Wl,-z,now", "-Wl,-z,norelro"]
_LANGUAGES = {".c": ("clang-19", "-std=gnu11"), ".cc": ("clang++-19", "-std=c++20"),
              ".cpp": ("clang++-19", "-std=c++20")}
_PLACE = re.compile(r"\{(0x[0-9a-f]+)\}")


class PortError(Exception):
    """Why the code could not be tried."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise PortError(f"{message}; --help tells more")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = _Parser(prog="try", description="Runs the memory-management code of a kernel on the modelled machine.",
                     epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = result.add_argument
    add("--source", action="append", metavar="FILE", required=True, help="C or C++; may be given several times")
    add("--seed", type=int, default=1, metavar="N", help="the first execution's number; default %(default)s")
    add("--executions", type=int, default=20000, metavar="N", help="how many; default %(default)s")
    add("--seconds", type=int, metavar="N", help="so long, instead of a number of executions")
    add("--cpus", type=int, choices=[2, 3, 4], help="default: 2 to 4, drawn for each execution")
    add("--memory", choices=["sc", "tso"],
        help="sequentially consistent, or stores go through store buffers; default: drawn")
    add("--out", metavar="FILE", help="keep the scenario that shows what was found")
    add("--replay", metavar="FILE", help="run such a scenario instead of a search")
    add("compiler", nargs="*", metavar="-- OPTION", help="for the compiler")
    return result


def _compile(source: Path, options: list[str], target: Path) -> None:
    if not source.is_file():
        raise PortError(f"{shown(source)}: no such file")
    if source.suffix not in _LANGUAGES:
        raise PortError(f"{shown(source)}: neither C nor C++; the name ends in one of {', '.join(_LANGUAGES)}")
    compiler, standard = _LANGUAGES[source.suffix]
    if shutil.which(compiler) is None:
        raise PortError(f"{compiler} is not installed; tools/setup installs it")
    headers = [f"-I{folder}" for folder in (source.parent, program("."), workspace_directory())]
    run = subprocess.run([compiler, standard, *_COMPILE, *headers, *options, "-c", str(source), "-o", str(target)],
                         cwd=user_path("."), stderr=subprocess.PIPE, text=True, check=False)
    sys.stderr.write(run.stderr)
    if run.returncode != 0:
        raise PortError(f"{shown(source)} does not compile")


def _link(objects: list[Path], target: Path) -> None:
    run = subprocess.run(["clang-19", *_LINK, *map(str, objects), "-o", str(target)], check=False)
    if run.returncode != 0:
        raise PortError("the sources do not link")


def _line(frames: list[dict]) -> str:
    """Such as "memory.c:41". What a function of a header does is told as its caller's."""
    places = [frame for frame in frames if not frame["FileName"].endswith(".h")] or frames
    return f"{Path(places[0]['FileName']).name}:{places[0]['Line']}"


def _lines(code: Path, places: list[str]) -> dict[str, str]:
    """File and line of each offset."""
    run = subprocess.run(["llvm-symbolizer-19", f"--obj={code}", "--output-style=JSON", *places],
                         stdout=subprocess.PIPE, text=True, check=True)
    return {place: _line(told["Symbol"]) for place, told in zip(places, json.loads(run.stdout))}


def _named(text: str, code: Path) -> str:
    places = sorted(set(_PLACE.findall(text)))
    if not places:
        return text
    lines = _lines(code, places)
    return _PLACE.sub(lambda place: lines[place[1]], text)


def _search(code: Path, names: Path, args: argparse.Namespace) -> int:
    command = [str(program("kernel-glue/embed/port/search")), "--code", str(code), "--names", str(names),
               "--seed", str(args.seed), "--executions", str(args.executions)]
    for name in ("seconds", "cpus", "memory"):
        if getattr(args, name) is not None:
            command += [f"--{name}", str(getattr(args, name))]
    for name in ("out", "replay"):
        if getattr(args, name) is not None:
            command += [f"--{name}", str(user_path(getattr(args, name)))]
    shows_progress = sys.stderr.isatty()
    if shows_progress:
        command.append("--progress")
    run = subprocess.run(command, stdout=subprocess.PIPE, stderr=None if shows_progress else subprocess.PIPE,
                         text=True, check=False)
    sys.stderr.write(run.stderr or "")
    if run.returncode < 0:
        raise PortError(f"{_named(run.stdout, code)}the code ends the program by signal {-run.returncode}: "
                        "it uses memory that kit_at has not given, or an instruction of its own")
    sys.stdout.write(_named(run.stdout, code))
    return run.returncode


def _try(argv: list[str]) -> int:
    args = parser().parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        code, names = Path(folder, "code.so"), Path(folder, "names")
        objects = []
        for number, text in enumerate(args.source):
            objects.append(Path(folder, f"{number}.o"))
            _compile(user_path(text), args.compiler, objects[-1])
        _link(objects, code)
        with names.open("w") as file:
            subprocess.run(["llvm-nm-19", "--print-size", "--defined-only", str(code)], stdout=file, check=True)
        return _search(code, names, args)


def main(argv: list[str]) -> int:
    """Returns the exit status."""
    try:
        return _try(argv)
    except PortError as error:
        sys.stdout.flush()
        print(f"try: {error}", file=sys.stderr)
        return _COULD_NOT
    except KeyboardInterrupt:
        return _COULD_NOT


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
