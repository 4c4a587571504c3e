"""Exhaustive exploration as an engine: the project's small scenarios, one after another.

It knows no seeds and makes no scenarios. What it finds is a failed proof, and its story.
"""

import re
import time
from pathlib import Path

from fuzz.campaign.crashes import Title
from fuzz.campaign.engine import Engine, Find
from fuzz.campaign.process import EngineProcess

_EXECUTIONS = re.compile(r"^\s+(\d+) executions, ", re.MULTILINE)
_FOUND = re.compile(r"^  FOUND (\S+) (.*)$", re.MULTILINE)
# A larger proof goes as far as this, which is no proof but may find what breaks it.
_MOST = 20_000
_PROOFS = Path(__file__).absolute().parents[1] / "proofs"


class Exhaustive(Engine):
    name = "exhaustive"

    def __init__(self, *args) -> None:
        super().__init__(*args)
        self._left = sorted(_PROOFS.glob("*.txt"))

    def start(self) -> None:
        self._began = self._began or time.monotonic()
        argv = [str(self.program), "--executions", str(_MOST), "--samples", "0", str(self._left.pop(0))]
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
        elif process.status not in (0, 1) and not self._interrupted:
            self.failure = (f"{self.program} ended with exit status {process.status}"
                            + process.last_words())
        if finds or self.failure or self._interrupted or not self._left:
            self.finished = not self.failure
            self._ended = time.monotonic()
        else:
            self.start()
        return finds

    def title_of(self, find: Find) -> Title:
        return find.title
