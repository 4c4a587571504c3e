#!/usr/bin/python3
"""The program that holds all mutants behaves as the clean core, as the patched one, or refuses to run.

usage: joint_program_test.py CLEAN_SEARCH JOINT_SEARCH LINK ALONE DETERMINISM

LINK is JOINT_SEARCH under the name of a mutant, ALONE the search with that mutant's patch applied as it is, and
DETERMINISM the test of that name with all mutants inside.
"""

import os
import re
import subprocess
import sys
import unittest
from pathlib import Path

_MUTANT = "m62_record_looked_for_where_it_was"
_OTHER = "m42_partial_with_gap"
_SEARCH = ["--seed", "1", "--deviations", "32", "--backend", "kvm"]


class JointProgramTest(unittest.TestCase):
    def run_program(self, program: str, *options: str, mutant: str | None = None) -> tuple[int, str]:
        env = {key: value for key, value in os.environ.items() if key != "SHOOTDOWN_MUTANT"}
        if mutant is not None:
            env["SHOOTDOWN_MUTANT"] = mutant
        run = subprocess.run([program, *options], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                             check=False)
        # The replay's command names the program.
        return run.returncode, re.sub(r"(?m)^  /.*\n", "", run.stdout)

    def test_without_a_mutant_it_is_the_clean_core(self):
        options = ["--seed", "1", "--executions", "3000"]
        status, output = self.run_program(CLEAN, *options)
        self.assertRegex(output, r"^clean after 3000 executions, \d+ visible operations\n$")
        self.assertEqual(self.run_program(JOINT, *options, mutant="none"), (status, output))

    def test_without_a_mutant_the_traces_are_the_clean_cores(self):
        status, output = self.run_program(DETERMINISM, mutant="none")
        self.assertEqual(status, 0, output)
        self.assertIn("[  PASSED  ]", output)

    def test_with_a_mutant_it_is_the_patched_core(self):
        status, output = self.run_program(ALONE, *_SEARCH, "--executions", "10000")
        self.assertRegex(output, r"^found O\d+ .* after \d+ executions\n")
        self.assertEqual(status, 1)
        for program, mutant in ((LINK, None), (JOINT, _MUTANT), (LINK, _MUTANT)):
            self.assertEqual(self.run_program(program, *_SEARCH, "--executions", "10000", mutant=mutant), (1, output))
        self.assertNotEqual(self.run_program(JOINT, *_SEARCH, "--executions", "10000", mutant=_OTHER)[1], output)

    def test_it_never_runs_another_core_than_is_asked_for(self):
        for program, mutant, why in ((JOINT, None, r"say which one runs by SHOOTDOWN_MUTANT=NAME"),
                                     (JOINT, "m42_partial", r"SHOOTDOWN_MUTANT=m42_partial: tests/mutants has no such"),
                                     (JOINT, "", r"SHOOTDOWN_MUTANT=: tests/mutants has no such patch"),
                                     (LINK, _OTHER, rf"SHOOTDOWN_MUTANT={_OTHER} contradicts the program's name"),
                                     (LINK, "none", r"contradicts the program's name")):
            with self.subTest(why):
                status, output = self.run_program(program, "--seed", "1", mutant=mutant)
                self.assertEqual(status, 2)
                self.assertRegex(output, rf"^{Path(program).name}: .*{why}")


if __name__ == "__main__":
    CLEAN, JOINT, LINK, ALONE, DETERMINISM = map(os.path.abspath, sys.argv[1:])
    unittest.main(argv=sys.argv[:1], verbosity=2)
