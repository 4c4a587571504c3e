"""The random search as an engine: no feedback and no corpus, but many executions a second.

The honest baseline: an engine that is guided should find what this finds.
"""

import re
import time
from pathlib import Path

from fuzz.campaign.crashes import Title
from fuzz.campaign.engine import Engine, Find
from fuzz.campaign.process import EngineProcess

_FOUND = re.compile(r"^found (\S+) (.*) after (\d+) executions$", re.MULTILINE)
_CLEAN = re.compile(r"^clean after (\d+) executions", re.MULTILINE)
_STOPPED = re.compile(r"^stopped after (\d+) executions", re.MULTILINE)
# The program prints its count at its end, so it runs in slices, of two seconds or so at most. The first
# ones are short: a campaign that ends early has made some executions, and knows how many.
_FIRST_SLICE = 1_000
_SLICE = 50_000
# With focuses each second slice has one of them, in turns, so that each has its share soon.
_FOCUSED_SLICE = 5_000
# Of the chains so many families are run without a preemption first.
_BROAD = 200_000
# What a slice says of limits of the model.
_REACHED = re.compile(r"^reached in (\d+) executions: (.+)$", re.MULTILINE)
_FAMILIES = re.compile(r"^(\d+) of (\d+) families$", re.MULTILINE)


class RandomSearch(Engine):
    name = "random"
    strategy = "random"

    def __init__(self, *args) -> None:
        super().__init__(*args)
        # Run i of a slice uses seed S + i. Neither workers nor neighbouring campaign seeds meet.
        self._seed = self.settings.seed * 2**32 + self.index * 2**48
        self._done = 0
        self._slices = 0
        self._found: Path | None = None

    def start(self) -> None:
        self._began = self._began or time.monotonic()
        size = min(_FOCUSED_SLICE if self.settings.focuses else _SLICE, max(_FIRST_SLICE, self._done))
        if self.settings.executions is not None:
            size = min(size, self.settings.executions - self._done)
        self._found = self.work / f"found-{self._done}"
        self._process = EngineProcess([*self._argv(size), "--out", str(self._found)], {}, self.work,
                                      self.work / "log")

    def _argv(self, size: int) -> list[str]:
        """The command line of the slice that is next."""
        strategy = [] if self.strategy == "random" else ["--strategy", self.strategy]
        focuses = self.settings.focuses
        focus = ["--focus", focuses[self._slices // 2 % len(focuses)]] if focuses and self._slices % 2 else []
        return [str(self.program), "--seed", str((self._seed + self._done) % 2**64),
                "--executions", str(size), *strategy, *focus]

    def poll(self) -> list[Find]:
        if self._process is None:
            return []
        if self._process.running():
            if self._done:
                speed = self._done / (self._process.started - self._began)
                guess = self._done + speed * (time.monotonic() - self._process.started)
                self.progress.executions = max(self.progress.executions, int(guess))
            return []
        process, self._process = self._process, None
        finds = self._end_of_slice(process)
        process.close()
        budget = self.settings.executions
        if budget is not None and self._done >= budget:
            self.finished = True
        if self.finished or self.failure or self._interrupted:
            self._ended = time.monotonic()
        else:
            self.start()
        return finds

    def _end_of_slice(self, process: EngineProcess) -> list[Find]:
        output = "\n".join(process.new_lines())
        if process.status == 0 and (match := _CLEAN.search(output)):
            self._count(int(match[1]))
            self._reached(output)
            self._passed(output)
        elif process.status == 1 and (match := _FOUND.search(output)):
            again = tuple(self._argv(int(match[3])))
            self._count(int(match[3]))
            self.finished = self.settings.stop_on_first
            return [Find(self._found, self._done, Title(match[1], match[2]), again)]
        elif self._interrupted and (match := _STOPPED.search(output)):
            self._count(int(match[1]))
            self._reached(output)
        elif not self._interrupted:
            self.failure = (f"{self.program} ended with exit status {process.status}"
                            + process.last_words())
        return []

    def _passed(self, output: str) -> None:
        """A slice has found nothing."""
        self._slices += 1

    def _reached(self, output: str) -> None:
        for count, limit in _REACHED.findall(output):
            self.progress.limits[limit] = self.progress.limits.get(limit, 0) + int(count)

    def _count(self, executions: int) -> None:
        self._done += executions
        self.progress.executions, self.progress.exact = self._done, True

    def title_of(self, find: Find) -> Title:
        return find.title

    def interrupt(self) -> None:
        self.progress.exact = self._process is None
        super().interrupt()


class PctSearch(RandomSearch):
    """The same scenarios, with schedules that follow priorities."""

    name = "PCT"
    strategy = "pct"


class WindowSearch(RandomSearch):
    """The same scenarios, with schedules that aim at windows between two steps."""

    name = "aimed"
    strategy = "aimed"


class ChainSearch(RandomSearch):
    """No random runs, but all short chains of operations on one region: many without a preemption, then from the
    first on with one each.
    """

    name = "chains"

    def __init__(self, *args) -> None:
        super().__init__(*args)
        self._family = 0
        self._preemptions = 0

    def _argv(self, size: int) -> list[str]:
        return [str(self.program), "--exhaustive-chains", str(self._preemptions), "--seed", str(self._family),
                "--executions", str(size)]

    def _passed(self, output: str) -> None:
        if not (match := _FAMILIES.search(output)):
            return
        self._family = int(match[1])
        ended = match[1] == match[2]
        self.finished = ended and self._preemptions == 1
        if self._preemptions == 0 and (ended or self._family >= _BROAD):
            self._family, self._preemptions = 0, 1
