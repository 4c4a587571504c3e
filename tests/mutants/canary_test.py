"""Tests the way of a report: a campaign on a mutant must find it, say so and keep the evidence.

Were any part of that way broken, every campaign would look clean.
"""

import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from tests.mutants import mutant

CAMPAIGN, LIBFUZZER, AFL, REPRODUCE, CLEAN_REPRODUCE, PATCH = (
    os.path.abspath(sys.argv.pop(1)) for _ in range(6))


class CanaryTest(unittest.TestCase):
    def setUp(self):
        self.home = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.oracles = mutant.read(Path(PATCH)).oracles

    def check(self, engine: str, engine_name: str):
        run = subprocess.run(
            [CAMPAIGN, "--engine", engine, "--binary-libfuzzer", LIBFUZZER, "--binary-afl", AFL,
             "--seconds", "50", "--seed", "1", "--stop-on-first", "--crashes", "crashes"],
            env={**os.environ, "BUILD_WORKING_DIRECTORY": str(self.home)}, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, check=False)
        print(run.stdout)
        self.assertEqual(run.returncode, 1, run.stdout)
        rows = [line.split("\t") for line in
                (self.home / "crashes/titles.txt").read_text().splitlines()[1:]]
        name, title, size, found_by, _, command, story, scenario = rows[0]
        self.assertIn(title.split()[0], self.oracles)
        self.assertEqual(found_by, engine_name)
        self.assertIn(f"Found: {title}", run.stdout)
        self.assertRegex(command, r"^bazel run //fuzz:reproduce -- --binary \S+_reproduce .*"
                                  rf"crashes/{story}$")
        # The campaign ends with the scenario and the command.
        self.assertIn("\n".join([*(f"      {line}" for line in scenario.split("; ")), f"    {command}\n"]), run.stdout)
        self.assert_title(REPRODUCE, self.home / "crashes" / story, title, 1)
        file = self.home / "crashes" / name
        self.assertEqual(file.stat().st_size, int(size))
        self.assert_title(REPRODUCE, file, title, 1)
        self.assert_title(CLEAN_REPRODUCE, file, "ok", 0)

    def assert_title(self, program: str, file: Path, title: str, status: int):
        run = subprocess.run([program, "--title", file], stdout=subprocess.PIPE, text=True,
                             check=False)
        self.assertEqual((run.stdout.strip(), run.returncode), (title, status))

    def test_libfuzzer(self):
        self.check("libfuzzer", "libFuzzer")

    def test_afl(self):
        self.check("afl", "AFL++")


if __name__ == "__main__":
    unittest.main()
