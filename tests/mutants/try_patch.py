#!/usr/bin/python3
"""Tries a change: builds it aside, lets every engine look for a scenario that breaks it, and tells.

The work tree stays as it is.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from fuzz.campaign.crashes import marked
from fuzz.campaign.paths import shown, user_path, workspace_directory
from fuzz.campaign.process import adopt_orphans, kill_descendants
from fuzz.campaign.status import StatusLine
from tests.mutants import trial
from tests.mutants.aside import ROOMS, Aside, AsideError, changed_files, patched_files

_EPILOG = """\
examples:
  bazel run //tests/mutants:try -- tests/mutants/m42_partial_with_gap.patch
  bazel run //tests/mutants:try -- --diff --seconds 60 --seeds 5

The random searches and the proofs of fuzz/proofs come first, because they need the fewest programs
built; then the guided engines, each from an empty corpus. The first report ends the search. Paths
are relative to where you stand.
exit status: 0 the change survived, 1 it is broken, 2 it could not be tried"""

# In the order in which they search; each stage is built when it begins.
_STAGES = [["random", "pct", "aimed", "exhaustive"], ["libfuzzer", "afl"]]
_NAMES = {"random": "random search", "pct": "PCT search", "aimed": "aimed search",
          "exhaustive": "exhaustive search", "libfuzzer": "libFuzzer", "afl": "AFL++", "bochs": "Bochs"}
_REPRODUCE = "fuzz/reproduce_bin"
_BOOTED = ("hal/x86_64/", "kernel-glue/kernel/")
_MINIMISE_SECONDS = 120
_SURVIVED, _BROKEN, _FAILED = 0, 1, 2


@dataclass(frozen=True)
class Options:
    """What the user asked for, checked."""

    patch: Path | None  # None for the uncommitted change
    files: list[str]
    engines: list[str]
    seconds: float
    seeds: int
    jobs: int
    keep: Path


def _count(text: str) -> int:
    number = int(text) if text.isdigit() else 0
    if not 0 < number < 2**31:
        raise argparse.ArgumentTypeError(f"'{text}' is not a positive number")
    return number


def _engines(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in _NAMES]:
        raise argparse.ArgumentTypeError(
            f"'{unknown[0]}' is no engine; there are {', '.join(_NAMES)}")
    return names


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(prog="try", description=__doc__, epilog=_EPILOG,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add = result.add_argument
    add("patch", nargs="?", metavar="PATCH", help=f"a unified diff of {', '.join(ROOMS)}")
    add("--diff", action="store_true", help="try the work tree's uncommitted change instead")
    add("--seconds", type=_count, default=10, metavar="N",
        help="how long each engine searches from each seed; default %(default)s")
    add("--seeds", type=_count, default=2, metavar="N",
        help="how many seeds; default %(default)s")
    add("--engines", type=_engines, metavar="NAME,...",
        help=f"of {', '.join(_NAMES)}; default: all that run what is changed")
    add("--jobs", type=_count, default=os.cpu_count() or 1, metavar="N",
        help="searches side by side; default: one for each core")
    add("--keep", metavar="DIR",
        help="where scenario, story and reproducer go if it breaks; default out/try/TIME")
    return result


def _options(argv: list[str]) -> Options:
    args = parser().parse_args(argv)
    if (args.patch is None) != args.diff:
        raise AsideError("name a patch, or --diff for the uncommitted change; not both. "
                         "--help tells more.")
    patch = None if args.diff else user_path(args.patch)
    if patch is not None and not patch.is_file():
        raise AsideError(f"{shown(patch)}: no such file. Paths are relative to {user_path('.')}.")
    files = changed_files(workspace_directory()) if patch is None else \
        patched_files(patch.read_text(errors="replace"))
    if not files:
        raise AsideError(f"nothing is changed in {', '.join(ROOMS)}." if patch is None else
                         f"{shown(patch)} is no unified diff; make one with git diff.")
    if foreign := [file for file in files if not file.startswith(ROOMS)]:
        raise AsideError(f"it changes {foreign[0]}, but what can be tried is {', '.join(ROOMS)}")
    keep = user_path(args.keep) if args.keep else \
        workspace_directory() / "out/try" / time.strftime("%Y%m%d-%H%M%S")
    return Options(patch, files, args.engines or _suitable(files), args.seconds, args.seeds,
                   args.jobs, keep)


def _suitable(files: list[str]) -> list[str]:
    """The engines that run at least one of the files."""
    booted = [file for file in files if file.startswith(_BOOTED)]
    searched = [] if len(booted) == len(files) else list(trial.ENGINES)
    return searched + (["bochs"] if booted else [])


class Try:
    """One change on its way to a verdict."""

    def __init__(self, options: Options, aside: Aside, scratch: Path):
        self._options = options
        self._aside = aside
        self._scratch = scratch
        self._line = StatusLine()
        self._effort: list[str] = []

    def run(self) -> int:
        """Returns the exit status."""
        self._announce()
        if self._options.patch is not None:
            self._aside.apply(self._options.patch)
        for engines in _STAGES:
            if wanted := [name for name in engines if name in self._options.engines]:
                if (found := self._search(wanted)) is not None:
                    return self._broken(found)
        if "bochs" in self._options.engines and not self._boots():
            return _BROKEN
        self._survived()
        return _SURVIVED

    def _announce(self) -> None:
        options = self._options
        what = "the uncommitted change" if options.patch is None else shown(options.patch)
        names = ", ".join(_NAMES[name] for name in options.engines)
        searches = len(options.engines) * options.seeds
        self._line.say(f"Trying {what} ({', '.join(options.files)}) with {names}.\n"
                       f"{searches} searches of at most {options.seconds} s, {options.jobs} at a time: about "
                       f"{searches * options.seconds / options.jobs:.0f} s, and the time to build. "
                       "Ctrl-C ends it.")
        judges = [file for file in options.files if file.startswith("fuzz/")]
        if judges:
            self._line.say(f"Note: it changes {judges[0]}, a part of what judges. A report, or "
                           "silence, may be its doing.")

    def _build(self, labels: list[str], what: str) -> None:
        began = time.monotonic()
        self._aside.build(labels, lambda state: self._line.show(
            f"building {what}: {state}, {time.monotonic() - began:.0f} s"))
        self._line.say(f"Built {what} in {time.monotonic() - began:.0f} s.")

    def _search(self, engines: list[str]) -> trial.Trial | None:
        """The first find of a stage, or None."""
        programs = {name: "fuzz/" + trial.CLEAN_PROGRAMS[trial.PARTS[name]] for name in engines}
        labels = list(dict.fromkeys([*programs.values(), _REPRODUCE]))
        names = " and ".join(_NAMES[name] for name in engines)
        self._build(["//" + label.replace("/", ":") for label in labels], f"the {names}")
        options = self._options
        plans = [trial.Plan(name, seed, self._aside.program(programs[name]), options.seconds)
                 for seed in range(1, options.seeds + 1) for name in engines
                 if seed == 1 or name not in trial.SEEDLESS]
        done = trial.run(plans, self._scratch / engines[0], options.jobs,
                         each=lambda outcome: outcome.title is None and outcome.failure is None,
                         tick=lambda done, left: self._line.show(
                             f"{names}: {len(done)} of {len(plans)} searches done, nothing found, "
                             f"at most {left:.0f} s to go"))
        for outcome in done:
            if outcome.failure:
                raise AsideError(f"{_NAMES[outcome.plan.engine]} stopped: {outcome.failure}")
            if outcome.title is not None:
                return outcome
        for name in engines:
            mine = [outcome for outcome in done if outcome.plan.engine == name]
            effort = "all proofs" if name in trial.SEEDLESS else f"{len(mine)} seed{'s' * (len(mine) != 1)}"
            self._effort.append(
                f"  {_NAMES[name]:<18} {effort}, "
                f"{sum(outcome.seconds for outcome in mine):.0f} s, "
                f"about {sum(outcome.executions for outcome in mine):,} scenarios")
        return None

    def _broken(self, found: trial.Trial) -> int:
        options = self._options
        self._line.say(f"\nBROKEN: {found.title}\n"
                       f"{_NAMES[found.plan.engine]}, seed {found.plan.seed}, after "
                       f"{found.executions:,} scenarios and {found.seconds:.1f} s.")
        options.keep.mkdir(parents=True, exist_ok=True)
        if found.plan.engine in trial.SEEDLESS:
            story = found.crash.decode(errors="replace")
            (options.keep / "story.txt").write_text(story)
            self._line.say(f"A proof fails:\n\n{story}\nIt is in {shown(options.keep / 'story.txt')}, too.")
            return _BROKEN
        crash, scenario = options.keep / "crash.bin", options.keep / "scenario.txt"
        crash.write_bytes(marked(found.crash))
        program = options.keep / "reproduce"
        shutil.copy(self._aside.program(_REPRODUCE), program)
        story = self._story(program, crash, scenario)
        if story is None:
            self._line.say(f"The input is in {shown(crash)}. The reproducer has no story of it: "
                           "replay it with the engine's program.")
            return _BROKEN
        (options.keep / "story.txt").write_text(story)
        self._line.say(f"The smallest scenario found that shows it:\n\n{story}\n"
                       f"All of this is in {shown(options.keep)}. To see it again:\n"
                       f"  {shown(program)} {shown(scenario)}")
        return _BROKEN

    def _story(self, program: Path, crash: Path, scenario: Path) -> str | None:
        self._line.show("making the scenario smaller")
        try:
            run = subprocess.run([program, "--minimise", crash, "-o", scenario], text=True,
                                 stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False,
                                 timeout=_MINIMISE_SECONDS)
        except subprocess.TimeoutExpired:
            return None
        self._line.clear()
        return run.stdout if run.returncode == 1 else None

    def _boots(self) -> bool:
        """Whether the test kernel passes its self-tests; tells if not."""
        self._build(["//kernel-glue:bochs"], "the test kernel")
        began = time.monotonic()
        program = self._aside.program("kernel-glue/bochs")
        run = subprocess.run([program, "--cpus", "4"], text=True, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, check=False)
        if run.returncode == 0:
            self._effort.append(f"  {'Bochs':<18} one boot with 4 CPUs, {time.monotonic() - began:.0f} s")
            return True
        if run.returncode != 1:
            raise AsideError(f"the test kernel cannot be run:\n{run.stdout[-2000:]}")
        failed = [line for line in run.stdout.splitlines() if line.startswith("not ok")]
        self._line.say("\nBROKEN: the test kernel fails in Bochs\n"
                       + "\n".join(failed or run.stdout.splitlines()[-30:]))
        return False

    def _survived(self) -> None:
        self._line.say("\nSURVIVED: nothing was reported.\n" + "\n".join(self._effort) + "\n"
                       "That is no proof: docs/museum.md tells how long real bugs take to show. "
                       "--seconds and --seeds search longer.")


def _interrupt(*_) -> None:
    raise KeyboardInterrupt


def main(argv: list[str]) -> int:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    scratch = None
    try:
        options = _options(argv)
        if "afl" in options.engines and shutil.which("afl-fuzz") is None:
            raise AsideError("afl-fuzz is not installed; run tools/setup, or leave it out with "
                             "--engines random,libfuzzer.")
        adopt_orphans()
        scratch = Path(tempfile.mkdtemp(prefix="shootdown-try-"))
        with Aside(workspace_directory(), scratch) as aside:
            return Try(options, aside, scratch).run()
    except AsideError as error:
        print(f"try: {error}", file=sys.stderr)
        return _FAILED
    except KeyboardInterrupt:
        print("\ntry: stopped before there was a verdict", file=sys.stderr)
        return _FAILED
    finally:
        kill_descendants()
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
