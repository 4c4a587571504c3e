"""Exhaustive exploration as an engine: the project's small scenarios, one after another.

It knows no seeds and makes no scenarios. What it finds is a failed proof, and its story.
"""

import re
import time
from dataclasses import dataclass, field
from pathlib import Path

from fuzz.campaign.crashes import Title
from fuzz.campaign.engine import Engine, Find
from fuzz.campaign.process import EngineProcess

_EXECUTIONS = re.compile(r"^\s+(\d+) executions, ", re.MULTILINE)
_FOUND = re.compile(r"^  FOUND (\S+) (.*)$", re.MULTILINE)
_PROVED = re.compile(r"^  proved: ", re.MULTILINE)
_NOT_PROVED = re.compile(r"^  NOT PROVED$", re.MULTILINE)
# A larger proof goes as far as this, which is no proof but may find what breaks it.
_MOST = 20_000
_PROOFS = Path(__file__).absolute().parents[1] / "proofs"


@dataclass
class Proofs:
    """The names of all proofs, by how far each was explored."""

    complete: list[str] = field(default_factory=list)
    cut_off: list[str] = field(default_factory=list)  # after _MOST executions
    stopped: list[str] = field(default_factory=list)  # the one under way at the end
    left: list[str] = field(default_factory=list)  # not reached

    def __str__(self) -> str:
        total = len(self.complete) + len(self.cut_off) + len(self.stopped) + len(self.left)
        text = f"{len(self.complete)} of {total} proofs explored completely"
        for names, what in ((self.cut_off, f"as far as {_MOST:,} executions"), (self.stopped, "stopped half-way"),
                            (self.left, "not reached")):
            text += f"; {what}: {', '.join(names)}" if names else ""
        return text


class Exhaustive(Engine):
    name = "exhaustive"

    def __init__(self, *args) -> None:
        super().__init__(*args)
        self._left = sorted(_PROOFS.glob("*.txt"))
        self.proofs = Proofs(left=[proof.stem for proof in self._left])

    def start(self) -> None:
        self._began = self._began or time.monotonic()
        proof = self._left.pop(0)
        self.proofs.left.remove(proof.stem)
        self.proofs.stopped = [proof.stem]
        argv = [str(self.program), "--executions", str(_MOST), "--samples", "0", str(proof)]
        self._process = EngineProcess(argv, {}, self.work, self.work / "story.txt")

    def poll(self) -> list[Find]:
        if self._process is None or self._process.running():
            return []
        process, self._process = self._process, None
        process.close()
        text = process.log.read_text(errors="replace")
        self.progress.executions += sum(map(int, _EXECUTIONS.findall(text)))
        self.progress.exact = True
        finds = []
        if found := _FOUND.search(text):
            finds = [Find(process.log, self.progress.executions, Title(found[1], found[2]))]
        elif process.status == 0 and _PROVED.search(text):
            self.proofs.complete += self.proofs.stopped
            self.proofs.stopped = []
        elif process.status == 1 and _NOT_PROVED.search(text):
            self.proofs.cut_off += self.proofs.stopped
            self.proofs.stopped = []
        elif not self._interrupted:
            self.failure = (f"{self.program} ended with exit status {process.status} and without a verdict"
                            + process.last_words())
        if finds or self.failure or self._interrupted or not self._left:
            self.finished = not self.failure
            self._ended = time.monotonic()
        else:
            self.start()
        return finds

    def title_of(self, find: Find) -> Title:
        return find.title
