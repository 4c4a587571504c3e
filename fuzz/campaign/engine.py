"""What the campaign asks of a fuzzing engine."""

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path

from fuzz.campaign.crashes import Title, replay
from fuzz.campaign.process import EngineProcess


@dataclass(frozen=True)
class Settings:
    """What both engines need to know."""

    seed: int
    max_len: int
    executions: int | None  # budget of each engine; None = until it is stopped
    stop_on_first: bool
    dictionary: Path | None
    corpus: Path  # a folder of the campaign's own, which the engines may change
    scenarios: bool = True  # inputs are scenarios as bytes
    focuses: tuple[str, ...] = ()  # where half of a random search looks; by name


@dataclass
class Progress:
    """How far an engine is."""

    executions: int = 0
    exact: bool = False  # False while `executions` is an estimate
    corpus: int = 0
    coverage: int = 0
    stability: float | None = None
    limits: dict[str, int] = field(default_factory=dict)  # of the model: in how many executions each was reached


@dataclass(frozen=True)
class Find:
    """A file that made the target fail."""

    path: Path
    executions: int | None  # of its engine until then
    title: Title | None  # what the engine heard when it happened, if it did
    again: tuple[str, ...] = ()  # a command line that finds it again, where no file is enough


class Engine(ABC):
    """One process of a fuzzing engine, restarted as its kind requires."""

    name = ""  # as people write it
    coverage_name = ""  # what `Progress.coverage` counts; empty for an engine without feedback

    def __init__(self, program: Path, work: Path, index: int, settings: Settings):
        self.program = program
        self.work = work
        self.index = index
        self.settings = settings
        self.progress = Progress()
        self.finished = False  # it ended by itself, as it should
        self.failure: str | None = None  # why it cannot go on
        self.note: str | None = None  # something the user should know at the end
        self._began: float | None = None
        self._ended: float | None = None
        self._process: EngineProcess | None = None  # the one that runs, or has ended and is not read yet
        self._interrupted = False
        work.mkdir(parents=True)

    @abstractmethod
    def start(self) -> None:
        """Starts fuzzing."""

    @abstractmethod
    def poll(self) -> list[Find]:
        """Reads what the engine has done since the last call. Returns new finds."""

    def again(self, find: Find, file: Path) -> list[str]:
        """The command line of the program that fails once more; `file` is a copy of the find."""
        return list(find.again) or [str(self.program), str(file)]

    def settle(self) -> None:
        """Called when all is over: an engine that has done nothing has failed."""
        if self.progress.executions == 0 and not self.failure:
            self.failure = f"{self.program} made no execution in {self.seconds:.1f} s"

    def interrupt(self) -> None:
        """Asks the engine to end. `poll` still works and reads its last words."""
        self._interrupted = True
        if self._process is not None:
            self._process.interrupt()

    def running(self) -> bool:
        """Whether a process of the engine is alive."""
        return self._process is not None and self._process.running()

    def close(self) -> None:
        """Releases what the engine holds in this process."""
        if self._process is not None:
            self._process.close()

    def title_of(self, find: Find) -> Title:
        """What a find is called. It is replayed, because a file that fails only once is worth less
        than it seems."""
        title = replay(self.program, find.path)
        if title is None:
            heard = find.title or Title("CRASH", "reported by " + self.name)
            title = Title("UNSTABLE", f"does not repeat: {heard}")
        return title

    @property
    def seconds(self) -> float:
        """How long it has been fuzzing."""
        if self._began is None:
            return 0.0
        return max((self._ended or time.monotonic()) - self._began, 1e-3)

    def share(self) -> None:
        """Copies new inputs of this engine into the common corpus."""


def new_files(folder: Path, seen: set[str]) -> list[Path]:
    """Files that were not there at the last call with the same set, oldest name first.

    Without those that are being written, whose names begin with a dot."""
    try:
        names = sorted(entry.name for entry in folder.iterdir()
                       if entry.is_file() and not entry.name.startswith("."))
    except FileNotFoundError:
        return []
    fresh = [name for name in names if name not in seen]
    seen.update(fresh)
    return [folder / name for name in fresh]
