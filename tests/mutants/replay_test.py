#!/usr/bin/python3
"""What the random search prints for a find is a command that shows it again, with the right core.

usage: replay_test.py SEARCH CLEAN_REPRODUCE, where SEARCH has a mutant inside
"""

import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

_FOUND = re.compile(r"^found (.+) after \d+ executions$", re.MULTILINE)


class ReplayTest(unittest.TestCase):
    def setUp(self):
        self.home = Path(self.enterContext(tempfile.TemporaryDirectory()))

    def search(self, *options: str) -> tuple[str, str]:
        """The title of what it found, and the command that it printed."""
        env = {**os.environ, "BUILD_WORKING_DIRECTORY": str(self.home)}
        run = subprocess.run([SEARCH, "--seed", "1", *options], cwd="/", env=env, text=True,
                             stdout=subprocess.PIPE, check=False)
        self.assertEqual(run.returncode, 1, run.stdout)
        return _FOUND.search(run.stdout)[1], run.stdout.splitlines()[-1]

    def shell(self, command: str) -> str:
        """Runs it as it is typed in a shell, in a folder of the user's."""
        run = subprocess.run(command, shell=True, cwd=self.home, text=True, stdout=subprocess.PIPE,
                             check=False)
        self.assertEqual(run.returncode, 1, run.stdout)
        return run.stdout

    def assert_clean(self, file: Path):
        run = subprocess.run([CLEAN_REPRODUCE, "--title", file], text=True, stdout=subprocess.PIPE,
                             check=False)
        self.assertEqual((run.returncode, run.stdout), (0, "ok\n"), "the find is not the mutant's")

    def test_what_was_kept_is_replayed(self):
        (self.home / "a b").mkdir()
        for name in ("a b/it's $HOME.bin", "found.txt"):
            title, command = self.search("--out", name)
            self.assertIn(f"  {title}\n", self.shell(command))
            self.assert_clean(self.home / name)

    def test_the_first_find_is_kept_while_the_search_goes_on(self):
        # No report under store buffers is plain, so at least 2,000 executions follow. A file of
        # hashes that grows too large ends the program by a signal before the 1,536th.
        size = 4096
        for name in ("found.bin", "found.txt"):
            run = subprocess.run(
                [SEARCH, "--seed", "1", "--turn", "tso", "--hashes", "hashes", "--out", name],
                cwd=self.home, env={**os.environ, "BUILD_WORKING_DIRECTORY": str(self.home)},
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
                stdout=subprocess.PIPE, check=False)
            self.assertEqual((run.returncode, run.stdout), (-signal.SIGXFSZ, b""))
            replay = subprocess.run([SEARCH, "--replay", self.home / name], text=True,
                                    stdout=subprocess.PIPE, check=False)
            self.assertEqual(replay.returncode, 1, replay.stdout)
            self.assert_clean(self.home / name)

    def test_what_was_not_kept_is_found_at_once(self):
        for options in ((), ("--strategy", "walk"), ("--strategy", "pct", "--cpus", "3")):
            title, command = self.search(*options)
            again = self.shell(command)
            self.assertIn(f"found {title} after 1 executions\n", again)
            self.assertIn(f"  {title}\n", self.shell(again.splitlines()[-1]))
            self.assert_clean(self.home / "found.bin")


if __name__ == "__main__":
    SEARCH, CLEAN_REPRODUCE = map(os.path.abspath, sys.argv[1:])
    unittest.main(argv=sys.argv[:1], verbosity=2)
