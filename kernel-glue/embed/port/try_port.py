#!/usr/bin/python3
"""Compiles memory-management code for the modelled machine, searches, and names its lines in the story."""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

from fuzz.campaign.paths import program, shown, user_path, workspace_directory
from ports.harness import foreign

_EPILOG = """\
examples:
  bazel run //kernel-glue/embed:try -- --source mm.c
  bazel run //kernel-glue/embed:try -- --source examples/kernel_c/memory.c --source examples/kernel_c/on_model.c
  bazel run //kernel-glue/embed:try -- --source mm.c --seed 7 --executions 100000 -- -DDEBUG -Iinclude

What the code gives and is given is in kernel-glue/embed/on_model.h; the README beside it shows an example.
Paths are relative to where you stand. What follows a second -- goes to the compiler.
exit status: 0 nothing was found, 1 an oracle has fired, 2 it could not be tried"""

_COMPILE = ["-O1", *foreign.INSTRUMENTED, "-Wall", "-DSD_ON_MODEL", "-DSD_DEBUG"]
_LANGUAGES = {".c": ("clang-19", "-std=gnu11"), ".cc": ("clang++-19", "-std=c++20"),
              ".cpp": ("clang++-19", "-std=c++20")}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise foreign.ForeignError(f"{message}; --help tells more")


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
        raise foreign.ForeignError(f"{shown(source)}: no such file")
    if source.suffix not in _LANGUAGES:
        raise foreign.ForeignError(f"{shown(source)}: neither C nor C++; "
                                   f"the name ends in one of {', '.join(_LANGUAGES)}")
    compiler, standard = _LANGUAGES[source.suffix]
    foreign.need(compiler)
    headers = [f"-I{folder}" for folder in (source.parent, program("."), workspace_directory())]
    run = subprocess.run([compiler, standard, *_COMPILE, *headers, *options, "-c", str(source), "-o", str(target)],
                         cwd=user_path("."), stderr=subprocess.PIPE, text=True, check=False)
    sys.stderr.write(run.stderr)
    if run.returncode != 0:
        raise foreign.ForeignError(f"{shown(source)} does not compile")


def _search(code: Path, names: Path, args: argparse.Namespace) -> int:
    options = ["--seed", str(args.seed), "--executions", str(args.executions)]
    for name in ("seconds", "cpus", "memory"):
        if getattr(args, name) is not None:
            options += [f"--{name}", str(getattr(args, name))]
    for name in ("out", "replay"):
        if getattr(args, name) is not None:
            options += [f"--{name}", str(user_path(getattr(args, name)))]
    status, text = foreign.search(program("kernel-glue/embed/port/search"), code, names, options)
    sys.stdout.write(text)
    return status


def _try(argv: list[str]) -> int:
    args = parser().parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        code, names = Path(folder, "code.so"), Path(folder, "names")
        objects = []
        for number, text in enumerate(args.source):
            objects.append(Path(folder, f"{number}.o"))
            _compile(user_path(text), args.compiler, objects[-1])
        foreign.link(objects, code)
        foreign.write_names(code, names)
        return _search(code, names, args)


def main(argv: list[str]) -> int:
    """Returns the exit status."""
    try:
        return _try(argv)
    except foreign.ForeignError as error:
        sys.stdout.flush()
        print(f"try: {error}", file=sys.stderr)
        return foreign.COULD_NOT
    except KeyboardInterrupt:
        return foreign.COULD_NOT


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
