#!/usr/bin/python3
"""Finds the shortest scenario of mutants again, after the core or the simulated kernel changed."""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.mutants import hunt, mutant

_EPILOG = """\
examples:
  bazel run //tests/mutants:remake                       every mutant whose scenario no longer fires
  bazel run //tests/mutants:remake -- --force --finds 8 m27_bump_after_ipi

Builds the mutants' search and reproducer, searches from fixed seeds, minimises each find and keeps
the shortest that the clean core survives in tests/mutants/scenarios/NAME.txt.
exit status: 0 every scenario fires, 1 some could not be found, 2 bad usage or a failed build"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="remake", description=__doc__, epilog=_EPILOG,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--force", action="store_true",
                        help="also the mutants whose scenario still fires")
    parser.add_argument("--finds", type=int, default=3, metavar="N",
                        help="searches for each mutant, of which the shortest find is kept; "
                        "default %(default)s")
    parser.add_argument("--executions", type=int, default=3_000_000, metavar="N",
                        help="budget of each search; default %(default)s")
    parser.add_argument("names", nargs="*", metavar="NAME", help="a mutant; default: all")
    return parser


def _title(program: Path, scenario: Path) -> str | None:
    """What a reproducer reports for a scenario; None if nothing."""
    run = subprocess.run([program, "--title", scenario], capture_output=True, text=True, check=False)
    if run.returncode not in (0, 1):
        raise hunt.HuntError(f"{program} cannot replay {scenario}:\n{run.stderr[-2000:]}")
    return run.stdout.strip() if run.returncode else None


def _fires(programs: Path, name: str, clean: Path, scenario: Path) -> bool:
    wanted = mutant.read(Path("tests/mutants") / f"{name}.patch")
    found = _title(programs / f"{name}_reproduce", scenario)
    return (found is not None and found.split()[0] in wanted.oracles
            and _title(clean, scenario) is None)


def _lines(scenario: Path) -> int:
    return sum(not line.startswith("#") for line in scenario.read_text().splitlines())


def _search_once(programs: Path, name: str, seed: int, executions: int, folder: Path) -> Path | None:
    """One find, minimised. None if this seed finds nothing."""
    crash = folder / f"{seed}.bin"
    run = subprocess.run([programs / f"{name}_search", "--seed", str(seed), "--executions",
                          str(executions), "--deviations", "32", "--out", crash],
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    print(f"  seed {seed}: {run.stdout.strip().splitlines()[-1]}", flush=True)
    if run.returncode != 1:
        return None
    short = folder / f"{seed}.txt"
    subprocess.run([programs / f"{name}_reproduce", "--minimise", crash, "-o", short],
                   stdout=subprocess.DEVNULL, check=False)
    return short if short.exists() else None


def remake(programs: Path, name: str, clean: Path, finds: int, executions: int) -> bool:
    """Writes scenarios/NAME.txt. False if no search found the mutant."""
    with tempfile.TemporaryDirectory() as folder:
        seeds = [1 + 1_000_000_000 * i for i in range(finds)]
        shorts = [_search_once(programs, name, seed, executions, Path(folder)) for seed in seeds]
        good = [short for short in shorts if short and _fires(programs, name, clean, short)]
        if not good:
            return False
        best = min(good, key=_lines)
        Path(f"tests/mutants/scenarios/{name}.txt").write_text(best.read_text())
    return True


def _build(names: list[str]) -> None:
    labels = ["//fuzz:reproduce_bin"]
    labels += [f"//tests/mutants:{name}_{part}" for name in names for part in ("search", "reproduce")]
    if subprocess.run(["bazel", "build", *labels], check=False).returncode != 0:
        raise hunt.HuntError("the mutants do not build; does each patch still apply?")


def _run(args: argparse.Namespace) -> int:
    known = sorted(path.stem for path in Path("tests/mutants").glob("m*.patch"))
    names = args.names or known
    if unknown := [name for name in names if name not in known]:
        raise hunt.HuntError(f"{', '.join(unknown)}: no such mutant. There are: {', '.join(known)}.")
    _build(names)
    programs, clean = Path("bazel-bin/tests/mutants"), Path("bazel-bin/fuzz/reproduce_bin")
    lost = []
    for name in names:
        scenario = Path(f"tests/mutants/scenarios/{name}.txt")
        if not args.force and scenario.exists() and _fires(programs, name, clean, scenario):
            print(f"{name}: still fires")
            continue
        print(f"{name}: searching", flush=True)
        if remake(programs, name, clean, args.finds, args.executions):
            print(f"  wrote {scenario}: {_title(programs / f'{name}_reproduce', scenario)}")
        else:
            lost.append(name)
            print(f"  NOT FOUND in {args.finds} searches of {args.executions:,} executions")
    return 1 if lost else 0


def main(argv: list[str]) -> int:
    args = _parser().parse_args(argv)
    os.chdir(os.environ.get("BUILD_WORKSPACE_DIRECTORY", "."))
    try:
        return _run(args)
    except (hunt.HuntError, OSError) as error:
        print(f"remake: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
