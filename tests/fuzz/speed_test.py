#!/usr/bin/python3
"""The program that measures the fuzz target runs what it says, and refuses what it cannot do.

usage: speed_test.py TARGET_SPEED
"""

import os
import subprocess
import sys
import tempfile
import unittest


class SpeedTest(unittest.TestCase):

    def run_speed(self, *arguments):
        return subprocess.run([SPEED, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              check=False, env={**os.environ, "SHOOTDOWN_TRACE": "1"})

    def test_it_executes_as_often_as_it_is_told(self):
        with tempfile.TemporaryDirectory() as folder:
            for name in ("a", "b"):
                with open(os.path.join(folder, name), "wb") as file:
                    file.write(name.encode() * 40)
            run = self.run_speed("--executions", "7", folder)
        self.assertEqual(run.returncode, 0, run.stderr)
        rate = r"\d+ executions a second, \d+\.\d us each"
        self.assertRegex(run.stdout, rf"^default scenarios: {rate}; 500 inputs\n{folder}: {rate}; 2 inputs\n$")
        # Each input once before, as far as that many are asked for.
        self.assertEqual(run.stderr.count("SHOOTDOWN-TRACE"), 7 + 7 + 2 + 7)

    def test_it_refuses(self):
        for arguments in (["--executions", "0"], ["--executions"], ["--nosuch"], ["--executions", "1", "/nosuch"]):
            run = self.run_speed(*arguments)
            self.assertEqual(run.returncode, 2, arguments)
            self.assertRegex(run.stderr.splitlines()[-1], "^target_speed: ")
        self.assertEqual(self.run_speed("--help").returncode, 0)


if __name__ == "__main__":
    SPEED = sys.argv.pop()
    unittest.main()
