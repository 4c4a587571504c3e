#!/usr/bin/python3
"""Tries a change: builds it aside, lets every engine look for a scenario that breaks it, and tells.

The work tree stays as it is.
"""

import argparse
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from fuzz.campaign.crashes import marked
from fuzz.campaign.paths import shown, user_path, workspace_directory
from fuzz.campaign.process import adopt_orphans, kill_descendants
from fuzz.campaign.status import StatusLine
from tests.mutants import survey, trial
from tests.mutants.aside import ROOMS, Aside, AsideError, changed_files, is_compiled, patched_files

_EPILOG = """\
examples:
  bazel run //tests/mutants:try -- tests/mutants/m42_partial_with_gap.patch
  bazel run //tests/mutants:try -- --diff --seconds 60 --seeds 5

A survey comes first: in each configuration that has a name (fuzz/scenario/focus.cc) runs of the changed
core are compared with those of the clean one, and the lines that are changed are counted as they run. The
random searches spend half of their time in the configurations in which most runs differ and the changed
lines run most often, and half everywhere. The search over chains takes all short rows of operations on one
region, as far as time goes, and the exhaustive search the proofs of fuzz/proofs; the verdict tells how far
they came. The guided engines, each from an empty corpus, are tried if they are named. The first report ends
the search. Paths are relative to where you stand.
exit status: 0 the change survived what was tried, 1 it is broken, 2 it could not be tried: also if the
changed lines never ran, if an engine has made no execution, if nothing that is compiled is changed, or if
the core without the change shows what was found, too"""

# In the order in which they search; each stage is built when it begins.
_STAGES = [["aimed", "chains", "random", "exhaustive", "pct"], ["libfuzzer", "afl"]]
_USUAL = ("aimed", "chains", "random", "exhaustive")
_NAMES = {"random": "random search", "pct": "PCT search", "aimed": "aimed search", "chains": "search of chains",
          "exhaustive": "exhaustive search", "libfuzzer": "libFuzzer", "afl": "AFL++", "bochs": "Bochs"}
_REPRODUCE = "fuzz/reproduce_bin"
_SURVEY = "survey"  # the label of a find of the comparisons
_SEARCH = Path(__file__).absolute().parents[2] / "fuzz/search_bin"
_BOOTED = ("hal/x86_64/", "kernel-glue/kernel/")
_MINIMISE_SECONDS = 120
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_REPLAY_SECONDS = 30
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
    clean: Path | None  # the search with the clean core; None: it is to be built


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


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise AsideError(f"{message}; --help tells more")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = _Parser(prog="try", description=__doc__, epilog=_EPILOG,
                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add = result.add_argument
    add("patch", nargs="?", metavar="PATCH", help=f"a unified diff of {', '.join(ROOMS)}")
    add("--diff", action="store_true", help="try the work tree's uncommitted change instead")
    add("--seconds", type=_count, default=20, metavar="N",
        help="how long each engine searches from each seed; default %(default)s")
    add("--seeds", type=_count, default=2, metavar="N",
        help="how many seeds; default %(default)s")
    add("--engines", type=_engines, metavar="NAME,...",
        help=f"of {', '.join(_NAMES)}; default: of {', '.join(_USUAL)} and bochs those that run what is changed")
    add("--jobs", type=_count, default=os.cpu_count() or 1, metavar="N",
        help="searches side by side; default: one for each core")
    add("--compare-with", metavar="PROGRAM",
        help="the random search with the clean core; default: that of the work tree")
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
    # What is built with this tool has the work tree's core, and so the uncommitted change.
    clean = user_path(args.compare_with) if args.compare_with else None if patch is None else _SEARCH
    return Options(patch, files, args.engines or _suitable(files), args.seconds, args.seeds, args.jobs, keep, clean)


def _suitable(files: list[str]) -> list[str]:
    """The engines that run at least one of the files."""
    booted = [file for file in files if file.startswith(_BOOTED)]
    searched = [] if len(booted) == len(files) else list(_USUAL)
    return searched + (["bochs"] if booted else [])


def _labels(engines: list[str]) -> list[str]:
    """What is built for the engines."""
    programs = ["fuzz/" + trial.CLEAN_PROGRAMS[trial.PARTS[name]] for name in engines if name != "bochs"]
    labels = ["//" + path.replace("/", ":") for path in programs + [_REPRODUCE] * bool(programs)]
    return list(dict.fromkeys(labels)) + ["//kernel-glue:bochs"] * ("bochs" in engines)


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + "s" * (count != 1)


class Try:
    """One change on its way to a verdict."""

    def __init__(self, options: Options, aside: Aside, scratch: Path):
        self._options = options
        self._aside = aside
        self._scratch = scratch
        self._line = StatusLine()
        self._effort: list[str] = []
        self._changed: list[str] = []  # files in which a compiler reads something else
        self._lines: dict[str, list[int]] = {}  # the changed ones of each of these
        self._survey = survey.Survey()
        self._clean = options.clean
        os.environ["LLVM_PROFILE_FILE"] = str(scratch / "profiles/%m.profraw")

    def run(self) -> int:
        """Returns the exit status."""
        options = self._options
        if options.patch is not None:
            self._aside.apply(options.patch)
        self._before = self._aside.of_commit if options.patch is None else self._aside.of_workspace
        self._changed = self._aside.compiled(options.files, self._before)
        if not self._is_compiled(self._changed):
            return _SURVIVED
        self._announce()
        for engines in _STAGES:
            if wanted := [name for name in engines if name in self._options.engines]:
                if (found := self._search(wanted)) is not None:
                    return self._broken(found)
        if "bochs" in self._options.engines and not self._boots():
            return _BROKEN
        return self._survived()

    def _is_compiled(self, changed: list[str]) -> bool:
        """False, after telling, if only comments are changed. Raises if no program is made of what is."""
        options = self._options
        if not changed:
            if not any(is_compiled(name) for name in options.files):
                raise AsideError(f"it changes nothing that is compiled: {', '.join(options.files)}")
            self._line.say(f"SURVIVED: nothing is changed but comments and blank space, in {', '.join(options.files)}. "
                           "What is compiled is what was compiled before, so nothing was searched.")
            return False
        self._line.show("asking which programs are made of what is changed")
        used = self._aside.used(_labels(options.engines), changed)
        if not used:
            raise AsideError(f"no program of {', '.join(_NAMES[name] for name in options.engines)} is made of what it "
                             f"changes: {', '.join(changed)}")
        if unused := [name for name in options.files if name not in used]:
            self._line.say(f"Note: what it changes in {', '.join(unused)} is in no program that is run here.")
        return True

    def _plans(self, engines: list[str]) -> list[trial.Plan]:
        options = self._options
        return [trial.Plan(name, seed, self._aside.program("fuzz/" + trial.CLEAN_PROGRAMS[trial.PARTS[name]]),
                           options.seconds, focuses=tuple(self._survey.focuses()))
                for seed in range(1, options.seeds + 1) for name in engines
                if name != "bochs" and (seed == 1 or name not in trial.SEEDLESS)]

    def _announce(self) -> None:
        options = self._options
        what = "the uncommitted change" if options.patch is None else shown(options.patch)
        names = ", ".join(_NAMES[name] for name in options.engines)
        searches = len(self._plans(options.engines))
        boot = ["one boot"] * ("bochs" in options.engines)
        plan = [f"{searches} search{'es' * (searches != 1)} of at most {options.seconds} s, "
                f"{options.jobs} at a time: about {searches * options.seconds / options.jobs:.0f} s"] * (searches > 0)
        self._line.say(f"Trying {what} ({', '.join(options.files)}) with {names}.\n"
                       f"{' and '.join(plan + boot)}, and the time to build. Ctrl-C ends it.")
        judges = [file for file in options.files if file.startswith("fuzz/")]
        if judges:
            self._line.say(f"Note: it changes {judges[0]}, a part of what judges. A report, or "
                           "silence, may be its doing.")

    def _build(self, labels: list[str], what: str, counted: list[str] | None = None) -> None:
        began = time.monotonic()
        self._aside.build(labels, lambda state: self._line.show(
            f"building {what}: {state}, {time.monotonic() - began:.0f} s"), counted)
        self._line.say(f"Built {what} in {time.monotonic() - began:.0f} s.")

    def _search(self, engines: list[str]) -> trial.Trial | None:
        """The first find of a stage, or None."""
        names = " and ".join(_NAMES[name] for name in engines)
        searches = any(trial.PARTS[name] == "search" for name in engines)
        if searches and self._clean is None:
            self._build_clean()
        self._build(_labels(engines), f"the {names}", self._changed if engines[0] in _STAGES[0] else None)
        self._lines = {name: survey.changed_lines(self._before(name), self._aside.text_of(name))
                       for name in self._changed}
        if searches and (found := self._look()) is not None:
            return found
        plans = self._plans(engines)
        done = trial.run(plans, self._scratch / engines[0], self._options.jobs,
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
            self._note_effort(name, [outcome for outcome in done if outcome.plan.engine == name])
        return None

    def _build_clean(self) -> None:
        """The search of the commit that the uncommitted change is against."""
        tried = {name: self._aside.text_of(name) for name in self._changed}
        for name in tried:
            self._aside.put(name, self._before(name))
        self._build(["//fuzz:search_bin"], "the search with the clean core", self._changed)
        self._clean = self._scratch / "clean_search"
        shutil.copy(self._aside.program("fuzz/search_bin"), self._clean)
        for name, text in tried.items():
            self._aside.put(name, text)

    def _look(self) -> trial.Trial | None:
        """The survey. What it finds already is a find as any other."""
        began = time.monotonic()
        program = self._aside.program("fuzz/search_bin")
        try:
            found = survey.look(program, self._clean, self._scratch / "survey", self._options.jobs,
                                10 * self._options.seconds, self._times,
                                lambda done, of: self._line.show(f"comparing with the clean core: {done} of {of} "
                                                                 "configurations"))
        except survey.SurveyError as error:
            raise AsideError(str(error)) from error
        self._survey = found
        seconds = time.monotonic() - began
        if found.found is not None:
            plan = trial.Plan("aimed", found.found.seed, program, seconds, _SURVEY, (found.found.focus,))
            return trial.Trial(plan, seconds, found.found.executions, found.found.title, found.found.crash)
        where = found.focuses()
        self._line.say(f"Of {found.runs:,} runs {found.different:,} differ from those of the clean core" +
                       (f", most with: {'; '.join(where)}." if where else "."))
        return None

    def _ran(self) -> survey.Ran | None:
        """How often the changed lines ran; None if it cannot be told."""
        try:
            return self._count(sorted(self._scratch.glob("*/*.profraw")))
        except survey.SurveyError as error:
            self._line.say(f"Note: it cannot be told how often the changed lines ran: {error}")
            return None

    def _count(self, profiles: list[Path]) -> survey.Ran | None:
        if not profiles:
            return None
        return survey.count(self._lines, survey.line_counts(self._aside.program("fuzz/search_bin"), profiles,
                                                            self._changed))

    def _times(self, profiles: list[Path]) -> survey.Ran | None:
        """How often the changed lines ran; None if it cannot be told, which is told in the end."""
        try:
            return self._count(profiles)
        except survey.SurveyError:
            return None

    def _note_effort(self, name: str, mine: list[trial.Trial]) -> None:
        """Raises AsideError if one of them has looked at nothing: its silence says nothing."""
        for outcome in mine:
            if outcome.tried:
                continue
            what = "explored no proof" if name in trial.SEEDLESS else \
                f"made no execution from seed {outcome.plan.seed}"
            raise AsideError(f"{_NAMES[name]} {what} in {outcome.seconds:.0f} s. Give it more time with --seconds, or "
                             "leave it out with --engines.")
        counts = " and ".join(("" if outcome.exact else "about ") + f"{outcome.executions:,}" for outcome in mine)
        done = str(mine[0].proofs or "no seeds") if name in trial.SEEDLESS else _number(len(mine), "seed")
        self._effort.append(f"  {_NAMES[name]:<18} {done}; {counts} executions, "
                            f"{sum(outcome.seconds for outcome in mine):.0f} s")
        total = sum(outcome.executions for outcome in mine)
        for limit in sorted({limit for outcome in mine for limit in outcome.limits}):
            reached = sum(outcome.limits.get(limit, 0) for outcome in mine)
            self._effort.append(f"    reached in {reached:,} of them ({100 * reached / total:.0f} %): {limit}")

    def _is_clean_cores(self, found: trial.Trial) -> bool:
        """Whether the core without the change shows it, too."""
        if self._clean is None or found.plan.engine in trial.SEEDLESS:
            return False
        file = self._scratch / "on_the_clean_core.bin"
        file.write_bytes(marked(found.crash))
        try:
            return subprocess.run([self._clean, "--replay", file], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                  check=False, timeout=_REPLAY_SECONDS).returncode == 1
        except subprocess.TimeoutExpired:
            return False

    def _broken(self, found: trial.Trial) -> int:
        options = self._options
        seedless = found.plan.engine in trial.SEEDLESS
        innocent = self._is_clean_cores(found)
        verdict = "BROKEN"
        if innocent:
            verdict = "NO VERDICT: the core without the change shows this, too, so mend that first"
        engine = _NAMES[found.plan.engine] + ("" if seedless else f", seed {found.plan.seed}")
        if found.plan.label == _SURVEY:
            engine = (f"survey (search --strategy aimed --focus {shlex.quote(found.plan.focuses[0])} "
                      f"--seed {found.plan.seed})")
        self._line.say(f"\n{verdict}: {found.title}\n{engine}, after "
                       f"{'' if found.exact else 'about '}{_number(found.executions, 'execution')} and "
                       f"{found.seconds:.1f} s.")
        # The verdict stands, even if a step from here on fails.
        try:
            options.keep.mkdir(parents=True, exist_ok=True)
            if found.plan.engine == "exhaustive":
                self._tell_proof(found.crash.decode(errors="replace"))
            else:
                self._tell(found)
        except OSError as error:
            self._line.say(f"What shows it cannot be kept in {shown(options.keep)}: {error.strerror or error}")
        except KeyboardInterrupt:
            self._line.say(f"Stopped while its story was being made. What there is of it is in {shown(options.keep)}.")
        return _FAILED if innocent else _BROKEN

    def _tell_proof(self, story: str) -> None:
        file = self._options.keep / "story.txt"
        self._line.say(f"A proof fails:\n\n{story}")
        file.write_text(story)
        self._line.say(f"It is in {shown(file)}, too.")

    def _tell(self, found: trial.Trial) -> None:
        folder = self._options.keep
        crash, scenario, program = folder / "crash.bin", folder / "scenario.txt", folder / "reproduce"
        crash.write_bytes(marked(found.crash))
        shutil.copy(self._aside.program(_REPRODUCE), program)
        self._line.show("making the scenario smaller")
        what, file = "The smallest scenario found that shows it", scenario
        story = self._story([program, "--minimise", crash, "-o", scenario], _MINIMISE_SECONDS)
        if story is None:
            what, file = "As it was found, because it could not be made smaller", crash
            story = self._story([program, crash], _REPLAY_SECONDS)
        if story is None:
            self._line.say(f"The input is in {shown(crash)}. The reproducer has no story of it: "
                           "replay it with the engine's program.")
            return
        (folder / "story.txt").write_text(story)
        other = "" if str(found.title) in story else \
            "Note: the engine has reported it by another title; the oracle that fires first may differ.\n"
        self._line.say(f"{what}:\n\n{story}\n{other}"
                       f"All of this is in {shown(folder)}. To see it again:\n"
                       f"  {shlex.quote(shown(program))} {shlex.quote(shown(file))}")

    def _story(self, argv: list, seconds: float) -> str | None:
        """What the reproducer tells of a failure; None if it has none, or takes too long."""
        try:
            run = subprocess.run(argv, text=True, errors="replace", stdout=subprocess.PIPE,
                                 stderr=subprocess.DEVNULL, check=False, timeout=seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            self._line.clear()
        return run.stdout if run.returncode == 1 else None

    def _boots(self) -> bool:
        """Whether the test kernel passes its self-tests; tells if not."""
        self._build(["//kernel-glue:bochs"], "the test kernel")
        began = time.monotonic()
        program = self._aside.program("kernel-glue/bochs")
        run = subprocess.run([program, "--cpus", "4"], text=True, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, check=False)
        passed = sum(line.startswith("ok ") and "# SKIP" not in line for line in run.stdout.splitlines())
        if run.returncode == 0 and passed > 0:
            self._effort.append(f"  {'Bochs':<18} one boot with 4 CPUs, {_number(passed, 'self-test')} passed, "
                                f"{time.monotonic() - began:.0f} s")
            return True
        if run.returncode != 1:
            raise AsideError(f"the test kernel cannot be run:\n{run.stdout[-2000:]}")
        failed = [line for line in run.stdout.splitlines() if line.startswith("not ok")]
        self._line.say("\nBROKEN: the test kernel fails in Bochs\n"
                       + "\n".join(failed or run.stdout.splitlines()[-30:]))
        return False

    def _survived(self) -> int:
        """Returns the exit status: what never ran has not survived."""
        differed = ""
        if self._survey.runs:
            ran = self._ran()
            if ran is not None and ran.most == 0:
                self._line.say("\nNEVER RAN: no changed line was executed, so there is no verdict.\n"
                               + "\n".join(self._effort) + f"\nThese lines: {', '.join(ran.never)}.")
                return _FAILED
            times = "an unknown number of times" if ran is None or ran.most is None else _number(ran.most, "time")
            differed = (f"The changed lines ran {times}, and differed from the clean core in "
                        f"{self._survey.different:,} of {self._survey.runs:,} runs.\n")
            if ran is not None and ran.never:
                differed += f"Of these lines some never ran: {', '.join(ran.never)}.\n"
        left_out = [_NAMES[name] for name in _NAMES if name not in self._options.engines]
        self._line.say("\nSURVIVED: nothing was reported.\n" + differed + "\n".join(self._effort) + "\n"
                       + (f"Not tried: {', '.join(left_out)}.\n" if left_out else "") +
                       "Of all but the proofs explored completely, that is no proof: docs/museum.md tells how long "
                       "real bugs take to show. --seconds and --seeds search longer.")
        return _SURVIVED


def _interrupt(*_) -> None:
    raise KeyboardInterrupt


def main(argv: list[str]) -> int:
    for number in _ENDING:
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
    except (AsideError, OSError) as error:
        # A copy that fails has a list of errors, each with what it copied.
        first = error.args[0][0][2] if isinstance(error, shutil.Error) else error
        print(f"try: {first}", file=sys.stderr)
        return _FAILED
    except KeyboardInterrupt:
        print("\ntry: stopped before there was a verdict", file=sys.stderr)
        return _FAILED
    finally:
        # Another signal must not cut the clean-up short.
        for number in _ENDING:
            signal.signal(number, signal.SIG_IGN)
        kill_descendants()
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
