#!/usr/bin/python3
"""The litmus runner as a program.

usage: cli_test.py LITMUS
"""

import os
import subprocess
import sys
import tempfile
import unittest

LITMUS = None
OK, UNEXPECTED, WRONG = 0, 1, 2
# Far longer than any run takes: a hang fails instead of blocking.
SECONDS = 60

STORE_BUFFERING = """X86 SB
Expect=sc:{sc} tso:{tso}
{{ x=0; y=0; }}
 P0          | P1          ;
 MOV [x],$1  | MOV [y],$1  ;
 MOV EAX,[y] | {second} ;
exists (0:EAX=0 /\\ 1:EAX=0)
"""

LOAD_BUFFERING = """X86 LB
Expect=sc:Never tso:Never cxx:Sometimes
{ x=0; y=0; }
 P0          | P1          ;
 MOV EAX,[x] | MOV EAX,[y] ;
 MOV [y],$1  | MOV [x],$1  ;
exists (0:EAX=1 /\\ 1:EAX=1)
"""


def test_text(sc="Never", tso="Sometimes", second="MOV EAX,[x]"):
    return STORE_BUFFERING.format(sc=sc, tso=tso, second=second)


class LitmusTest(unittest.TestCase):

    def setUp(self):
        folder = tempfile.TemporaryDirectory(dir=os.environ.get("TEST_TMPDIR"))
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def file(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as out:
            out.write(text)
        return path

    def litmus(self, *arguments):
        environment = {key: value for key, value in os.environ.items() if key != "BUILD_WORKING_DIRECTORY"}
        return subprocess.run([LITMUS, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              timeout=SECONDS, check=False, text=True, env=environment)

    def test_runs_the_modes_that_the_test_names(self):
        done = self.litmus(self.file("SB.litmus", test_text()))
        self.assertEqual(done.returncode, OK, done.stderr)
        self.assertIn("Observation SB Never 0 3\n", done.stdout)
        self.assertIn("Observation SB Sometimes 1 3\n", done.stdout)
        self.assertIn("Explored memory sc, 3 executions", done.stdout)
        self.assertIn("Explored memory tso, 4 executions", done.stdout)

    def test_memory_and_plain(self):
        path = self.file("SB.litmus", test_text())
        done = self.litmus("--memory", "sc", "--plain", path)
        self.assertEqual(done.returncode, OK, done.stderr)
        self.assertNotIn("Explored memory tso", done.stdout)
        self.assertIn("every interleaving, one by one", done.stdout)

    def test_memory_cxx(self):
        done = self.litmus("--memory", "cxx", self.file("LB.litmus", LOAD_BUFFERING))
        self.assertEqual(done.returncode, OK, done.stderr)
        self.assertIn("Observation LB Sometimes 1 3\n", done.stdout)
        self.assertIn("Explored memory cxx, 4 executions", done.stdout)
        self.assertIn("of each of 1 orders that stand for all that a compiler may choose", done.stdout)

    def test_memory_all(self):
        done = self.litmus("--memory", "all", self.file("LB.litmus", LOAD_BUFFERING))
        for mode in ("sc", "tso", "cxx"):
            self.assertIn(f"Explored memory {mode},", done.stdout)

    def test_orders_that_make_no_sense_are_named(self):
        path = self.file("bad.litmus", test_text(second="MOV.rel EAX,[x]"))
        done = self.litmus(path)
        self.assertEqual(done.returncode, WRONG)
        self.assertEqual(done.stderr, f"{path}:6: instruction 'MOV.rel EAX,[x]' is not supported: "
                                      "a load does not release\n")

    def test_what_cxx_cannot_do_is_named(self):
        path = self.file("bad.litmus", test_text(second="CMPXCHG [x],EAX"))
        done = self.litmus("--memory", "cxx", path)
        self.assertEqual(done.returncode, WRONG)
        self.assertEqual(done.stderr, f"{path}: memory cxx: 'CMPXCHG [x],EAX' is not supported in memory cxx: "
                                      "CMPXCHG without LOCK\n")

    def test_a_wrong_expectation_fails(self):
        good = self.file("good.litmus", test_text())
        for wrong in (test_text(sc="Sometimes"), test_text(tso="Never"), test_text(tso="Always")):
            done = self.litmus(good, self.file("wrong.litmus", wrong))
            self.assertEqual(done.returncode, UNEXPECTED, done.stdout)
            self.assertIn(": NO\n", done.stdout)
            self.assertIn("2 tests, 4 runs: 1 not as expected, 0 without a result", done.stdout)

    def test_unknown_instructions_are_named(self):
        path = self.file("bad.litmus", test_text(second="CLFLUSH [x]"))
        done = self.litmus(path, self.file("SB.litmus", test_text()))
        self.assertEqual(done.returncode, WRONG)
        self.assertEqual(done.stderr, f"{path}:6: instruction 'CLFLUSH [x]' is not supported: "
                                      "'clflush' is unknown here\n")
        self.assertIn("Observation SB", done.stdout, "the other file runs all the same")

    def test_files_that_cannot_be_read(self):
        for path in (os.path.join(self.folder, "none"), self.folder):
            done = self.litmus(path)
            self.assertEqual(done.returncode, WRONG)
            self.assertEqual(done.stderr, f"{path}: cannot be read\n")

    def test_an_incomplete_run_has_no_result(self):
        done = self.litmus("--limit", "1", self.file("SB.litmus", test_text()))
        self.assertEqual(done.returncode, WRONG)
        self.assertIn("stopped before its end", done.stdout)

    def test_usage(self):
        self.assertIn("usage: litmus", self.litmus("--help").stdout)
        for arguments in ([], ["--memory"], ["--memory", "pso", "f"], ["--limit", "1x", "f"], ["--wat"]):
            done = self.litmus(*arguments)
            self.assertEqual(done.returncode, WRONG, arguments)
            self.assertTrue(done.stderr.startswith("litmus: "), done.stderr)


if __name__ == "__main__":
    LITMUS = os.path.abspath(sys.argv.pop(1))
    unittest.main()
