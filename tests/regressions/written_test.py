"""A regression test is what the reproducer writes of a scenario, and fails where its bug is.

usage: written_test.py JOINT_REPRODUCE JOINT_REGRESSION SCENARIO WRITTEN
"""

import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

REPRODUCE, REGRESSION, SCENARIO, WRITTEN = map(os.path.abspath, sys.argv[1:5])
del sys.argv[1:]
_MUTANT = Path(SCENARIO).stem
_START = "from fuzz.campaign import ending, reproduce; ending.run('reproduce', reproduce.main)"


def _with(mutant: str) -> dict[str, str]:
    return os.environ | {"SHOOTDOWN_MUTANT": mutant, "PYTHONPATH": ":".join(path for path in sys.path if path)}


class WrittenTest(unittest.TestCase):
    def test_the_file_is_what_is_written(self):
        with tempfile.TemporaryDirectory() as folder:
            run = subprocess.run([sys.executable, "-c", _START, "--binary", REPRODUCE, "--cpp", "x.cc", SCENARIO],
                                 env=_with(_MUTANT) | {"BUILD_WORKING_DIRECTORY": folder}, cwd="/", check=False)
            self.assertEqual(run.returncode, 1)
            self.assertEqual(Path(folder, "x.cc").read_text(), Path(WRITTEN).read_text())

    def test_it_fails_where_the_bug_is_and_nowhere_else(self):
        for mutant, status in ((_MUTANT, 1), ("m21_cpu0_means_none", 0)):
            run = subprocess.run([REGRESSION], env=_with(mutant), stderr=subprocess.PIPE, text=True, check=False)
            self.assertEqual(run.returncode, status, run.stderr)
            self.assertEqual("O1 a flush returns" in run.stderr, status == 1)


if __name__ == "__main__":
    unittest.main()
