"""Engine processes: starting them, and leaving none behind."""

import ctypes
import os
import signal
import subprocess
import time
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
LAST_WORDS = ". Its last words:"  # what ends the first line of an error message if more follow
_LIBC = ctypes.CDLL(None, use_errno=True)


def adopt_orphans() -> None:
    """Makes this process the parent of every descendant that loses its own.

    AFL++ puts its target into a session of its own and, if killed, leaves it stopped for ever. Only
    a subreaper can find it then.
    """
    _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _parent(pid: int) -> int:
    try:
        # The name in parentheses may itself hold spaces and parentheses.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return int(fields[1])


def descendants() -> list[int]:
    """All processes below this one, zombies included."""
    parents = {int(e): _parent(int(e)) for e in os.listdir("/proc") if e.isdigit()}
    found: list[int] = []
    level = {os.getpid()}
    while level:
        level = {pid for pid, parent in parents.items() if parent in level}
        found.extend(level)
    return found


def kill_descendants(timeout: float = 5.0) -> list[int]:
    """Kills and reaps everything below this process. Returns what would not go away."""
    deadline = time.monotonic() + timeout
    while True:
        remaining = descendants()
        for pid in remaining:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        try:
            while os.waitpid(-1, os.WNOHANG)[0] != 0:
                pass
        except ChildProcessError:
            pass
        if not remaining or time.monotonic() > deadline:
            return remaining
        time.sleep(0.01)


def _in_child() -> None:
    # If the campaign itself is killed, both engines still get to clean up after themselves.
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def quoted(lines: list[str]) -> str:
    """Lines of output, to be put behind an error message that has no full stop yet."""
    if not lines:
        return " and without a word"
    return LAST_WORDS + "\n" + "\n".join("    " + line for line in lines)


class EngineProcess:
    """One engine, in a session of its own so that Ctrl-C reaches only the campaign."""

    def __init__(self, argv: list[str], env: dict[str, str], cwd: Path, log: Path):
        self.log = log
        self.started = time.monotonic()
        with open(log, "wb") as stream:
            self._process = subprocess.Popen(
                argv, env={**os.environ, **env}, cwd=cwd, stdin=subprocess.DEVNULL, stdout=stream,
                stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=_in_child)
        self._reader = open(log, "rb")
        self._partial = b""

    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def status(self) -> int | None:
        """Exit status, negative if a signal ended it, None while it runs."""
        return self._process.poll()

    def interrupt(self) -> None:
        """Asks for a clean end. Only the engine: it stops its own children."""
        if self.running():
            self._process.send_signal(signal.SIGINT)

    def new_lines(self) -> list[str]:
        """The complete lines of output since the last call; after the end, the rest as well."""
        ended = not self.running()
        data = self._partial + self._reader.read()
        *lines, self._partial = data.split(b"\n")
        if ended and self._partial:
            lines.append(self._partial)
            self._partial = b""
        return [line.decode(errors="replace") for line in lines]

    def last_words(self, count: int = 15) -> str:
        """The end of the output, as the end of an error message."""
        return quoted(self.log.read_text(errors="replace").splitlines()[-count:])

    def close(self) -> None:
        self._reader.close()
