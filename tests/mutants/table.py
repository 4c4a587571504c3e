#!/usr/bin/python3
"""Lets every engine look for every mutant from an empty corpus, and writes what came of it."""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from fuzz.campaign.paths import shown, user_path
from fuzz.campaign.process import adopt_orphans, kill_descendants
from fuzz.campaign.status import StatusLine
from tests.mutants import results, trial

_EPILOG = """\
examples:
  bazel run //tests/mutants:table -- --seeds 10 --seconds 60
  bazel run //tests/mutants:table -- --only m42_partial_with_gap clean --engines random,libfuzzer

What is measured is added to out/museum/results.jsonl as it comes. Started again, the table goes on where
it stopped, and measures again only what was built from other code. Ctrl-C ends it, and writes the table
of what there is.
exit status: 0 each mutant was found by some engine and the clean core was not reported, 1 not so,
2 it could not do its work: also if a search that the table is to show was not made, or executed nothing"""

_MUTANTS = Path("tests/mutants")
_INTRODUCTION = """\
# The museum: which engine finds which bug

Each bug really happened, somewhere, and is put back here by a patch of `tests/mutants`. Its page tells the story;
[museum/README.md](museum/README.md) says how to read one, and has the bugs by rule, system, year and difficulty.
This file is written by `bazel run //tests/mutants:table -- --markdown docs/museum.md --json docs/museum.json`.

"""
_RESULTS = Path("out/museum/results.jsonl")
# The clean core has to stay silent for this many times the longest search, over all seeds.
_CLEAN_FACTOR = 10


class TableError(Exception):
    """The table cannot be made; the text says why."""


def _positive(text: str) -> int:
    number = int(text) if text.isdigit() else 0
    if not 0 < number < 2**31:
        raise argparse.ArgumentTypeError(f"'{text}' is not a positive number")
    return number


def _engines(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in trial.ENGINES]:
        raise argparse.ArgumentTypeError(f"'{unknown[0]}' is no engine; there are "
                                         f"{', '.join(trial.ENGINES)}")
    return names


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="table", description=__doc__, epilog=_EPILOG,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--seeds", type=_positive, default=10, metavar="N", help="default %(default)s")
    add("--seconds", type=_positive, default=60, metavar="N",
        help="how long each engine searches from each seed; default %(default)s")
    add("--engines", type=_engines, default=list(trial.ENGINES), metavar="NAME,...",
        help=f"default: {','.join(trial.ENGINES)}")
    add("--only", nargs="+", metavar="NAME", help="some of the mutants, or clean; default: all")
    add("--jobs", type=_positive, default=os.cpu_count() or 1, metavar="N",
        help="searches side by side; default: one for each core")
    add("--results", default=str(_RESULTS), metavar="FILE", help="default %(default)s")
    add("--markdown", default="out/museum/table.md", metavar="FILE", help="default %(default)s")
    add("--json", default="out/museum/table.json", metavar="FILE", help="default %(default)s")
    add("--note", default="", metavar="TEXT", help="something that readers of the table should know")
    add("--units", type=lambda text: text.split(","), default=[], help=argparse.SUPPRESS)
    add("--known", type=lambda text: text.split(","), required=True, help=argparse.SUPPRESS)
    return parser


def _names(args: argparse.Namespace) -> list[str]:
    known = [*sorted(args.known), results.CLEAN]
    if unknown := [name for name in args.only or [] if name not in known]:
        raise TableError(f"{', '.join(unknown)}: no such mutant. There are: {', '.join(known)}.")
    return [name for name in known if not args.only or name in args.only]


def _label(name: str, engine: str) -> str:
    if name == results.CLEAN:
        return "//fuzz:" + trial.CLEAN_PROGRAMS[trial.PARTS[engine]]
    return f"//tests/mutants:{name}_{trial.PARTS[engine]}"


def _program(name: str, engine: str) -> Path:
    return Path("bazel-bin").absolute() / _label(name, engine).removeprefix("//").replace(":", "/")


def _build(names: list[str], engines: list[str]) -> None:
    labels = sorted({_label(name, engine) for name in names for engine in engines})
    if subprocess.run(["bazel", "build", *labels], check=False).returncode != 0:
        raise TableError("the programs do not build; does each patch still apply?")


class Table:
    """The measurement, from the first trial to the files."""

    def __init__(self, args: argparse.Namespace, names: list[str]):
        self._args = args
        self._names = names
        self._file = user_path(args.results)
        self._line = StatusLine()
        self._empty: list[str] = []  # searches that executed nothing, which says nothing
        self._began = time.monotonic()
        self._digests = {(name, engine): results.digest(_program(name, engine))
                         for name in names for engine in args.engines}
        self._known = {one.key: one for one in results.load(self._file)}

    def _limit(self, name: str) -> float:
        args = self._args
        if name != results.CLEAN:
            return args.seconds
        return max(args.seconds * _CLEAN_FACTOR / args.seeds, 1.0)

    def _wanted(self) -> list[tuple]:
        """The keys of all trials that the table shows: seed by seed, so that every mutant has some
        soon."""
        return [(name, engine, seed, self._limit(name), self._digests[name, engine])
                for seed in range(1, self._args.seeds + 1)
                for name in self._names for engine in self._args.engines
                if seed == 1 or engine not in trial.SEEDLESS]

    def measure(self) -> None:
        """Makes the trials that are missing."""
        missing = [key for key in self._wanted() if key not in self._known]
        longest = sum(limit for _, _, _, limit, _ in missing) / self._args.jobs
        self._line.say(f"{len(missing)} searches, {len(self._wanted()) - len(missing)} known already; at most "
                       f"{_duration(longest)}, {self._args.jobs} at a time. Ctrl-C ends it, and it can go "
                       "on later.")
        plans = [trial.Plan(engine, seed, _program(name, engine), limit, name)
                 for name, engine, seed, limit, _ in missing]
        folder = Path(tempfile.mkdtemp(prefix="shootdown-table-"))
        try:
            trial.run(plans, folder, self._args.jobs, self._take, self._tick)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _take(self, outcome: trial.Trial) -> bool:
        plan, title = outcome.plan, outcome.title
        if outcome.failure:
            raise TableError(f"{plan.label}, {plan.engine}: {outcome.failure}")
        if title is None and not outcome.tried:
            self._empty.append(f"{plan.label} with {plan.engine} from seed {plan.seed}")
            return True
        one = results.Result(
            mutant=plan.label, engine=plan.engine, seed=plan.seed, limit=plan.seconds,
            seconds=round(outcome.seconds, 3), executions=outcome.executions,
            oracle=title.oracle if title else "", title=str(title) if title else "",
            program=self._digests[plan.label, plan.engine])
        self._known[one.key] = one
        results.append(self._file, one)
        return True

    def _tick(self, done: list[trial.Trial], left: float) -> None:
        found = sum(outcome.title is not None for outcome in done)
        self._line.show(f"{len(done)} searches done, {found} found something, at most "
                        f"{_duration(left)} to go{self._guess(done, left)}")

    def _guess(self, done: list[trial.Trial], left: float) -> str:
        """Searches end early when they find something, as often as so far."""
        if len(done) < 5:
            return ""
        share = sum(one.seconds for one in done) / sum(one.plan.seconds for one in done)
        return f", rather {_duration(left * share)}"

    def rows(self) -> list[results.Row]:
        wanted = set(self._wanted())
        mine = [one for key, one in self._known.items() if key in wanted]
        return [results.row(
            name, None if name == results.CLEAN else _MUTANTS / f"{name}.patch",
            None if name == results.CLEAN else _MUTANTS / "scenarios" / f"{name}.txt", mine,
            self._args.engines) for name in self._names]

    def write(self) -> int:
        """Writes both files, says where, and returns the exit status."""
        self._line.clear()
        args, rows = self._args, self.rows()
        markdown, as_json = user_path(args.markdown), user_path(args.json)
        for file in (markdown, as_json):
            file.parent.mkdir(parents=True, exist_ok=True)
        markdown.write_text(self._text(rows, os.path.relpath("docs/museum", markdown.parent) + "/{}.md"))
        as_json.write_text("[\n" + ",\n".join(json.dumps(asdict(one)) for one in rows) + "\n]\n")
        print(results.bars(rows) + f"The table is in {shown(markdown)} and {shown(as_json)}.")
        if self._empty:
            print(f"These searches executed nothing in their time and are left out: {'; '.join(self._empty)}.")
        if left := sum(key not in self._known for key in self._wanted()):
            print(f"{left} of {len(self._wanted())} searches are not in it.")
            return 2
        good = all(one.best is not None and one.best.found if one.expected else not one.fired for one in rows)
        return 0 if good else 1

    def _text(self, rows: list[results.Row], page: str) -> str:
        args = self._args
        text = _INTRODUCTION + (
            f"Measured with `--seeds {args.seeds} --seconds {args.seconds} --engines {','.join(args.engines)} "
            f"--jobs {args.jobs}` on {os.cpu_count()} cores, each search from an empty corpus. A cell says from how "
            "many seeds the engine found the mutant, and the median time; \"lines\" is the size of the shortest "
            "scenario known.\n\n" + (args.note + "\n\n" if args.note else ""))
        text += results.bars(rows) + "\n" + results.overview(rows, args.engines, page)
        if args.units:
            links = ", ".join(f"[{name.partition('_')[0].lstrip('m0')}]({page.format(name)})" for name in args.units)
            text += f"\nSeen by unit tests only: {links}.\n"
        text += ("\n## What each find cost\n\nThe mean counts a search that found nothing as its limit (restricted "
                 "mean of the Kaplan-Meier estimate).\n\n" + results.effort(rows, args.engines))
        return text + "\n" + (_MUTANTS / "not_put_back.md").read_text()


def _duration(value: float) -> str:
    return f"{value:.0f} s" if value < 120 else f"{value / 60:.0f} min"


def _interrupt(*_) -> None:
    raise KeyboardInterrupt


def _run(args: argparse.Namespace) -> int:
    names = _names(args)
    if "afl" in args.engines and shutil.which("afl-fuzz") is None:
        raise TableError("afl-fuzz is not installed; run tools/setup, or leave it out with --engines.")
    _build(names, args.engines)
    adopt_orphans()
    table = Table(args, names)
    try:
        table.measure()
    except KeyboardInterrupt:
        print("\nStopped; started again with the same options it goes on.")
    return table.write()


def main(argv: list[str]) -> int:
    args = _parser().parse_args(argv)
    # Files are named from the top of the tree, as in the messages.
    os.chdir(os.environ.get("BUILD_WORKSPACE_DIRECTORY", "."))
    os.environ["BUILD_WORKING_DIRECTORY"] = os.getcwd()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _run(args)
    except (TableError, OSError) as error:
        print(f"table: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 2
    finally:
        kill_descendants()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
