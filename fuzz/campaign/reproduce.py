#!/usr/bin/python3
"""Replays one crash file and tells its story."""

import argparse
import os
import sys
from pathlib import Path
from typing import NoReturn

from fuzz.campaign import ending
from fuzz.campaign.paths import is_program, program, shown, user_path

_EPILOG = """\
examples:
  bazel run //fuzz:reproduce -- out/campaign/.../O1-0123456789ab.bin
  bazel run //fuzz:reproduce -- --minimise crash.bin -o small.bin
  bazel run //fuzz:reproduce -- --bytes corpus/3f786850e387550fdab836ed7e6dc881de23001b

FILE is a crash file or a scenario as text (fuzz/scenario/FORMAT.md). Paths are relative to where you stand.
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
        description="Replays one crash file: its configuration, its scenario, the interleaving "
        "with one column for each CPU, the oracle that fired and the two events in conflict.")
    parser.add_argument("--bytes", action="store_true",
                        help="FILE may be bytes without a mark, as fuzzers keep them in a corpus or "
                        "wrote them as crash files; any file is a scenario then")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--title", action="store_true", help="print only the oracle and its title")
    what.add_argument("--text", action="store_true", help="print the scenario as text, to edit it")
    parser.add_argument("--minimise", action="store_true",
                        help="first look for the smallest scenario that fails in the same way")
    parser.add_argument("--last", metavar="N",
                        help="show only the last N lines of the interleaving")
    parser.add_argument("-o", "--output", metavar="OUT",
                        help="write the scenario to OUT: as text if it ends in .txt, else as bytes")
    parser.add_argument("--binary", metavar="PROGRAM",
                        help="another build of the reproducer, for example a mutant's")
    parser.add_argument("files", metavar="FILE", nargs="+")
    return parser


def _input(text: str) -> Path:
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


def command(argv: list[str]) -> list[str]:
    """The command line of the program that does the work. Raises UsageError."""
    parser = _parser()
    args = parser.parse_args(argv)
    if args.last is not None and not (args.last.isascii() and args.last.isdigit()):
        parser.error("--last needs a number")
    if len(args.files) > 1:
        parser.error(f"one file at a time, but got {' and '.join(args.files[:2])}")
    binary = user_path(args.binary) if args.binary else program("fuzz/reproduce_bin")
    if not os.access(binary, os.X_OK) or not binary.is_file():
        raise UsageError(f"{binary} is no program. " + (
            "Check --binary." if args.binary else "Use 'bazel run //fuzz:reproduce'."))
    if args.binary and not is_program(binary, "reproduce"):
        raise UsageError(f"{binary} is no reproducer: it does not say so when asked for --help. "
                         "Check --binary.")
    modes = [mode for mode in ("bytes", "title", "text", "minimise") if getattr(args, mode)]
    words = [str(binary)] + ["--" + mode for mode in modes] + [str(_input(args.files[0]))]
    if args.last is not None:
        words += ["--last", args.last]
    if args.output:
        output = user_path(args.output)
        if not os.access(output.parent, os.W_OK):
            raise UsageError(f"-o: cannot write to the folder {shown(output.parent)}.")
        words += ["-o", str(output)]
    return words


def main(argv: list[str]) -> int:
    try:
        words = command(argv)
    except UsageError as error:
        print(f"reproduce: {error}", file=sys.stderr)
        return 2
    sys.stdout.flush()
    os.execv(words[0], words)


if __name__ == "__main__":
    ending.run("reproduce", main)
