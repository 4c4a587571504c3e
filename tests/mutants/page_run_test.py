"""Tests that the interleaving and the verdict of every page are those of a run of its scenario.

usage: page_run_test.py JOINT_REPRODUCE UNITS
"""

import os
import subprocess
import sys
import unittest
from pathlib import Path

from tests.mutants import mutant, pages

_PROGRAM, _UNITS = os.path.realpath(sys.argv[1]), [pair.partition("=")[0] for pair in sys.argv[2].split(",")]
del sys.argv[1:]
# The tree itself, not Bazel's links to a part of it.
os.chdir(Path(os.path.realpath(__file__)).parents[2])


class PageRunTest(unittest.TestCase):
    def test_every_interleaving_is_that_of_a_run(self):
        read = [mutant.read(patch) for patch in sorted(Path("tests/mutants").glob("*.patch"))]
        told = [one for one in read if one.name not in _UNITS]
        self.assertGreater(len(told), 90)
        for one in told:
            with self.subTest(one.name):
                run = subprocess.run([_PROGRAM, pages.scenario_of(one.name)], capture_output=True, text=True,
                                     check=False, env=os.environ | {"SHOOTDOWN_MUTANT": one.name})
                self.assertEqual(run.returncode, 1, run.stderr)
                self.assertEqual(pages.kept(one), pages.told_by(run.stdout, one.cause),
                                 f"bazel run //tests/mutants:pages -- {one.name}")


if __name__ == "__main__":
    unittest.main()
