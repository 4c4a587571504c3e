#!/usr/bin/python3
"""Searches with fixed seeds and counted executions, and checks that the right oracle reports.

With a patch each seed must find the mutant; without one, or with one of a correct change, no seed may find
anything.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fuzz.campaign.crashes import Title, title_from_output
from tests.docs import figures
from tests.mutants import mutant

# As many deviations as the search has by itself: the rarest mutants need several to meet. Mutants are searched
# for in plain scenarios, so that counts stay as they are when the search learns to look elsewhere, too; what must
# not be reported, everywhere.
_PLAIN = ["--plain", "--deviations", "32"]
_EXECUTED = re.compile(r"stat::number_of_executed_units:\s+(\d+)")
_FOUND = re.compile(r"^found (\S+) (.*) after (\d+) executions$", re.MULTILINE)
_CLEAN = re.compile(r"^clean after (\d+) executions", re.MULTILINE)


class HuntError(Exception):
    """The search itself did not work."""


@dataclass(frozen=True)
class Outcome:
    """What one search came to."""

    title: Title | None
    executions: int
    seconds: float


def _run(argv: list[str], cwd: str) -> tuple[int, str]:
    sanitizer = "abort_on_error=1:detect_leaks=0:symbolize=0"
    env = {**os.environ, "ASAN_OPTIONS": sanitizer, "UBSAN_OPTIONS": sanitizer}
    try:
        run = subprocess.run(argv, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, check=False)
    except OSError as error:
        raise HuntError(f"{argv[0]} cannot be started: {error.strerror}") from error
    return run.returncode, run.stdout.decode(errors="replace")


def scenarios(how: Sequence[str], plain: bool = True) -> list[str]:
    """What the options say of the scenarios, for a search with these options besides. With a focus they cannot be
    plain.
    """
    return _PLAIN if plain and "--focus" not in how else []


def search(program: Path, seed: int, executions: int, how: Sequence[str] = (), plain: bool = True) -> Outcome:
    """The random search of the fuzz room; `how` are its options besides."""
    how = [*scenarios(how, plain), *how]
    with tempfile.TemporaryDirectory() as folder:
        begin = time.monotonic()
        status, output = _run([str(program), "--seed", str(seed), "--executions",
                               str(executions), *how], folder)
        seconds = time.monotonic() - begin
    if status == 1 and (match := _FOUND.search(output)):
        return Outcome(Title(match[1], match[2]), int(match[3]), seconds)
    if status == 0 and (match := _CLEAN.search(output)):
        return Outcome(None, _all(int(match[1]), executions, program), seconds)
    raise HuntError(f"{program} ended with status {status}:\n{output[-2000:]}")


def libfuzzer(program: Path, seed: int, executions: int) -> Outcome:
    """libFuzzer, from an empty corpus."""
    with tempfile.TemporaryDirectory() as folder:
        os.mkdir(f"{folder}/corpus")
        begin = time.monotonic()
        status, output = _run(
            [str(program), f"-seed={seed}", f"-runs={executions}", "-max_len=776", "-timeout=10",
             "-print_final_stats=1", f"-artifact_prefix={folder}/", f"{folder}/corpus"], folder)
        seconds = time.monotonic() - begin
    count = _EXECUTED.search(output)
    title = title_from_output(output)
    if count is None or (status == 0) != (title is None):
        raise HuntError(f"{program} ended with status {status}:\n{output[-2000:]}")
    made = int(count[1])
    return Outcome(title, made if title else _all(made, executions, program), seconds)


def _all(made: int, wanted: int, program: Path) -> int:
    """Silence over fewer executions than were asked for is no result."""
    if made < wanted:
        raise HuntError(f"{program} made {made:,} of {wanted:,} executions and says that all is well")
    return made


def verdict(outcome: Outcome, wanted: mutant.Mutant | None, right: str = "the core is clean") -> str | None:
    """What is wrong with the outcome of one search, or None. `right` says why nothing is to be found."""
    if wanted is None:
        return f"reported {outcome.title}, but {right}" if outcome.title else None
    if outcome.title is None:
        return f"not found within {outcome.executions:,} executions"
    if outcome.title.oracle not in wanted.oracles:
        return (f"reported {outcome.title}, but the patch names only the oracles "
                f"{', '.join(wanted.oracles)}")
    return None


def compare(tree: Path, name: str, how: Sequence[str], counts: Sequence[str]) -> int:
    """Holds the counts against what the documents publish. Returns how many differ."""
    options = " ".join(how).removeprefix("--strategy random").strip()
    found = {f"options {name}": f"`{options}`" if options else "none", f"executions {name}": " / ".join(counts)}
    figures.tell(found)
    wrong = figures.differences(tree, found)
    print("\n".join(wrong))
    return len(wrong)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    program = parser.add_mutually_exclusive_group(required=True)
    program.add_argument("--search", type=Path, metavar="PROGRAM")
    program.add_argument("--libfuzzer", type=Path, metavar="PROGRAM")
    parser.add_argument("--executions", type=int, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", required=True)
    parser.add_argument("--patch", type=Path, help="a mutant, which is to be found")
    parser.add_argument("--correct", type=Path, metavar="PATCH",
                        help="what the program was changed by, and is still right")
    parser.add_argument("--strategy", metavar="NAME", default="random")
    parser.add_argument("--turn", metavar="SWITCH", action="append", default=[])
    parser.add_argument("--backend", metavar="NAME")
    parser.add_argument("--cpus", metavar="N")
    parser.add_argument("--focus", metavar="NAME", help="blanks as underscores, no commas; not in plain scenarios")
    parser.add_argument("--any-switch", action="store_true")
    parser.add_argument("--chains", action="store_true")
    parser.add_argument("--migrate", action="store_true")
    parser.add_argument("--published", type=Path, metavar="TREE",
                        help="compare the counts with docs/executions.md there")
    args = parser.parse_args(argv)
    wanted = mutant.read(args.patch) if args.patch else None
    right = f"{args.correct} breaks no promise" if args.correct else "the core is clean"
    print(f"{wanted.name}: {wanted.title}" if wanted else right)
    how = ["--strategy", args.strategy] + [word for one in args.turn for word in ("--turn", one)]
    how += ["--backend", args.backend] if args.backend else []
    how += ["--cpus", args.cpus] if args.cpus else []
    how += [option for option, is_given in (("--any-switch", args.any_switch), ("--chains", args.chains),
                                         ("--migrate", args.migrate))
            if is_given]
    how += ["--focus", args.focus] if args.focus else []
    failures = 0
    counts: list[str] = []
    for seed in args.seeds:
        try:
            if args.search:
                outcome = search(args.search.absolute(), seed, args.executions, how, plain=wanted is not None)
            else:
                outcome = libfuzzer(args.libfuzzer.absolute(), seed, args.executions)
        except HuntError as error:
            print(f"seed {seed}: {error}")
            failures += 1
            continue
        wrong = verdict(outcome, wanted, right)
        failures += wrong is not None
        counts.append(f"{outcome.executions:,}" if outcome.title else "none")
        print(f"seed {seed}: {outcome.title or 'nothing'} after {outcome.executions:,} executions, "
              f"{outcome.seconds:.1f} s" + (f"   FAILED: {wrong}" if wrong else ""))
    if args.published and wanted and not failures:
        failures += compare(args.published, wanted.name, how, counts)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
