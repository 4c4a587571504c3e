#!/usr/bin/python3
"""Makes mutants fit again after the code changed: the lines around a patch, and the scenarios."""

import argparse
import difflib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.mutants import hunt, interleaving, mutant, pages

_EPILOG = """\
examples:
  bazel run //tests/mutants:remake                       every mutant whose scenario no longer fires
  bazel run //tests/mutants:remake -- --force --finds 8 m27_bump_after_ipi

A patch that only just fits is written again with the lines around it as they are now; one that does
not fit must be made by hand. Then builds the mutants' search and reproducer, searches from fixed seeds,
minimises each find and keeps the shortest that the clean core survives in scenarios/NAME.txt.
exit status: 0 every scenario fires, 1 some could not be found, 2 bad usage or a failed build"""


def _known(text: str) -> dict[str, list[str]]:
    """NAME or NAME:OPTION:..., with commas -> what each mutant's search is told besides."""
    return {name: how for name, *how in (word.split(":") for word in text.split(","))}


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
    parser.add_argument("--known", type=_known, required=True, help=argparse.SUPPRESS)
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


def _search_once(programs: Path, name: str, seed: int, options: list[str],
                 folder: Path) -> Path | None:
    """One find, minimised, or as it is where that fails. None if this seed finds nothing."""
    crash = folder / f"{seed}.bin"
    run = subprocess.run([programs / f"{name}_search", "--seed", str(seed), *hunt.scenarios(options), *options,
                          "--out", crash], stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, text=True, check=False)
    # What follows is how to replay it.
    words = [line for line in run.stdout.splitlines() if line.startswith(("found ", "clean "))]
    if run.returncode not in (0, 1) or not words:
        raise hunt.HuntError(f"{programs}/{name}_search ended with status {run.returncode}:\n{run.stdout[-2000:]}")
    print(f"  seed {seed}: {words[0]}", flush=True)
    if run.returncode != 1:
        return None
    short = folder / f"{seed}.txt"
    minimised = subprocess.run([programs / f"{name}_reproduce", "--minimise", crash, "-o", short],
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if not short.exists():
        raise hunt.HuntError(f"{programs}/{name}_reproduce does not minimise what seed {seed} has found:\n"
                             f"{minimised.stderr[-2000:]}")
    return short


def remake(programs: Path, name: str, clean: Path, finds: int, options: list[str]) -> str | None:
    """Writes scenarios/NAME.txt, or says why it does not."""
    with tempfile.TemporaryDirectory() as folder:
        seeds = [1 + 1_000_000_000 * i for i in range(finds)]
        shorts = [_search_once(programs, name, seed, options, Path(folder)) for seed in seeds]
        found = [short for short in shorts if short]
        good = [short for short in found if _fires(programs, name, clean, short)]
        if not found:
            return f"NOT FOUND in {finds} searches"
        if not good:
            title = _title(programs / f"{name}_reproduce", found[0])
            on_clean = _title(clean, found[0])
            return f"FOUND {len(found)} times, but as {title}" + \
                (f", and the clean core is reported, too: {on_clean}" if on_clean else
                 ", which the patch does not name")
        best = min(good, key=_lines)
        Path(f"tests/mutants/scenarios/{name}.txt").write_text(best.read_text())
    return None


def _write_again(patch: Path) -> None:
    """Gives a patch that applies with some fuzz the lines around its changes as they are now."""
    text = patch.read_text()
    header = "".join(line for line in text.splitlines(keepends=True) if line.startswith("# "))
    files = mutant.read(patch).files
    with tempfile.TemporaryDirectory() as folder:
        for side in ("a", "b"):
            for file in files:
                (Path(folder) / side / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, Path(folder) / side / file)
        mutant.apply(patch, Path(folder) / "b", fuzz=3)
        diff = "".join(_diff(Path(folder), file) for file in files)
    patch.write_text(header + diff)
    if (pages.FOLDER / f"{patch.stem}.md").exists():
        pages.write(patch.stem, None, None)
    print(f"{patch}: written again, check the lines around its changes")


def _diff(folder: Path, file: str) -> str:
    sides = [(folder / side / file).read_text().splitlines(keepends=True) for side in ("a", "b")]
    return "".join(difflib.unified_diff(*sides, f"a/{file}", f"b/{file}", n=2))


def _fit() -> None:
    """All of them, because one program holds all of them."""
    for patch in sorted(Path("tests/mutants").glob("*.patch")):
        try:
            mutant.apply(patch, Path.cwd(), dry_run=True)
        except mutant.MutantError:
            _write_again(patch)


def _build(names: list[str]) -> None:
    labels = ["//fuzz:reproduce_bin"]
    labels += [f"//tests/mutants:{name}_{part}" for name in names for part in ("search", "reproduce")]
    if subprocess.run(["bazel", "build", *labels], check=False).returncode != 0:
        raise hunt.HuntError("the mutants do not build; does each patch still apply?")


def _run(args: argparse.Namespace) -> int:
    known = sorted(args.known)
    names = args.names or known
    if unknown := [name for name in names if name not in known]:
        raise hunt.HuntError(f"{', '.join(unknown)}: no mutant with a scenario. There are: {', '.join(known)}.")
    _fit()
    _build(names)
    programs, clean = Path("bazel-bin/tests/mutants"), Path("bazel-bin/fuzz/reproduce_bin")
    lost = []
    for name in names:
        scenario = Path(f"tests/mutants/scenarios/{name}.txt")
        if not args.force and scenario.exists() and _fires(programs, name, clean, scenario):
            print(f"{name}: still fires")
            continue
        print(f"{name}: searching", flush=True)
        options = ["--executions", str(args.executions), *args.known[name]]
        if (why_not := remake(programs, name, clean, args.finds, options)) is None:
            pages.write(name, None, programs / f"{name}_reproduce")
            print(f"  wrote {scenario} and its page: {_title(programs / f'{name}_reproduce', scenario)}")
        else:
            lost.append(name)
            print(f"  {why_not}")
    if lost:
        print(f"{len(lost)} of {len(names)} have no scenario that fires: {', '.join(lost)}")
    return 1 if lost else 0


def main(argv: list[str]) -> int:
    args = _parser().parse_args(argv)
    os.chdir(os.environ.get("BUILD_WORKSPACE_DIRECTORY", "."))
    try:
        return _run(args)
    except (hunt.HuntError, mutant.MutantError, pages.PageError, interleaving.InterleavingError, OSError) as error:
        print(f"remake: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nremake: stopped; what was written before is complete", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
