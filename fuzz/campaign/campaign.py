#!/usr/bin/python3
"""Runs a fuzz campaign: both engines, one status line, one folder of crash files."""

import hashlib
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

from fuzz.campaign import ending, leftovers, options as command_line, report, showing
from fuzz.campaign.afl import Afl
from fuzz.campaign.crashes import CrashStore, Title
from fuzz.campaign.disk import copy_files, is_full, reason, write_whole
from fuzz.campaign.engine import Engine, Find, Settings, new_files
from fuzz.campaign.libfuzzer import LibFuzzer
from fuzz.campaign.options import Options, UsageError
from fuzz.campaign.paths import shown
from fuzz.campaign.process import LAST_WORDS, adopt_orphans, kill_descendants
from fuzz.campaign.random_search import RandomSearch
from fuzz.campaign.status import STATUS, StatusLine, status_record, status_texts, summary

_ENGINES: dict[str, type[Engine]] = {
    "libfuzzer": LibFuzzer, "afl": Afl, "random": RandomSearch}
_POLL_SECONDS = 0.2
_SHARE_SECONDS = 5.0
_GRACE_SECONDS = 10.0


class Campaign:
    """One campaign, from the start of its engines to its summary."""

    def __init__(self, options: Options, work: Path):
        self._stop_signals = 0
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        self._options = options
        self._work = work
        self._trouble: str | None = None  # what keeps the campaign from its work
        self._corpus = work / "corpus"
        self._corpus.mkdir()
        if options.corpus:
            copy_files(options.corpus, self._corpus)
        if not any(self._corpus.iterdir()):
            for seed in options.target.seed_files():
                write_whole(self._corpus / seed.name, seed.read_bytes())
        self._known_inputs = {path.name for path in self._corpus.iterdir()}
        # First, so that what is taken over is not lost with this campaign.
        leftovers.sign(work, options.target_name, options.programs)
        left = leftovers.take_over(work, options.target_name, options.programs)
        # Not known yet, so that they are kept as new ones are.
        taken = self._take_inputs(left)
        settings = Settings(options.seed, options.max_len, options.executions,
                            options.stop_on_first, options.dictionary, self._corpus,
                            options.target.scenarios)
        self._engines = [
            _ENGINES[name](options.programs[name], work / f"{name}-{index}", index, settings)
            for name in options.engines for index in range(options.jobs)
        ]
        self._store = CrashStore(options.crashes, work / "crashes", marks=options.target.scenarios)
        self._line = StatusLine()
        self._waiting: list[tuple[Engine, Find]] = self._finds_of(left)
        if self._waiting or taken:
            self._line.say(f"Taking over {len(self._waiting):,} crash files and {taken:,} inputs of a campaign that "
                           "was killed.")
        self._reported: list[Engine] = []  # failed, and the user knows
        self._elapsed = 0.0
        self._history = report.History()

    def _take_inputs(self, folders: list[Path]) -> int:
        """Copies what killed campaigns had found into the corpus. Returns how many files there were."""
        count = 0
        for path in (path for folder in folders for path in leftovers.inputs(folder)):
            data = path.read_bytes()
            name = hashlib.sha1(data).hexdigest()
            if name not in self._known_inputs and path.name not in self._known_inputs:
                write_whole(self._corpus / name, data)
                count += 1
        return count

    def _finds_of(self, folders: list[Path]) -> list[tuple[Engine, Find]]:
        """Their crash files, for the engine of the same name or any."""
        kinds = dict(zip(self._options.engines, self._engines[::self._options.jobs]))
        return [(kinds.get(name, self._engines[0]), Find(path, None, None))
                for folder in folders for name, path in leftovers.crashes(folder)]

    @property
    def found(self) -> bool:
        """Whether anything has failed so far."""
        return self._store.total > 0

    @property
    def kept_aside(self) -> list[Path]:
        """Crash files below the work folder that are nowhere else."""
        return self._store.kept_aside

    def run(self) -> int:
        """Fuzzes until time, budget, first crash, a signal or trouble ends it. Returns the exit status."""
        self._announce()
        start = time.monotonic()
        try:
            for engine in self._engines:
                self._try(engine, engine.start)
            self._fuzz(start)
            self._stop()
        finally:
            for engine in self._engines:
                engine.close()
            kill_descendants()
            self._keep_unexamined()
        return self._conclude()

    def _try(self, engine: Engine, work) -> list[Find]:
        """Lets an engine do something. One that cannot has failed, and the others go on."""
        try:
            return work() or []
        except OSError as error:
            engine.failure = engine.failure or f"{engine.program} cannot run: {reason(error)}"
            return []

    def _on_signal(self, *_) -> None:
        self._stop_signals += 1

    def _announce(self) -> None:
        names = ", ".join(_ENGINES[name].name for name in self._options.engines)
        source = shown(self._options.corpus) if self._options.corpus else "our own"
        start = f"{len(self._known_inputs):,} inputs of {source}" if self._known_inputs else "an empty corpus"
        self._line.say(f"Fuzzing with {names} for {self._options.seconds:g} s from {start}, "
                       f"seed {self._options.seed}. Ctrl-C ends it early.")

    def _fuzz(self, start: float) -> None:
        next_share = start + _SHARE_SECONDS
        while True:
            self._poll()
            self._examine(limit_seconds=_POLL_SECONDS)
            elapsed = self._elapsed = time.monotonic() - start
            self._line.show(*status_texts(elapsed, self._options.seconds, self._engines, self._store))
            found = self._options.stop_on_first and self.found
            over = all(e.finished or e.failure for e in self._engines)
            if is_full(self._work):
                self._trouble = f"TMPDIR: {self._work.parent} is full. Set TMPDIR to another folder, or make room."
            if self._stop_signals or found or elapsed >= self._options.seconds or self._troubled() or (
                    over and not self._waiting):
                return
            if time.monotonic() >= next_share:
                next_share = time.monotonic() + _SHARE_SECONDS
                self._share()
                self._write_status(over=False)
            time.sleep(_POLL_SECONDS)

    def _troubled(self) -> str | None:
        """What keeps the campaign from its work, engines aside."""
        if self._store.trouble:
            return f"--crashes: {self._store.trouble}"
        return self._trouble

    def _poll(self) -> None:
        for engine in self._engines:
            self._waiting += [(engine, find) for find in self._try(engine, engine.poll)]
            if engine.failure and engine not in self._reported:
                self._reported.append(engine)
                self._line.say(f"{engine.name} stopped: {engine.failure}")

    def _examine(self, limit_seconds: float | None) -> None:
        """Replays waiting crash files, which gives them their titles."""
        signals_before = self._stop_signals
        deadline = None if limit_seconds is None else time.monotonic() + limit_seconds
        while self._waiting and (deadline is None or time.monotonic() < deadline):
            engine, find = self._waiting[0]
            title = engine.title_of(find)
            new = title.key not in self._store.groups
            self._keep(engine, find, title)
            self._waiting.pop(0)
            if new:
                self._line.say(f"Found: {title}")
            if deadline is None and self._stop_signals > signals_before:
                return

    def _keep(self, engine: Engine, find: Find, title: Title) -> None:
        self._store.add(
            find.path, title, engine.name, find.executions,
            lambda file: showing.command(engine.program, engine.again(find, file), file, title,
                                         self._options.reproduce),
            lambda file: showing.story(engine.program, file, title) if self._options.target.scenarios else None)

    def _keep_unexamined(self) -> None:
        """Keeps what the campaign had no time to replay."""
        for engine, find in self._waiting:
            heard = f"not replayed: {find.title}" if find.title else "not replayed"
            self._keep(engine, find, Title("UNKNOWN", heard))
        self._waiting = []

    def _share(self) -> None:
        """Makes the engines' inputs known to each other, and to the next campaign."""
        try:
            for engine in self._engines:
                engine.share()
        except OSError as error:
            self._trouble = self._trouble or f"TMPDIR: {reason(error)}"
        if self._options.corpus is None or self._troubled():
            return
        for path in new_files(self._corpus, self._known_inputs):
            try:
                data = path.read_bytes()
            except FileNotFoundError:  # libFuzzer found a smaller one for the same purpose.
                continue
            try:
                write_whole(self._options.corpus / path.name, data)
            except OSError as error:
                self._trouble = f"--corpus: {reason(error)}"
                return

    def _stop(self) -> None:
        self._line.say("Stopping the engines.")
        signals_before = self._stop_signals
        for engine in self._engines:
            engine.interrupt()
        deadline = time.monotonic() + _GRACE_SECONDS
        while any(e.running() for e in self._engines) and time.monotonic() < deadline:
            self._poll()
            # A second Ctrl-C means now.
            if self._stop_signals > signals_before:
                break
            time.sleep(0.05)
        kill_descendants()
        self._poll()
        self._share()
        if len(self._waiting) > 20:
            self._line.say(f"Replaying {len(self._waiting)} more crash files for their titles.")
        self._examine(limit_seconds=None)

    def _write_status(self, over: bool) -> None:
        """What the summary says, for programs: beside the crash files, and where --status wants it."""
        self._history.add(self._elapsed, self._engines, self._store)
        told = status_record(self._elapsed, self._options.seconds, self._engines, self._store, over,
                             self._elapsed - self._history.new_at)
        beside = self._options.crashes / STATUS if self._options.crashes.is_dir() and self.found else None
        for file in {beside, self._options.status} - {None}:
            try:
                write_whole(file, (json.dumps(told, indent=1) + "\n").encode())
            except OSError as error:
                self._trouble = self._trouble or f"{STATUS}: {reason(error)}"
        folder = self._options.report or (beside and beside.parent)
        if over and folder:
            self._write_report(folder, told)

    def _write_report(self, folder: Path, told: dict) -> None:
        """The page, with a timeline for each kind of failure that has a story."""
        programs = {engine.name: engine.program for engine in self._engines}
        reproducers = {str(crash.story.file): showing.reproducer_of(programs[crash.engine])
                       for group in self._store.groups.values() for crash in group.stories}
        try:
            page = report.write(folder, told, self._history, reproducers)
            self._line.say(f"A page about all this: {shown(page)}")
        except OSError as error:
            self._trouble = self._trouble or f"{report.REPORT}: {reason(error)}"

    def _conclude(self) -> int:
        if not (self.found and self._options.stop_on_first):
            for engine in self._engines:
                engine.settle()
        # The first line of a failure says all; the last words that follow it are above.
        problems = [f"{engine.name}: {engine.failure.splitlines()[0].removesuffix(LAST_WORDS)}"
                    for engine in self._engines if engine.failure]
        if trouble := self._troubled():
            problems.insert(0, trouble)
        self._line.say(summary(self._engines, self._store, whole=not problems))
        self._write_status(over=True)
        if self._options.corpus:
            print(f"The corpus is in {shown(self._options.corpus)}.")
        for path in self.kept_aside:
            print(f"Not copied, kept here: {path}")
        sys.stdout.flush()
        if problems:
            print(f"campaign: could not do all its work: {'; '.join(problems)}", file=sys.stderr)
        return 1 if self.found else 2 if problems else 0


def _clear(work: Path, kept: list[Path]) -> None:
    """Removes the work folder, but for crash files that have no other place."""
    for folder, _, names in os.walk(work, topdown=False):
        for name in names:
            path = Path(folder, name)
            if path not in kept:
                path.unlink(missing_ok=True)
        if not any(path.is_relative_to(folder) for path in kept):
            shutil.rmtree(folder, ignore_errors=True)


def _run(options: Options, work: Path) -> int:
    campaign = None
    try:
        campaign = Campaign(options, work)
        return campaign.run()
    except OSError as error:
        # If it is the output that fails, Python must not try to write the rest when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            print(f"campaign: {reason(error)}", file=sys.stderr)
        return 1 if campaign and campaign.found else 2
    finally:
        _clear(work, campaign.kept_aside if campaign else [])


def main(argv: list[str]) -> int:
    try:
        options = command_line.parse(argv)
        work = command_line.make_work_folder()
    except UsageError as error:
        print(f"campaign: {error}", file=sys.stderr)
        return 2
    adopt_orphans()
    return _run(options, work)


if __name__ == "__main__":
    ending.run("campaign", main)
