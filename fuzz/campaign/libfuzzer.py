"""libFuzzer as an engine of the campaign.

libFuzzer ends at the first failure. It is started again with the corpus it has built, and another
seed: its own fork mode does the same, but it merges corpora between short jobs.
"""

import re
import time
from pathlib import Path

from fuzz.campaign.crashes import Title, title_from_output
from fuzz.campaign.engine import Engine, Find, new_files
from fuzz.campaign.process import EngineProcess

_LINE = re.compile(r"#(\d+)\s+\w+\s+(?:cov: \d+ )?(?:ft: (\d+) )?(?:corp: (\d+)/)?")
_EXECUTED = re.compile(r"stat::number_of_executed_units:\s+(\d+)")
_FAILURE_ARTIFACT = ("crash-", "timeout-", "oom-", "leak-")
# This many failures in a row in the first executions: every input fails, and nothing new will come.
_HOPELESS = 3
_INTERRUPTED = 72


class LibFuzzer(Engine):
    name = "libFuzzer"
    coverage_name = "features"
    _fuzz_env = {
        # Symbols take most of a second, and each crash file is replayed anyway.
        "ASAN_OPTIONS": "detect_leaks=0:symbolize=0",
        "UBSAN_OPTIONS": "symbolize=0",
    }

    def __init__(self, *args) -> None:
        super().__init__(*args)
        self._artifacts = self.work / "artifacts"
        self._artifacts.mkdir()
        self._seen: set[str] = set()
        self._starts = 0
        self._hopeless = 0
        self._output: list[str] = []
        self._before = 0  # executions of the processes that have ended
        self._counted = 0  # executions of this process at its last line
        self._counted_at = 0.0
        self._final: int | None = None

    def start(self) -> None:
        now = time.monotonic()
        self._began = self._began or now
        self._counted, self._counted_at, self._final = 0, now, None
        self._output = []
        seed = (self.settings.seed + self.index + 1000 * self._starts) % 2**32 or 1
        argv = [
            str(self.program), f"-seed={seed}", f"-max_len={self.settings.max_len}",
            f"-artifact_prefix={self._artifacts}/", "-print_final_stats=1", "-timeout=10",
            "-rss_limit_mb=2048", "-reload=5", "-verbosity=1", "-print_pcs=0",
        ]
        if self.settings.executions is not None:
            argv.append(f"-runs={self.settings.executions - self._before}")
        if self.settings.dictionary:
            argv.append(f"-dict={self.settings.dictionary}")
        argv.append(str(self.settings.corpus))
        self._starts += 1
        self._process = EngineProcess(argv, self._fuzz_env, self.work, self.work / "log")

    def poll(self) -> list[Find]:
        if self._process is None:
            return []
        running = self._process.running()
        for line in self._process.new_lines():
            self._read(line)
        if running:
            self._estimate()
            return []
        return self._end_of_process()

    def _read(self, line: str) -> None:
        self._output = self._output[-40:] + [line]
        if match := _EXECUTED.match(line):
            self._final = int(match[1])
        elif match := _LINE.match(line):
            self._counted, self._counted_at = int(match[1]), time.monotonic()
            if match[2]:
                self.progress.coverage = max(self.progress.coverage, int(match[2]))
            if match[3]:
                self.progress.corpus = int(match[3])

    def _estimate(self) -> None:
        """libFuzzer prints a count when it finds something and at powers of two; between two such
        lines the speed so far says how far it is."""
        speed = self._counted / max(self._counted_at - self._process.started, 0.1)
        guess = self._before + self._counted + speed * (time.monotonic() - self._counted_at)
        self.progress.executions = max(self.progress.executions, int(guess))

    def _end_of_process(self) -> list[Find]:
        process, self._process = self._process, None
        executed = self._final if self._final is not None else self._counted
        self._before += executed
        self._ended = time.monotonic()
        self.progress.executions, self.progress.exact = self._before, True
        process.close()
        files = [f for f in new_files(self._artifacts, self._seen)
                 if f.name.startswith(_FAILURE_ARTIFACT)]
        finds = [Find(f, self._before, self._heard(f)) for f in files]
        self._decide(process, executed, finds)
        if not (self.finished or self.failure or self._interrupted):
            self._ended = None
            self.start()
        return finds

    def _heard(self, file: Path) -> Title | None:
        if file.name.startswith("timeout-"):
            return Title("HANG", "no result within 10 s")
        if file.name.startswith("oom-"):
            return Title("MEMORY", "more than 2 GiB")
        return title_from_output("\n".join(self._output))

    def _decide(self, process: EngineProcess, executed: int, finds: list[Find]) -> None:
        """Whether fuzzing goes on after a process has ended."""
        budget = self.settings.executions
        if self._interrupted:
            return
        if finds:
            self._drop_from_corpus(finds)
            self._hopeless = self._hopeless + 1 if executed <= 10 else 0
            if self.settings.stop_on_first or (budget is not None and self._before >= budget):
                self.finished = True
            elif self._hopeless >= _HOPELESS:
                self.finished = True
                self.note = "libFuzzer stopped early: it fails in its first executions every time."
        elif process.status in (0, _INTERRUPTED):
            self.finished = True
            if budget is None or self._before < budget:
                self.failure = (f"{self.program} ended by itself with exit status {process.status} after "
                                f"{self._before:,} executions{process.last_words()}")
        elif self._artifact_exists():
            # The same bytes as before, so no new file: go on.
            self._hopeless += 1
            self.finished = self._hopeless >= _HOPELESS
        else:
            self.failure = (f"{self.program} ended with exit status {process.status} and without a "
                            f"crash file{process.last_words()}")

    def _artifact_exists(self) -> bool:
        return any("Test unit written to" in line for line in self._output)

    def _drop_from_corpus(self, finds: list[Find]) -> None:
        """An input that fails must not stay in the corpus: each start would end there."""
        for find in finds:
            size = find.path.stat().st_size
            for unit in self.settings.corpus.iterdir():
                try:
                    same = unit.stat().st_size == size and unit.read_bytes() == \
                        find.path.read_bytes()
                except FileNotFoundError:  # libFuzzer replaces its own files.
                    continue
                if same:
                    unit.unlink(missing_ok=True)
