"""Runs of the simulation: one flush each."""

import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
PRICE_LISTS = ["desktop", "two-socket", "clusters"]
MODES = ["serial", "concurrent", "early", "invlpgb"]
# The names of modes for people.
MODE_TITLES = {"serial": "serial", "concurrent": "concurrent", "early": "early", "invlpgb": "INVLPGB"}


class CannotRun(Exception):
    """What the simulation says why there is no such run."""


@dataclass(frozen=True)
class Experiment:
    prices: str
    cpus: int
    mode: str = "concurrent"
    pages: int = 1
    pti: bool = False
    loaded: int = 0  # CPUs that have the mm loaded, 0: all
    initiators: int = 1
    capacity: int = 0  # 0: the smallest kernel that is built for so many CPUs
    line_bytes: int = 64
    fetch_ahead: bool = False


@dataclass(frozen=True)
class Step:
    """A part of the critical path."""

    cpu: int
    start: int
    end: int
    cause: str
    line: str
    other: int  # -1: no CPU

    @property
    def time(self) -> int:
        return self.end - self.start


class Result:
    """What one run printed; times are picoseconds."""

    def __init__(self, values: dict):
        self.values = values
        self.time: int = values["time"]
        self.path = [Step(*step) for step in values["path"]]

    def __getitem__(self, name: str):
        return self.values[name]

    def share_by_cpu(self) -> dict[int, int]:
        """How much of the critical path each CPU is; -1 is interrupts that are on their way."""
        shares: dict[int, int] = {}
        for step in self.path:
            cpu = -1 if step.cause == "delivery" else step.cpu
            shares[cpu] = shares.get(cpu, 0) + step.time
        return shares

    def phases(self) -> tuple[int, int, int]:
        """Times of the critical path: until CPU 0 has sent, of interrupts and targets, and CPU 0 again to its end."""
        away = [i for i, step in enumerate(self.path) if step.cpu != 0]
        if not away:
            return self.time, 0, 0
        first, last = self.path[away[0]].start, self.path[away[-1]].end
        begin, end = self.path[0].start, self.path[-1].end
        return first - begin, last - first, end - last


def price_file(name: str) -> Path:
    """Of a list of the tree, or of any other if the name is that of a file."""
    if "/" in name or name.endswith(".txt"):
        return Path(os.environ.get("BUILD_WORKING_DIRECTORY", ".")) / name
    return HERE / "prices" / f"{name}.txt"


def simulate(experiment: Experiment) -> Result:
    """Runs one flush."""
    command = [str(HERE / "simulate"), "--prices", str(price_file(experiment.prices)),
               "--cpus", str(experiment.cpus), "--mode", experiment.mode, "--pages", str(experiment.pages),
               "--pti", "on" if experiment.pti else "off", "--initiators", str(experiment.initiators),
               "--line-bytes", str(experiment.line_bytes),
               "--fetch-ahead", "on" if experiment.fetch_ahead else "off"]
    for option, value in [("--loaded", experiment.loaded), ("--capacity", experiment.capacity)]:
        command += [option, str(value)] if value else []
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        raise CannotRun(run.stderr.strip().removeprefix("simulate: ") or f"simulate ended with {run.returncode}")
    return Result(json.loads(run.stdout))


class Simulator:
    """Runs each experiment once, several at the same time."""

    def __init__(self):
        self._results: dict[Experiment, Result] = {}

    def run(self, experiments: list[Experiment]) -> list[Result]:
        """The results in the order of the experiments."""
        # The longest first, so that none of them is left to the end.
        new = sorted(set(experiments) - set(self._results), key=lambda e: (-e.cpus, str(e)))
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            self._results |= dict(zip(new, pool.map(simulate, new)))
        return [self._results[experiment] for experiment in experiments]

    def one(self, experiment: Experiment) -> Result:
        return self.run([experiment])[0]


def prices_of(name: str) -> list[tuple[str, str, str]]:
    """(name, nanoseconds, source) of each line of a list, in its order."""
    rows = []
    for line in price_file(name).read_text().splitlines():
        words = line.split(" ")
        if words[0] == "level":
            rows.append((f"line within a {words[1]} of {words[2]} CPUs", words[3], " ".join(words[4:])))
        elif words[0] in ("price", "count"):
            rows.append((words[1], words[2], " ".join(words[3:])))
    return rows
