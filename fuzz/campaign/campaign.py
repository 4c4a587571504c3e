#!/usr/bin/python3
"""Runs a fuzz campaign: both engines, one status line, one folder of crash files."""

import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from fuzz.campaign import options as command_line
from fuzz.campaign.afl import Afl
from fuzz.campaign.crashes import CrashStore
from fuzz.campaign.engine import Engine, Find, Settings, copy_files, new_files
from fuzz.campaign.libfuzzer import LibFuzzer
from fuzz.campaign.options import Options, UsageError
from fuzz.campaign.paths import shown
from fuzz.campaign.process import adopt_orphans, kill_descendants
from fuzz.campaign.random_search import RandomSearch
from fuzz.campaign.status import StatusLine, status_text, summary

_ENGINES: dict[str, type[Engine]] = {
    "libfuzzer": LibFuzzer, "afl": Afl, "random": RandomSearch}
_POLL_SECONDS = 0.2
_SHARE_SECONDS = 5.0
_GRACE_SECONDS = 10.0


class Campaign:
    """One campaign, from the start of its engines to its summary."""

    def __init__(self, options: Options, work: Path):
        self._options = options
        self._corpus = work / "corpus"
        self._corpus.mkdir()
        if options.corpus:
            copy_files(options.corpus, self._corpus)
        self._known_inputs = {path.name for path in self._corpus.iterdir()}
        settings = Settings(options.seed, options.max_len, options.executions,
                            options.stop_on_first, options.dictionary, self._corpus)
        self._engines = [
            _ENGINES[name](options.programs[name], work / f"{name}-{index}", index, settings)
            for name in options.engines for index in range(options.jobs)
        ]
        self._store = CrashStore(options.crashes)
        self._line = StatusLine()
        self._stop_signals = 0
        self._waiting: list[tuple[Engine, Find]] = []

    def run(self) -> int:
        """Fuzzes until time, budget, first crash or a signal ends it. Returns the exit status."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        self._announce()
        start = time.monotonic()
        for engine in self._engines:
            engine.start()
        try:
            self._fuzz(start)
            self._stop()
        finally:
            for engine in self._engines:
                engine.close()
            kill_descendants()
        return self._conclude()

    def _on_signal(self, *_) -> None:
        self._stop_signals += 1

    def _announce(self) -> None:
        names = ", ".join(_ENGINES[name].name for name in self._options.engines)
        start = f"{len(self._known_inputs):,} inputs of {shown(self._options.corpus)}" \
            if self._known_inputs else "an empty corpus"
        self._line.say(f"Fuzzing with {names} for {self._options.seconds:g} s from {start}, "
                       f"seed {self._options.seed}. Ctrl-C ends it early.")

    def _fuzz(self, start: float) -> None:
        next_share = start + _SHARE_SECONDS
        while True:
            self._poll()
            self._examine(limit_seconds=_POLL_SECONDS)
            elapsed = time.monotonic() - start
            self._line.show(status_text(elapsed, self._options.seconds, self._engines, self._store))
            found = self._options.stop_on_first and self._store.total
            over = all(e.finished or e.failure for e in self._engines)
            if self._stop_signals or found or elapsed >= self._options.seconds or (
                    over and not self._waiting):
                return
            if time.monotonic() >= next_share:
                next_share = time.monotonic() + _SHARE_SECONDS
                self._share()
            time.sleep(_POLL_SECONDS)

    def _poll(self) -> None:
        for engine in self._engines:
            failed_before = engine.failure
            self._waiting += [(engine, find) for find in engine.poll()]
            if engine.failure and not failed_before:
                self._line.say(f"{engine.name} stopped: {engine.failure}")

    def _examine(self, limit_seconds: float | None) -> None:
        """Replays waiting crash files, which gives them their titles."""
        deadline = None if limit_seconds is None else time.monotonic() + limit_seconds
        while self._waiting and (deadline is None or time.monotonic() < deadline):
            engine, find = self._waiting.pop(0)
            title = engine.title_of(find)
            new = title.key not in self._store.groups
            self._store.add(find.path, title, engine.name, find.executions)
            if new:
                self._line.say(f"Found: {title}")

    def _share(self) -> None:
        """Makes the engines' inputs known to each other, and to the next campaign."""
        for engine in self._engines:
            engine.share()
        if self._options.corpus is None:
            return
        for path in new_files(self._corpus, self._known_inputs):
            try:
                shutil.copyfile(path, self._options.corpus / path.name)
            except FileNotFoundError:  # libFuzzer found a smaller one for the same purpose.
                continue

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

    def _conclude(self) -> int:
        self._line.say(summary(self._engines, self._store, self._options.reproduce))
        if self._options.corpus:
            print(f"The corpus is in {shown(self._options.corpus)}.")
        if self._store.total:
            return 1
        broken = [engine for engine in self._engines if engine.failure]
        if broken:
            print("campaign: not every engine ran, see above", file=sys.stderr)
        return 2 if broken else 0


def main(argv: list[str]) -> int:
    try:
        options = command_line.parse(argv)
    except UsageError as error:
        print(f"campaign: {error}", file=sys.stderr)
        return 2
    adopt_orphans()
    work = Path(tempfile.mkdtemp(prefix="shootdown-campaign-"))
    try:
        return Campaign(options, work).run()
    except BrokenPipeError:
        # Nobody listens any more. Python must not try to write the rest when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 2
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
