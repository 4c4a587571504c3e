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
        self.assertEqual(done.stderr, f"{path}:6:16: instruction 'MOV.rel EAX,[x]' is not supported: "
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
        self.assertEqual(done.stderr, f"{path}:6:16: instruction 'CLFLUSH [x]' is not supported: "
                                      "'clflush' is unknown here; known are add, and, bt, btr, bts, cli, cmp, "
                                      "cmpxchg, dec, endbr64, fetch, inc, invlpg, invlpgb, invpcid, ipi, jmp, lea, "
                                      "lfence, mfence, mov, movabs, movsx, movsxd, movzx, neg, nop, not, or, pause, "
                                      "ret, sfence, sti, sub, test, tlbsync, xadd, xchg, xor, Jcc, SETcc and CMOVcc, "
                                      "with AT&T's suffixes\n")
        self.assertIn("Observation SB", done.stdout, "the other file runs all the same")

    def test_files_that_cannot_be_read(self):
        path = os.path.join(self.folder, "none")
        done = self.litmus(path)
        self.assertEqual(done.returncode, WRONG)
        self.assertEqual(done.stderr, f"{path}: cannot be read: No such file or directory\n")

    def test_a_folder_is_all_tests_in_it(self):
        done = self.litmus(self.folder)
        self.assertEqual(done.returncode, WRONG)
        self.assertEqual(done.stderr, f"{self.folder}: there is no file *.litmus in it\n")
        os.mkdir(os.path.join(self.folder, "inner"))
        self.file("b.litmus", test_text())
        self.file("inner/a.litmus", test_text(sc="Always"))
        self.file("note.txt", "no test")
        done = self.litmus(self.folder)
        self.assertEqual(done.returncode, UNEXPECTED, done.stderr)
        self.assertTrue(done.stdout.endswith("2 tests, 4 runs: 1 not as expected, 0 without a result\n"))
        self.file("c.litmus", test_text(second="MOV EAX,[x"))
        done = self.litmus(self.folder)
        self.assertEqual(done.returncode, WRONG)
        self.assertIn("c.litmus:6:", done.stderr)
        self.assertTrue(done.stdout.endswith("3 tests, 4 runs: 1 not as expected, 1 without a result\n"))

    def test_lists_name_files_and_other_lists(self):
        os.mkdir(os.path.join(self.folder, "inner"))
        self.file("a.litmus", test_text())
        self.file("inner/b.litmus", test_text())
        self.file("inner/@all", "# diy7 writes such lists\nb.litmus\n\n")
        path = self.file("@all", "a.litmus\ninner/@all\n")
        done = self.litmus(path)
        self.assertEqual(done.returncode, OK, done.stderr)
        self.assertTrue(done.stdout.endswith("2 tests, 4 runs: 0 not as expected, 0 without a result\n"))
        done = self.litmus(self.file("@loop", "@loop\n"))
        self.assertEqual(done.returncode, WRONG)
        self.assertIn("lists name each other", done.stderr)
        self.assertEqual(self.litmus(os.path.join(self.folder, "@none")).returncode, WRONG)

    def test_a_file_without_end_is_refused_at_once(self):
        done = self.litmus("/dev/zero")
        self.assertEqual(done.returncode, WRONG)
        self.assertIn("too long for a litmus test, which has 65536 bytes at most", done.stderr)

    def test_a_long_file_is_refused_and_the_longest_is_read_fast(self):
        rows = " MOV EAX,[x] ;\n"
        for count, why in ((100_000, "too long for a litmus test"), (3_000, "1000 instructions at most")):
            path = self.file("long.litmus", "X86 long\n{ x=0; }\n P0 ;\n" + rows * count + "exists (0:EAX=1)\n")
            done = self.litmus(path)
            self.assertEqual(done.returncode, WRONG)
            self.assertIn(why, done.stderr)

    def test_line_ends_and_byte_order_mark_of_other_systems(self):
        path = os.path.join(self.folder, "SB.litmus")
        with open(path, "wb") as out:
            out.write(b"\xef\xbb\xbf" + test_text().replace("\n", "\r\n").encode())
        done = self.litmus(path)
        self.assertEqual(done.returncode, OK, done.stderr)
        self.assertIn("Observation SB Sometimes 1 3\n", done.stdout)

    def test_output_that_cannot_be_written(self):
        path = self.file("SB.litmus", test_text())
        for arguments in ([path], ["--help"]):
            with open("/dev/full", "w", encoding="utf-8") as full:
                done = subprocess.run([LITMUS, *arguments], stdout=full, stderr=subprocess.PIPE,
                                      timeout=SECONDS, check=False, text=True)
            self.assertEqual(done.returncode, WRONG)
            self.assertEqual(done.stderr, "litmus: the output cannot be written: No space left on device\n")

    def test_problems_at_run_time_name_the_place(self):
        path = self.file("bad.litmus", test_text(second="MOV EAX,[EBX]"))
        done = self.litmus("--memory", "tso", path)
        self.assertEqual(done.returncode, WRONG)
        self.assertEqual(done.stderr, f"{path}:6:16: memory tso: 'MOV EAX,[EBX]': an access to an address "
                                      "without a location: 0x0\n")
        self.assertEqual(done.stdout, "", "no verdict")

    def test_warnings_do_not_change_the_status(self):
        path = self.file("SB.litmus", test_text().replace("1:EAX=0", "1:EBX=0"))
        done = self.litmus(path)
        self.assertIn(f"{path}:7:20: warning: '1:EBX' is 0 throughout", done.stderr)
        self.assertEqual(done.returncode, UNEXPECTED, "sc has the rest of it")

    def test_a_long_exploration_says_how_far_it_is(self):
        rows = "".join(" INC [x] | INC [x] ;\n" for _ in range(8))
        path = self.file("long.litmus", "X86 long\n{ x=0; }\n P0 | P1 ;\n" + rows + "exists (x=1)\n")
        done = self.litmus("--memory", "sc", "--limit", "3000", "--progress", "0", path)
        self.assertEqual(done.stderr, f"{path}: memory sc: 1024 executions so far\n"
                                      f"{path}: memory sc: 2048 executions so far\n"
                                      f"{path}: memory sc: stopped after 3000 executions; --limit allows more\n")
        self.assertEqual(done.returncode, WRONG)
        self.assertEqual(self.litmus("--memory", "sc", "--limit", "30", path).stderr.count("so far"), 0)

    def test_a_test_without_a_verdict_has_no_result(self):
        for code, condition, why in (("L: JMP L", "exists (x=1)", "no execution ends"),
                                     ("MOV EAX,[x]", "filter (0:EAX=7) exists (x=1)", "no execution counts")):
            path = self.file("bad.litmus", f"X86 bad\n{{ x=0; }}\n P0 ;\n {code} ;\n{condition}\n")
            done = self.litmus("--memory", "sc", path)
            self.assertEqual(done.returncode, WRONG)
            self.assertIn(why, done.stderr)

    def test_an_incomplete_run_has_no_result(self):
        done = self.litmus("--limit", "1", self.file("SB.litmus", test_text()))
        self.assertEqual(done.returncode, WRONG)
        self.assertIn("stopped before its end", done.stdout)

    def test_usage(self):
        self.assertIn("usage: litmus", self.litmus("--help").stdout)
        for arguments in ([], ["--memory"], ["--memory", "pso", "f"], ["--limit", "1x", "f"], ["--wat"],
                          ["--unroll", "1001", "f"], ["--unroll", "4294967296", "f"], ["--progress", "f"]):
            done = self.litmus(*arguments)
            self.assertEqual(done.returncode, WRONG, arguments)
            self.assertTrue(done.stderr.startswith("litmus: "), done.stderr)


if __name__ == "__main__":
    LITMUS = os.path.abspath(sys.argv.pop(1))
    unittest.main()
