"""Runs the campaign as its users do, with scripts in the place of the engines."""

import errno
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from collections.abc import Callable, Sequence
from pathlib import Path

_TESTDATA = Path(__file__).parent / "testdata"
_TARGET = _TESTDATA / "fake_target.py"
# As the program itself, but in more of a hurry.
_START = ("import os, sys; from fuzz.campaign import campaign, campaign_fixture, status; "
          "campaign_fixture.fill_disk(os.environ.get('FULL'), os.environ.get('PROBE') != 'no'); "
          "campaign._GRACE_SECONDS = float(os.environ['GRACE']); "
          "status._PLAIN_INTERVAL_SECONDS = 1; sys.exit(campaign.main(sys.argv[1:]))")


def fill_disk(prefix: str | None, probes: bool) -> None:
    """There is no room for a file whose path begins like this; the campaign may notice at its start."""
    really = Path.write_bytes

    def write_bytes(path: Path, data: bytes) -> int:
        # The file that is written has a dot before its name until it is whole.
        meant = str(path.with_name(path.name.removeprefix(".")))
        if prefix and meant.startswith(prefix) and (probes or "probe" not in path.name):
            path.touch()
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return really(path, data)
    Path.write_bytes = write_bytes


def alive(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


class CampaignFixture(unittest.TestCase):
    """A folder in which a user stands, and a fake afl-fuzz in PATH."""

    keeps = False  # the campaign has a reason to leave files where it works

    def setUp(self):
        self.home = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.tools = self.home / "tools"
        self.tools.mkdir()
        (self.tools / "afl-fuzz").symlink_to(_TESTDATA / "fake_afl_fuzz.py")
        (self.home / "tmp").mkdir()
        self.env = {
            **os.environ,
            "PATH": f"{self.tools}:/usr/bin:/bin",
            "PYTHONPATH": ":".join(path for path in sys.path if path),
            "BUILD_WORKING_DIRECTORY": str(self.home),
            "TMPDIR": str(self.home / "tmp"),
            "GRACE": "1",
        }
        self.env.pop("BUILD_WORKSPACE_DIRECTORY", None)

    def start(self, *options: str, prefix: Sequence[str] = (), stdout=subprocess.PIPE,
              stderr=subprocess.STDOUT, **env: str) -> subprocess.Popen:
        argv = [*prefix, sys.executable, "-c", _START, "--binary-libfuzzer", str(_TARGET), "--binary-afl",
                str(_TARGET), "--binary-random", str(_TARGET), "--crashes", "crashes", "--seed", "1", *options]
        return subprocess.Popen(argv, env={**self.env, **env}, stdout=stdout, text=True,
                                stderr=stderr, cwd="/", start_new_session=True)

    def run_campaign(self, *options: str, status: int, **env: str) -> str:
        process = self.start(*options, **env)
        output = process.communicate(timeout=60)[0]
        self.assertEqual(process.returncode, status, output)
        self.assert_clean()
        return output

    def end(self, process: subprocess.Popen, status: int, number: int = signal.SIGTERM) -> str:
        """Sends a signal (0 sends none), waits for the end and returns the output."""
        process.send_signal(number)
        output = process.communicate(timeout=30)[0]
        self.assertEqual(process.returncode, status, output)
        self.assert_clean()
        return output

    def wait_until(self, condition: Callable[[], bool], what: str):
        deadline = time.monotonic() + 30
        while not condition():
            self.assertLess(time.monotonic(), deadline, f"waited too long for {what}")
            time.sleep(0.05)

    def assert_clean(self):
        if not self.keeps:
            self.assertEqual(list((self.home / "tmp").iterdir()), [], "temporary files are left")

    def index(self) -> list[list[str]]:
        try:
            lines = (self.home / "crashes/titles.txt").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [line.split("\t") for line in lines if not line.startswith("#")]
