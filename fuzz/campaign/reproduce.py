#!/usr/bin/python3
"""Replays crash files and tells their stories."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

from fuzz.campaign import ending
from fuzz.campaign.disk import is_standard_output, reason, write_whole
from fuzz.campaign.paths import is_program, output_path, program, shown, user_path
from fuzz.story import against, page, perfetto, regression

_HEAD = "shootdown-scenario 1"
_NOTHING_DONE = " (no operation: nothing was done)"
_NOT_TOLD = "not run; standard error tells why"

_EPILOG = """\
examples:
  bazel run //fuzz:reproduce -- out/campaign/.../O1-0123456789ab.bin
  bazel run //fuzz:reproduce -- --minimise crash.bin -o small.bin
  bazel run //fuzz:reproduce -- --bytes corpus/3f786850e387550fdab836ed7e6dc881de23001b
  bazel run //fuzz:reproduce -- --html story.html crash.bin
  bazel run //fuzz:reproduce -- --binary bazel-bin/tests/mutants/NAME_reproduce --against clean crash.bin

FILE is a crash file, a scenario as text (fuzz/scenario/FORMAT.md), or '-' for standard input. Paths are relative to
where you stand. OUT may be '-' for standard output, or a device or a FIFO, which is written to; what is told goes to
standard error then. It cannot be FILE.
exit status: 0 no oracle fired, 1 an oracle fired, 2 bad usage, a file that is no scenario or cannot
be read or written"""


class UsageError(Exception):
    """Something the user can mend; the text says how."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; --help tells more")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="reproduce", epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Replays crash files: the configuration, the scenario, the interleaving "
        "with one column for each CPU, the oracle that fired and the two events in conflict.")
    parser.add_argument("--bytes", action="store_true",
                        help="FILE may be bytes without a mark, as fuzzers keep them in a corpus or "
                        "wrote them as crash files; any file is a scenario then")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--title", action="store_true", help="print only the oracle and its title")
    what.add_argument("--text", action="store_true", help="print the scenario as text, to edit it")
    what.add_argument("--json", action="store_true",
                      help="print the record of each run as JSON, an object on one line (fuzz/README.md)")
    what.add_argument("--html", metavar="OUT", type=_output_name,
                      help="write one file that a browser shows: a lane for each CPU, and the state at each step")
    what.add_argument("--perfetto", metavar="OUT", type=_output_name,
                      help="write a trace that ui.perfetto.dev and chrome://tracing open")
    what.add_argument("--cpp", metavar="OUT", type=_output_name,
                      help="write a C++ file that is a regression test of its own: it passes when no oracle fires")
    what.add_argument("--gdb", action="store_true",
                      help="run it under gdb, which stops where an oracle fires, on the stack of that CPU")
    what.add_argument("--against", metavar="PROGRAM",
                      help="show the first step at which --binary differs from PROGRAM, another build of the "
                      "reproducer, or from the clean core ('clean'), and the two runs side by side")
    parser.add_argument("--minimise", action="store_true",
                        help="first look for the smallest scenario that fails in the same way")
    parser.add_argument("--last", metavar="N", type=_number,
                        help="of the interleaving show the last N lines, and all that is marked, and operations; "
                        "with --against N lines from the first difference on (0: all)")
    parser.add_argument("--width", metavar="N", type=_number, help="lines of N characters (default: the terminal's)")
    parser.add_argument("--colour", choices=("auto", "always", "never"), help="default: on a terminal")
    parser.add_argument("-o", "--output", metavar="OUT",
                        help="write the scenario to OUT: as text if it ends in .txt, else as bytes")
    parser.add_argument("--binary", metavar="PROGRAM",
                        help="another build of the reproducer, for example a mutant's")
    parser.add_argument("files", metavar="FILE", nargs="+")
    return parser


def _number(text: str) -> str:
    if not (text.isascii() and text.isdigit()):
        raise UsageError("--last and --width need a number; --help tells more")
    return text


def _output_name(text: str) -> str:
    if not text:
        raise UsageError("an output file needs a name; --help tells more")
    return text


def _input(text: str) -> Path | str:
    if text == "-":
        return text
    path = user_path(text)
    if path.is_dir():
        inside = sorted(path.glob("*.bin"))
        hint = f", for example {shown(inside[0])}" if inside else ""
        raise UsageError(f"{shown(path)} is a folder. Name one file{hint}.")
    if not path.exists():
        raise UsageError(f"{shown(path)}: no such file. Paths are relative to {user_path('.')}.")
    if not path.is_file():
        raise UsageError(f"{shown(path)} is no file. Name one scenario or crash file.")
    if not os.access(path, os.R_OK):
        raise UsageError(f"{shown(path)} cannot be read: no permission.")
    return path


def _reproducer(name: str | None, option: str) -> Path:
    """The program of that name, or the clean one."""
    path = user_path(name) if name else program("fuzz/reproduce_bin")
    if not os.access(path, os.X_OK) or not path.is_file():
        raise UsageError(f"{path} is no program. " + (
            f"Check {option}." if name else "Use 'bazel run //fuzz:reproduce'."))
    if name and not is_program(path, "reproduce"):
        raise UsageError(f"{path} is no reproducer: it does not say so when asked for --help. "
                         f"Check {option}.")
    return path


def _output(name: str, option: str, inputs: list[str]) -> Path:
    output = output_path(name)
    if is_standard_output(output):
        return output
    for file in inputs:
        if file != "-" and output.exists() and output.samefile(user_path(file)):
            raise UsageError(f"{option}: {shown(output)} is the file that is read. Name another one.")
    if not os.access(output.parent, os.W_OK):
        raise UsageError(f"{option}: cannot write to the folder {shown(output.parent)}.")
    return output


def _check(args: argparse.Namespace, parser: _Parser) -> None:
    for option, value in (("-o", args.output), ("--html", args.html), ("--perfetto", args.perfetto),
                          ("--cpp", args.cpp), ("--gdb", args.gdb or None), ("--against", args.against)):
        if value is not None and len(args.files) > 1:
            parser.error(f"{option} is for one file, but got {' and '.join(args.files[:2])}")
    if args.against == "clean" and not args.binary:
        parser.error("--against clean compares another build with the clean core; name it with --binary")
    is_told = not (args.json or args.gdb or args.against or any(getattr(args, kind) for kind in _DRAWN))
    if args.output and not is_told and is_standard_output(output_path(args.output)):
        parser.error("-o cannot be standard output, which shows something else already")


def _words(args: argparse.Namespace, binary: Path, files: list[str], out: Path | None = None) -> list[str]:
    """The command line of the program that does the work. `out` takes the place of standard output."""
    modes = [mode for mode in ("bytes", "title", "text", "json", "minimise") if getattr(args, mode)]
    words = [str(binary)] + ["--" + mode for mode in modes] + [str(_input(file)) for file in files]
    for option in ("last", "width", "colour"):
        if getattr(args, option) is not None:
            words += ["--" + option, getattr(args, option)]
    if args.output:
        words += ["-o", str(out or _output(args.output, "-o", args.files))]
    return words


def _record(words: list[str], data: bytes | None) -> tuple[int, dict | None]:
    """The record of a run, and its exit status; nothing if there was none."""
    run = subprocess.run([words[0], "--json", *words[1:]], input=data, stdout=subprocess.PIPE, check=False)
    if run.returncode not in (0, 1):
        return 2, None
    # The name of a file need not be UTF-8.
    return run.returncode, json.loads(run.stdout.decode(errors="replace"))


_DRAWN = {"html": page.page, "perfetto": lambda record: json.dumps(perfetto.trace(record)),
          "cpp": regression.test_of}


def _debugged(words: list[str]) -> list[str]:
    """The command line under gdb. A run that fails is abandoned on the fiber of the CPU that acts."""
    if shutil.which("gdb") is None:
        raise UsageError("gdb is not installed; it is in the Debian package of this name.")
    commands = ["set confirm off", "set pagination off", "break shootdown::host::Machine::abandon_run", "run",
                "echo \\nAn oracle has fired. Behind stop_if_failed stands the model, and then the core:\\n\\n",
                "backtrace"]
    return ["gdb", "-q", *(word for command in commands for word in ("-ex", command)), "--args", words[0], "--title",
            *words[1:]]


def _drawn(args: argparse.Namespace, words: list[str]) -> int:
    """Writes what is made of a record. Returns the exit status."""
    option, name = next((f"--{kind}", getattr(args, kind)) for kind in _DRAWN if getattr(args, kind))
    output = _output(name, option, args.files)
    status, record = _record(words, None)
    if record is None:
        return status
    # What is written may go to other machines, where the folders of this one say nothing.
    record["file"] = Path(record["file"]).name
    write_whole(output, _DRAWN[option.removeprefix("--")](record).encode())
    print(f"{record['title']}: {shown(output)}{_NOTHING_DONE if not _has_operation(record['scenario']) else ''}",
          file=sys.stderr if is_standard_output(output) else sys.stdout)
    return status


def _has_operation(scenario: list[str]) -> bool:
    return any(line.startswith("cpu ") for line in scenario)


def _says_nothing(args: argparse.Namespace, words: list[str], data: bytes | None) -> bool:
    """Whether the scenario has no operation, so that a run of it shows nothing."""
    form = ["--bytes"] if args.bytes else []
    run = subprocess.run([words[0], *form, "--text", words[-1]], input=data, stdout=subprocess.PIPE,
                         stderr=subprocess.DEVNULL, check=False)
    lines = run.stdout.decode(errors="replace").splitlines()
    return run.returncode == 0 and lines[:1] == [_HEAD] and not _has_operation(lines)


def _title(args: argparse.Namespace, file: str, run: subprocess.CompletedProcess, is_empty: bool) -> str:
    """The line of a file, with what makes an "ok" say less."""
    title = run.stdout.decode(errors="backslashreplace").rstrip("\n")
    said = (run.stderr or b"").decode(errors="backslashreplace")
    print(said, end="", file=sys.stderr, flush=True)
    count = said.count(" did nothing: ")
    if run.returncode not in (0, 1):
        title = _NOT_TOLD
    elif is_empty:
        title += _NOTHING_DONE
    elif count:
        title += f" ({count} deviation{'' if count == 1 else 's'} did nothing)"
    if len(args.files) > 1:
        return f"{file}: {title}\n"
    return f"{title}\n" if title != _NOT_TOLD else ""


def _told(args: argparse.Namespace, binary: Path, file: str) -> int:
    """Tells one file as text. Returns the exit status."""
    data = sys.stdin.buffer.read() if file == "-" else None
    is_headed = len(args.files) > 1 and not (args.json or args.text or args.title)
    to_output = args.output and is_standard_output(output_path(args.output))
    with tempfile.TemporaryDirectory() as aside:
        out = Path(aside, "scenario.bin")
        words = _words(args, binary, [file], out if to_output else None)
        if is_headed:
            print(f"==> {file} <==", flush=True)
        run = subprocess.run(words, input=data, check=False,
                             stdout=subprocess.PIPE if args.title else 2 if to_output else None,
                             stderr=subprocess.PIPE if args.title and not args.minimise else None)
        is_done = run.returncode in (0, 1)
        is_empty = run.returncode == 0 and not (args.json or args.text) and _says_nothing(
            args, [words[0], str(_input(file))], data)
        if args.title:
            print(_title(args, file, run, is_empty), end="", flush=True, file=sys.stderr if to_output else sys.stdout)
        elif is_empty:
            print(f"reproduce: {file}: warning: it has no operation, so nothing was done", file=sys.stderr)
        if is_headed:
            print("" if is_done else f"{_NOT_TOLD}\n", flush=True)
        if to_output and is_done:
            write_whole(Path("-"), out.read_bytes())
    if run.returncode == 0 and args.minimise and not args.text:
        kept = f"; {args.output} is the scenario as it was" if args.output else ""
        print(f"reproduce: {file}: no oracle fired, so there is nothing to minimise{kept}", file=sys.stderr)
    # As a shell tells the end by a signal.
    return run.returncode if run.returncode >= 0 else 128 - run.returncode


def _compared(args: argparse.Namespace, words: list[str]) -> int:
    other = _reproducer(None if args.against == "clean" else args.against, "--against")
    # Both read it.
    data = sys.stdin.buffer.read() if args.files[0] == "-" else None
    status, mine = _record(words, data)
    words = [str(other), *(word for word in words[1:] if word != "--minimise")]
    if mine is None:
        return status
    if args.minimise:
        # The same scenario for both.
        data = ("\n".join(mine["scenario"]) + "\n").encode()
        words = [str(other), "-"]
    _, theirs = _record(words, data)
    if theirs is None:
        return 2
    width = int(args.width) if args.width else shutil.get_terminal_size((150, 24)).columns
    names = ("this build", "the clean core" if args.against == "clean" else shown(other))
    print(against.compare(mine, theirs, width, names, None if args.last is None else int(args.last)), end="")
    return status


def main(argv: list[str]) -> int:
    try:
        parser = _parser()
        args = parser.parse_args(argv)
        _check(args, parser)
        binary = _reproducer(args.binary, "--binary")
        for file in args.files:
            _input(file)
        if not (args.gdb or args.against is not None or any(getattr(args, kind) for kind in _DRAWN)):
            return max(_told(args, binary, file) for file in args.files)
        words = _words(args, binary, args.files)
        if any(getattr(args, kind) for kind in _DRAWN):
            return _drawn(args, words)
        if args.against is not None:
            return _compared(args, words)
        words = _debugged(words)
    except UsageError as error:
        print(f"reproduce: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"reproduce: {reason(error)}", file=sys.stderr)
        return 2
    sys.stdout.flush()
    os.execvp(words[0], words)


if __name__ == "__main__":
    ending.run("reproduce", main)
