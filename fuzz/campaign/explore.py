#!/usr/bin/python3
"""Explores small scenarios exhaustively, and prints what each exploration guarantees."""

import os
import sys
from pathlib import Path

from fuzz.campaign import ending
from fuzz.campaign.paths import is_program, program, shown, user_path

_HELP = """\
usage: bazel run //fuzz:explore -- [OPTION]... [FILE]...

Explores scenarios exhaustively: every interleaving that can make a difference. A comment line
'# explore: setup=N fill=PAGE preemptions=N deviations=N' in a file says how (fuzz/run/proof.h).

  --all            the proofs that come with the project (fuzz/proofs)
  --list           name them
  --program FILE   another build of the explorer, for example a mutant's
  --sc, --tso, --cxx
                   this memory model instead of the one that the file names; cxx only with a bound of
                   deviations
  --deviations N   all runs that differ at most N times from the default schedule
  --executions N   stop, without a guarantee, after N executions
  --samples N      how many random runs check that nothing was left out (default 1000)
  --expect ORACLE  the exploration must find this, such as O1

Paths are relative to where you stand; a name without a folder may be one of --list.
exit status: 0 explored and clean (or found what --expect names), 1 an oracle fired or there is no
guarantee, 2 bad usage or a file that cannot be read
"""
_WITH_VALUE = {"--deviations", "--executions", "--samples", "--expect"}


def _proofs() -> dict[str, Path]:
    folder = Path(__file__).absolute().parents[1] / "proofs"
    return {path.stem: path for path in sorted(folder.glob("*.txt"))}


def command(argv: list[str]) -> list[str]:
    """The command line of the program that does the work."""
    binary = program("fuzz/explore_bin")
    options, files = [], []
    words = iter(argv)
    for word in words:
        if word == "--all":
            files += [str(path) for path in _proofs().values()]
        elif word == "--program":
            binary = user_path(next(words, ""))
        elif word in _WITH_VALUE:
            options += [word, next(words, "")]
        elif word.startswith("-"):
            options.append(word)
        elif "/" not in word and word.removesuffix(".txt") in _proofs() and \
                not user_path(word).exists():
            files.append(str(_proofs()[word.removesuffix(".txt")]))
        else:
            files.append(str(user_path(word)))
    if not os.access(binary, os.X_OK) or not binary.is_file():
        raise ValueError(f"{shown(binary)} is no program; check --program")
    if binary != program("fuzz/explore_bin") and not is_program(binary, "explore"):
        raise ValueError(f"{shown(binary)} is no explorer: it does not say so when asked for --help; "
                         "check --program")
    return [str(binary), *options, *files]


def main(argv: list[str]) -> int:
    if "--help" in argv or "-h" in argv:
        print(_HELP, end="")
        return 0
    if "--list" in argv:
        for name, path in _proofs().items():
            title = path.read_text().splitlines()[0].removeprefix("# title: ")
            print(f"{name}: {title}")
        return 0
    try:
        words = command(argv)
    except ValueError as error:
        print(f"explore: {error}", file=sys.stderr)
        return 2
    sys.stdout.flush()
    os.execv(words[0], words)


if __name__ == "__main__":
    ending.run("explore", main)
