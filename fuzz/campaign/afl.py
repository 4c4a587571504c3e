"""AFL++ as an engine of the campaign."""

import hashlib
import re
import socket
import time
from pathlib import Path

from fuzz.campaign.disk import copy_files, write_whole
from fuzz.campaign.engine import Engine, Find, new_files
from fuzz.campaign.process import EngineProcess, quoted

_COUNTER = re.compile(r"fuzzing\.(\w+):([\d.]+)\|g")
_EXECUTIONS = re.compile(r"execs:(\d+)")
_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\)B|\)B|\x0f")
_ONLY_CRASHING_SEEDS = "seed that does not crash"
# AFL++ cannot start from nothing, and its mutations rarely lengthen an input. This is a scenario of
# the default size: eight operations on each of four CPUs, and some deviations (fuzz/scenario/FORMAT.md).
_FALLBACK_SEED = bytes(7) + bytes([32]) + b"".join(
    bytes([i % 14, i % 4, i % 18, 0]) for i in range(32)) + bytes([9, 0, 1, 0]) * 8
# Knows scenarios, where AFL++ itself knows bytes. A file among the runfiles of each program that uses this module.
_MUTATOR = Path(__file__).absolute().parents[1] / "afl_mutator.so"


class Afl(Engine):
    name = "AFL++"
    coverage_name = "edges"

    def __init__(self, *args) -> None:
        super().__init__(*args)
        self._seeds = self.work / "seeds"
        self._seeds.mkdir()
        self._out = self.work.parent / "afl-out"  # common to all workers, which import from it
        self._seen_crashes = {"README.txt"}
        self._seen_hangs = {"README.txt"}
        self._seen_queue: set[str] = set()
        # AFL++ writes its statistics once a minute, but sends them every second to the socket that listens.
        self._counters = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._counters.bind(("127.0.0.1", 0))
        self._counters.setblocking(False)

    @property
    def _home(self) -> Path:
        return self._out / f"worker{self.index}"

    def start(self) -> None:
        self._began = time.monotonic()
        if copy_files(self.settings.corpus, self._seeds) == 0:
            (self._seeds / "empty").write_bytes(_FALLBACK_SEED)
        argv = ["afl-fuzz", "-i", str(self._seeds), "-o", str(self._out), "-S",
                f"worker{self.index}", "-s", str(self.settings.seed + self.index), "-m", "none",
                "-t", "2000", "-G", str(self.settings.max_len)]
        if self.settings.executions is not None:
            argv += ["-E", str(self.settings.executions)]
        if self.settings.dictionary:
            argv += ["-x", str(self.settings.dictionary)]
        argv += ["--", str(self.program)]
        self._process = EngineProcess(argv, self._environment(), self.work, self.work / "log")

    def _environment(self) -> dict[str, str]:
        env = {
            "AFL_NO_UI": "1", "AFL_NO_COLOR": "1", "AFL_NO_AFFINITY": "1", "AFL_SKIP_CPUFREQ": "1",
            # Hosts whose core_pattern names a program delay crash reports; that is no reason to
            # refuse, because every crash file is replayed.
            "AFL_I_DONT_CARE_ABOUT_MISSING_CRASHES": "1",
            # What it cuts off by itself means little in a scenario, and a run is the same each time,
            # so there is nothing to calibrate.
            "AFL_DISABLE_TRIM": "1", "AFL_FAST_CAL": "1",
            "AFL_STATSD": "1", "AFL_STATSD_HOST": "127.0.0.1",
            "AFL_STATSD_PORT": str(self._counters.getsockname()[1]),
            "ASAN_OPTIONS": "abort_on_error=1:symbolize=0:detect_leaks=0",
            "UBSAN_OPTIONS": "abort_on_error=1:symbolize=0",
        }
        if self.settings.scenarios:
            env["AFL_CUSTOM_MUTATOR_LIBRARY"] = str(_MUTATOR)
            # Its own mutations of bytes are no better; but only they use a dictionary.
            if not self.settings.dictionary:
                env["AFL_CUSTOM_MUTATOR_ONLY"] = "1"
        if self.settings.stop_on_first:
            env["AFL_BENCH_UNTIL_CRASH"] = "1"
        return env

    def poll(self) -> list[Find]:
        if self._process is None:
            return []
        running = self._process.running()
        self._receive()
        finds = [Find(path, self._executions_of(path), None)
                 for path in new_files(self._home / "crashes", self._seen_crashes)
                 + new_files(self._home / "hangs", self._seen_hangs)]
        if not running:
            finds += self._end_of_process()
        return finds

    def _receive(self) -> None:
        while True:
            try:
                text = self._counters.recv(65536).decode(errors="replace")
            except BlockingIOError:
                return
            values = dict(_COUNTER.findall(text))
            self._take(values, "execs_done", "corpus_count", "edges_found")

    def _take(self, values: dict[str, str], executions: str, corpus: str, edges: str) -> None:
        def number(key: str, old: int) -> int:
            return int(float(values[key])) if key in values else old
        self.progress.executions = number(executions, self.progress.executions)
        self.progress.corpus = number(corpus, self.progress.corpus)
        self.progress.coverage = number(edges, self.progress.coverage)

    @staticmethod
    def _executions_of(path: Path) -> int | None:
        match = _EXECUTIONS.search(path.name)
        return int(match[1]) if match else None

    def _end_of_process(self) -> list[Find]:
        process, self._process = self._process, None
        self._ended = time.monotonic()
        self._read_final_statistics()
        process.close()
        if self._interrupted:
            self.finished = True
            return []
        if process.status == 0:
            self.finished = True
            if not self._ended_as_asked():
                self.failure = (f"afl-fuzz ended by itself with {self.progress.executions:,} executions of "
                                f"{self.program}")
            return []
        text = _COLOUR.sub("", process.log.read_text(errors="replace"))
        if _ONLY_CRASHING_SEEDS in text:
            # AFL++ refuses to work, but for a campaign this is the quickest of all finds.
            self.finished = True
            self.note = "AFL++ did not start: each of its seeds fails already."
            return [Find(path, 1, None) for path in sorted(self._seeds.iterdir())]
        self.failure = (f"afl-fuzz ended with exit status {process.status} for {self.program}"
                        + _last_words(text))
        return []

    def _ended_as_asked(self) -> bool:
        budget = self.settings.executions
        found = self.settings.stop_on_first and len(self._seen_crashes) > 1
        return found or (budget is not None and self.progress.executions >= budget)

    def _read_final_statistics(self) -> None:
        try:
            lines = (self._home / "fuzzer_stats").read_text().splitlines()
        except OSError:
            return
        values = {key.strip(): value.strip() for key, _, value in
                  (line.partition(":") for line in lines)}
        self._take(values, "execs_done", "corpus_count", "edges_found")
        self.progress.exact = True
        try:
            self.progress.stability = float(values.get("stability", "").rstrip("%"))
        except ValueError:
            pass

    def share(self) -> None:
        for path in new_files(self._home / "queue", self._seen_queue):
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                continue
            write_whole(self.settings.corpus / hashlib.sha1(data).hexdigest(), data)

    def close(self) -> None:
        self._counters.close()
        super().close()


def _last_words(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    abort = [i for i, line in enumerate(lines) if "PROGRAM ABORT" in line]
    kept = lines[abort[0]:abort[0] + 3] if abort else lines[-15:]
    return quoted([line.strip() for line in kept])
