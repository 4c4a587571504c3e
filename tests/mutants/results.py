"""Results of trials: the file that grows as they come, and the tables made of it."""

import hashlib
import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.mutants import mutant
from tests.mutants.survival import Observation, median, restricted_mean
from tests.mutants.trial import ENGINES

CLEAN = "clean"
# Not an engine but both fuzzing engines side by side, as `//fuzz:campaign` runs them.
CAMPAIGN = "campaign"
_CAMPAIGN_ENGINES = ("libfuzzer", "afl")


@dataclass(frozen=True)
class Result:
    """One trial, as it is kept."""

    mutant: str  # or CLEAN
    engine: str
    seed: int
    limit: float  # seconds that it might have taken
    seconds: float
    executions: int
    oracle: str  # empty: nothing was found
    title: str
    program: str  # digest of the program, so that a result is not taken for one of other code

    @property
    def found(self) -> bool:
        return bool(self.oracle)

    @property
    def key(self) -> tuple:
        return (self.mutant, self.engine, self.seed, self.limit, self.program)


def digest(program: Path) -> str:
    """What tells two builds of a program apart."""
    return hashlib.sha256(program.read_bytes()).hexdigest()[:16]


def load(file: Path) -> list[Result]:
    """The results in a file; a last line that was cut off is left out."""
    results = []
    if file.exists():
        for line in file.read_text().splitlines():
            try:
                results.append(Result(**json.loads(line)))
            except (json.JSONDecodeError, TypeError):
                continue
    return results


def append(file: Path, result: Result) -> None:
    """Adds one, so that it survives if the next step fails."""
    file.parent.mkdir(parents=True, exist_ok=True)
    text = file.read_text() if file.exists() else ""
    with open(file, "a", encoding="utf-8") as stream:
        stream.write(("" if not text or text.endswith("\n") else "\n")
                     + json.dumps(asdict(result)) + "\n")


@dataclass(frozen=True)
class Cell:
    """One mutant and one engine, over all seeds."""

    trials: int
    found: int
    limit: float
    median_seconds: float | None  # None: beyond the limit
    worst_seconds: float | None
    mean_seconds: float  # restricted to the limit
    median_executions: int | None
    worst_executions: int | None

    def __str__(self) -> str:
        if not self.trials:
            return "-"
        middle = f">{self.limit:.0f} s" if self.median_seconds is None else seconds(self.median_seconds)
        return f"{self.found}/{self.trials}, {middle}"


def cell(results: list[Result]) -> Cell:
    """Sums up the trials of one mutant with one engine."""
    times = [Observation(one.seconds, one.found) for one in results]
    counts = [Observation(one.executions, one.found) for one in results]
    limit = max((one.limit for one in results), default=0.0)
    whole = bool(results) and all(one.found for one in results)
    middle = median(counts)
    return Cell(
        trials=len(results), found=sum(one.found for one in results), limit=limit,
        median_seconds=median(times),
        worst_seconds=max(one.seconds for one in results) if whole else None,
        mean_seconds=restricted_mean(times, limit),
        median_executions=None if middle is None else int(middle),
        worst_executions=max(one.executions for one in results) if whole else None)


def together(results: list[Result]) -> list[Result]:
    """What a campaign of both fuzzing engines would have come to at least, for each seed: what the first of
    them finds. A seed that only one of them has had counts with that one; the other could only add to it."""
    seeds: dict[int, list[Result]] = {}
    for one in results:
        if one.engine in _CAMPAIGN_ENGINES:
            seeds.setdefault(one.seed, []).append(one)
    return [min(tried, key=lambda one: (not one.found, one.seconds)) for tried in seeds.values()]


@dataclass(frozen=True)
class Row:
    """One mutant."""

    name: str
    title: str
    expected: list[str]
    fired: dict[str, int]
    scenario: int | None  # operations and deviations of the shortest scenario known
    cells: dict[str, Cell]

    @property
    def best(self) -> Cell | None:
        """The engine that finds it most often, and of those the fastest."""
        made = [one for engine, one in self.cells.items() if one.trials and engine != CAMPAIGN]
        return min(made, key=lambda one: (-one.found / one.trials, one.mean_seconds), default=None)


def row(name: str, patch: Path | None, scenario: Path | None, results: list[Result],
        engines: list[str]) -> Row:
    """Sums up one mutant; no patch for the clean core."""
    read = mutant.read(patch) if patch else None
    mine = [one for one in results if one.mutant == name]
    fired = Counter(one.oracle for one in mine if one.found)
    cells = {engine: cell([one for one in mine if one.engine == engine]) for engine in engines}
    if set(_CAMPAIGN_ENGINES) <= set(engines):
        cells[CAMPAIGN] = cell(together(mine))
    return Row(
        name=name, title=read.title if read else "the clean core",
        expected=read.oracles if read else [], fired=dict(fired.most_common()),
        scenario=_size(scenario) if scenario and scenario.exists() else None,
        cells=cells)


def _size(scenario: Path) -> int:
    lines = scenario.read_text().splitlines()
    return sum(line.startswith(("cpu ", "at ")) for line in lines)


def seconds(value: float) -> str:
    """A time as people read it."""
    return f"{value:.1f} s" if value < 10 else f"{value:.0f} s"


def _number(value: int | None, limit: str = "-") -> str:
    return limit if value is None else f"{value:,}"


def _fired(one: Row) -> str:
    unexpected = [oracle for oracle in one.fired if oracle not in one.expected]
    text = ", ".join(f"{oracle} {count}" for oracle, count in one.fired.items()) or "-"
    return text + (" (unexpected: " + ", ".join(unexpected) + ")" if unexpected else "")


def overview(rows: list[Row], engines: list[str], page: str) -> str:
    """One line for each mutant: found how often, and in which time."""
    engines = [*engines, *([CAMPAIGN] if rows and CAMPAIGN in rows[0].cells else [])]
    names = [ENGINES[engine].name if engine in ENGINES else "both fuzzers" for engine in engines]
    lines = [f"| no. | bug | {' | '.join(names)} | expected | fired | lines |",
             "|---|---|" + "---|" * (len(names) + 3)]
    for one in rows:
        title = f"[{one.title}]({page.format(one.name)})" if one.expected else one.title
        cells = " | ".join(str(one.cells[engine]) for engine in engines)
        number = one.name.partition("_")[0].lstrip("m0") if one.expected else ""
        lines.append(f"| {number} | {title} | {cells} | {one.expected[0] if one.expected else 'none'} | "
                     f"{_fired(one)} | {one.scenario or ''} |")
    return "\n".join(lines) + "\n"


def effort(rows: list[Row], engines: list[str]) -> str:
    """What each find cost, for each engine."""
    lines = ["| mutant | engine | found | executions: median | worst | seconds: median | worst | mean |",
             "|---|---|---|---|---|---|---|---|"]
    for one in rows:
        for engine in engines:
            here = one.cells[engine]
            if not here.trials:
                continue
            beyond = f">{here.limit:.0f}"
            times = [beyond if value is None else f"{value:.2f}"
                     for value in (here.median_seconds, here.worst_seconds, here.mean_seconds)]
            lines.append(f"| {one.name} | {ENGINES[engine].name} | {here.found}/{here.trials} | "
                         f"{_number(here.median_executions)} | {_number(here.worst_executions)} | "
                         + " | ".join(times) + " |")
    return "\n".join(lines) + "\n"


def bars(rows: list[Row]) -> str:
    """How the whole stands."""
    searched = [one for one in rows if one.expected and one.best]
    missing = [one.name for one in rows if not one.best]
    always = sum(one.best.found == one.best.trials for one in searched)
    quick = sum(one.best.median_seconds is not None and one.best.median_seconds <= 10 for one in searched)
    kills = sum(count for one in searched for count in one.fired.values())
    first = sum(one.fired.get(one.expected[0], 0) for one in searched)
    named = sum(count for one in searched for oracle, count in one.fired.items()
                if oracle in one.expected)
    campaigns = [one.cells[CAMPAIGN] for one in searched if CAMPAIGN in one.cells]
    often = sum(one.trials > 0 and one.found >= 0.9 * one.trials for one in campaigns)
    clean = [one for one in rows if not one.expected]
    reports = sum(count for one in clean for count in one.fired.values())
    share = lambda part: f"{100 * part / kills:.1f} %" if kills else "-"  # noqa: E731
    lines = [f"* Found from every seed by at least one engine: {always} of {len(searched)} mutants.",
             f"* Median of the best engine at most 10 s: {quick} of {len(searched)}.",
             f"* The oracle that the patch expects first: {share(first)} of {kills} kills; one that it names: "
             f"{share(named)}."]
    if campaigns:
        lines.insert(2, "* Found by a campaign of both fuzzing engines from nine of ten seeds or more: "
                     f"{often} of {len(campaigns)}.")
    if searches := sum(cell.trials for one in clean for engine, cell in one.cells.items() if engine != CAMPAIGN):
        lines.append(f"* Reports on the clean core: {reports}, in {searches:,} search{'es' * (searches != 1)}.")
    if missing:
        lines.append(f"* Not searched: {', '.join(missing)}.")
    return "\n".join(lines) + "\n"
