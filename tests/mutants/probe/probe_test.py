"""Tests that a mutant's header is what the compiler reads, and the clean one what others read."""

import subprocess
import sys
import unittest

CLEAN, MUTATED = sys.argv.pop(1), sys.argv.pop(1)


def output(program: str) -> str:
    return subprocess.run([program], stdout=subprocess.PIPE, text=True, check=True).stdout


class ProbeTest(unittest.TestCase):
    def test_clean(self):
        self.assertEqual(output(CLEAN), "program 1 library 1\n")

    def test_mutated_in_program_and_libraries(self):
        self.assertEqual(output(MUTATED), "program 77 library 77\n")


if __name__ == "__main__":
    unittest.main()
