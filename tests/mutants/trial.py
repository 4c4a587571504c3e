"""Trials: one engine, one seed, an empty corpus, and a time limit. What did it find, and how fast?

Several run side by side, each in a folder of its own.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from fuzz.campaign.afl import Afl
from fuzz.campaign.crashes import Title
from fuzz.campaign.engine import Engine, Find, Settings
from fuzz.campaign.exhaustive import Exhaustive, Proofs
from fuzz.campaign.libfuzzer import LibFuzzer
from fuzz.campaign.random_search import ChainSearch, PctSearch, RandomSearch, WindowSearch

ENGINES: dict[str, type[Engine]] = {
    "random": RandomSearch, "pct": PctSearch, "aimed": WindowSearch, "chains": ChainSearch,
    "exhaustive": Exhaustive, "libfuzzer": LibFuzzer, "afl": Afl}
# One trial says all.
SEEDLESS = {"chains", "exhaustive"}
# What each runs: the program of a mutant is called NAME_PART, the clean one as given here.
PARTS = {"random": "search", "pct": "search", "aimed": "search", "chains": "search", "exhaustive": "explore",
         "libfuzzer": "libfuzzer", "afl": "afl"}
CLEAN_PROGRAMS = {"search": "search_bin", "explore": "explore_bin", "libfuzzer": "shootdown_libfuzzer",
                  "afl": "shootdown_afl"}
_MAX_LEN = 776
_POLL_SECONDS = 0.02
_GRACE_SECONDS = 5.0


@dataclass(frozen=True)
class Plan:
    """A trial that is to be made."""

    engine: str
    seed: int
    program: Path
    seconds: float
    label: str = ""  # whose trial it is, where there are several
    focuses: tuple[str, ...] = ()  # where half of a random search looks; none: everywhere


@dataclass(frozen=True)
class Trial:
    """A trial that was made."""

    plan: Plan
    seconds: float
    executions: int
    title: Title | None  # what was found, or None
    crash: bytes = b""  # the input that shows it
    failure: str | None = None  # why the engine could not work
    exact: bool = True  # False: `executions` is an estimate
    proofs: Proofs | None = None  # of the exhaustive search
    limits: dict[str, int] = field(default_factory=dict)  # of the model: in how many executions each was reached

    @property
    def tried(self) -> bool:
        """Whether anything was looked at: silence says nothing otherwise."""
        return self.executions > 0


class _Running:
    """A trial under way."""

    def __init__(self, plan: Plan, folder: Path):
        corpus = folder / "corpus"
        corpus.mkdir(parents=True)
        settings = Settings(seed=plan.seed, max_len=_MAX_LEN, executions=None, stop_on_first=True,
                            dictionary=None, corpus=corpus, focuses=plan.focuses)
        self.plan = plan
        self.engine: Engine = ENGINES[plan.engine](plan.program, folder / "engine", 0, settings)
        self._began = time.monotonic()
        self._stopping: float | None = None
        self.engine.start()

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._began

    def poll(self) -> Trial | None:
        """The outcome, once there is one."""
        # Before its last words are read: they hold the count.
        ended = self._stopping is not None and not self.engine.running()
        if finds := self.engine.poll():
            return self._found(finds[0])
        if self.engine.failure:
            return self._ended(failure=self.engine.failure)
        if self.engine.finished or ended:
            return self._ended()
        if self._stopping is None and self.elapsed >= self.plan.seconds:
            self.stop()
        elif self._stopping and time.monotonic() > self._stopping + _GRACE_SECONDS:
            return self._ended()
        return None

    def stop(self) -> None:
        self._stopping = time.monotonic()
        self.engine.interrupt()

    def _found(self, find: Find) -> Trial:
        seconds = self.elapsed
        self.engine.interrupt()
        title = self.engine.title_of(find)
        progress = self.engine.progress
        exact = find.executions is not None
        return Trial(self.plan, seconds, find.executions if exact else progress.executions, title,
                     find.path.read_bytes(), exact=exact or progress.exact)

    def _ended(self, failure: str | None = None) -> Trial:
        progress = self.engine.progress
        return Trial(self.plan, min(self.elapsed, self.plan.seconds), progress.executions, None,
                     failure=failure, exact=progress.exact,
                     proofs=getattr(self.engine, "proofs", None), limits=dict(progress.limits))


def run(plans: Iterable[Plan], folder: Path, jobs: int, each: Callable[[Trial], bool],
        tick: Callable[[list[Trial], float], None] = lambda done, waiting: None) -> list[Trial]:
    """Makes trials, `jobs` at a time, in the order of the plans.

    `each` is told every outcome and says whether to go on; if not, the rest is stopped and left out.
    `tick` is told all outcomes so far, and how many seconds the rest can take at most. The caller
    kills what an engine leaves behind, at its own end (fuzz/campaign/process.py).
    """
    waiting, running, done = list(plans), [], []
    number = 0
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                running.append(_Running(waiting.pop(0), folder / f"trial-{number}"))
                number += 1
            for one in list(running):
                outcome = one.poll()
                if outcome is None:
                    continue
                one.engine.interrupt()
                one.engine.close()
                running.remove(one)
                done.append(outcome)
                if not each(outcome):
                    return done
            left = sum(plan.seconds for plan in waiting) \
                + sum(max(one.plan.seconds - one.elapsed, 0.0) for one in running)
            tick(done, left / jobs)
            time.sleep(_POLL_SECONDS)
        return done
    finally:
        for one in running:
            one.stop()
        deadline = time.monotonic() + _GRACE_SECONDS
        while any(one.engine.running() for one in running) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        for one in running:
            one.engine.close()
