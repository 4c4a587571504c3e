#!/usr/bin/python3
"""How the programs for people take what they are given: options, files, and a full disk.

usage: tools_test.py SEARCH EXPLORE BENCHMARK PROOF
"""

import os
import subprocess
import sys
import tempfile
import unittest

OK, FOUND, COULD_NOT = 0, 1, 2
SECONDS = 60



class ToolsTest(unittest.TestCase):

    def setUp(self):
        self.folder = self.enterContext(tempfile.TemporaryDirectory())
        self.env = {**os.environ, "BUILD_WORKING_DIRECTORY": self.folder}

    def run_tool(self, program, *arguments, **options):
        return subprocess.run([program, *arguments], env=self.env, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=SECONDS, check=False,
                              **options)

    def refused(self, program, *arguments):
        """The one line of a run that could not do its work."""
        run = self.run_tool(program, *arguments)
        name = os.path.basename(program).removesuffix("_bin")
        self.assertEqual((run.returncode, run.stdout), (COULD_NOT, ""), run.stderr)
        self.assertRegex(run.stderr, f"^{name}: [^\\n]*\\n$")
        return run.stderr

    def test_search_says_what_an_option_needs(self):
        for arguments, part in (
                (["--backend", "nosuch"], "--backend needs one of native, kvm, hyperv, xen, uv"),
                (["--backend"], "--backend needs one of"),
                (["--strategy", "nosuch"], "--strategy needs one of random, walk, pct, aimed"),
                (["--strategy", ""], "--strategy needs one of"),
                (["--turn", "nosuch"], "--turn needs up to 3 switches"),
                (["--turn", "pti+"], "--turn needs up to 3 switches"),
                (["--turn", "pti+nmi+tso+cxx"], "--turn needs up to 3 switches"),
                (["--turn"], "--turn needs up to 3 switches"),
                (["--seed", "-1"], "--seed needs a number from 0 to 18446744073709551615"),
                (["--seed", "18446744073709551616"], "--seed needs a number"),
                (["--seed", " 1"], "--seed needs a number"),
                (["--seed", "+1"], "--seed needs a number"),
                (["--seed", ""], "--seed needs a number"),
                (["--seed"], "--seed needs a number"),
                (["--executions", "0"], "--executions needs a number from 1 to"),
                (["--executions", "1e6"], "--executions needs a number from 1 to"),
                (["--cpus", "9"], "--cpus needs a number from 1 to 8"),
                (["--ops", "17"], "--ops needs a number from 1 to 16"),
                (["--deviations", "65"], "--deviations needs a number from 0 to 64"),
                (["--deviations", "99999999999999999999"], "--deviations needs a number"),
                (["--focus", "nosuch"], "--focus needs one of those that --list-focuses tells"),
                (["--focus"], "--focus needs one of"),
                (["--focus", "isolation", "--plain"], "--plain has no focus"),
                (["--exhaustive-chains", "3"], "--exhaustive-chains needs a number from 0 to 2"),
                (["--hashes", ""], "--hashes needs a file name"),
                (["--out"], "--out needs a file name"),
                (["--out", ""], "--out needs a file name"),
                (["--replay", "x", "--seed", "1"], "--replay takes no other option"),
                (["--model", "nosuch"], "unknown option --model"),
                (["word"], "no use for the word word")):
            with self.subTest(arguments=arguments):
                self.assertIn(part, self.refused(SEARCH, *arguments))

    def test_explore_says_what_an_option_needs(self):
        for arguments, part in (
                ([], "no file given"),
                (["--expect"], "--expect needs the name of an oracle"),
                (["--expect", "O99", PROOF], "--expect needs the name of an oracle"),
                (["--expect", "O", PROOF], "--expect needs the name of an oracle"),
                (["--deviations", "-1", PROOF], "--deviations needs a number from 0 to 4294967294"),
                (["--deviations", "4294967296", PROOF], "--deviations needs a number"),
                (["--samples", "4294967296", PROOF], "--samples needs a number"),
                (["--samples", "few", PROOF], "--samples needs a number"),
                ([PROOF, "--executions"], "--executions needs a number"),
                (["--sc", "--tso", PROOF], "only one of"),
                (["--model", "nosuch"], "unknown option --model")):
            with self.subTest(arguments=arguments):
                self.assertIn(part, self.refused(EXPLORE, *arguments))

    def test_explore_refuses_what_is_no_proof_before_it_explores_another(self):
        for content, part in ((b"", "line 1: the text is empty"),
                              (b"# A tool\nIt does things.\n", "line 2: expected 'shootdown-scenario 1'"),
                              (b"\xef\xbb\xbfshootdown-scenario 1\nconfig\n", "byte-order mark"),
                              (b"shootdown-scenario 1\nconfig\n", "no line says how to explore it"),
                              (b"# explore: setup=99999999999\nshootdown-scenario 1\nconfig\n",
                               "line 1: '99999999999' is no number"),
                              (b"# explore: setup=1\nshootdown-scenario 1\nconfig",
                               "the last line has no end")):
            with open(os.path.join(self.folder, "proof"), "wb") as file:
                file.write(content)
            self.assertIn(part, self.refused(EXPLORE, PROOF, "proof"))

    def test_an_output_that_cannot_be_written_ends_no_long_search(self):
        os.mkdir(os.path.join(self.folder, "sub"))
        for out in ("no/such/folder/x", "sub", "sub/"):
            # A search that began would not end in time.
            error = self.refused(SEARCH, "--executions", "1000000000", "--out", out)
            self.assertIn(out, error)

    def hashes(self, *options):
        run = self.run_tool(SEARCH, "--executions", "300", "--hashes", "hashes", *options)
        self.assertEqual((run.returncode, run.stderr), (OK, ""))
        with open(os.path.join(self.folder, "hashes"), "rb") as file:
            data = file.read()
        return [data[at:at + 8] for at in range(0, len(data), 8)]

    def test_each_run_has_the_hash_of_its_trace(self):
        first, other = self.hashes("--seed", "1"), self.hashes("--seed", "2")
        self.assertEqual((len(first), first[1:], self.hashes("--seed", "1")), (300, other[:-1], first))
        self.assertGreater(len(set(first)), 290)
        self.assertNotEqual(first, self.hashes("--seed", "1", "--focus", "isolation"))
        self.assertNotEqual(first, self.hashes("--seed", "1", "--plain"))

    def test_hashes_that_cannot_be_written(self):
        self.assertIn("no/such/hashes cannot be written", self.refused(SEARCH, "--executions", "1", "--hashes",
                                                                       "no/such/hashes"))

    def test_chains_are_counted_and_clean(self):
        run = self.run_tool(SEARCH, "--exhaustive-chains", "0", "--executions", "20000", "--seed", "0")
        self.assertEqual((run.returncode, run.stderr), (OK, ""), run.stdout)
        self.assertRegex(run.stdout, r"^20000 of 924948 families\nclean after 20000 executions, ")
        run = self.run_tool(SEARCH, "--exhaustive-chains", "1", "--executions", "20000", "--seed", "500")
        self.assertEqual((run.returncode, run.stderr), (OK, ""), run.stdout)
        self.assertRegex(run.stdout, r"^[567]\d\d of 924948 families\nclean after 20\d\d\d executions, ")

    def test_every_focus_can_be_searched(self):
        run = self.run_tool(SEARCH, "--list-focuses")
        self.assertEqual((run.returncode, run.stderr), (OK, ""))
        names = run.stdout.splitlines()
        self.assertIn("isolation, deferral", names)
        self.assertEqual(len(names), len(set(names)))
        for name in names:
            run = self.run_tool(SEARCH, "--focus", name, "--executions", "100")
            self.assertEqual((run.returncode, run.stderr), (OK, ""), run.stdout)

    def test_looking_whether_an_output_can_be_written_leaves_nothing(self):
        run = self.run_tool(SEARCH, "--executions", "1", "--out", "x.bin")
        self.assertEqual((run.returncode, run.stderr), (OK, ""))
        self.assertEqual(os.listdir(self.folder), [])

    def test_standard_output_that_cannot_be_written(self):
        for program, *arguments in ((SEARCH, "--help"), (SEARCH, "--executions", "1"),
                                    (EXPLORE, "--help"), (EXPLORE, "--samples", "1", PROOF)):
            with open("/dev/full", "w", encoding="utf-8") as full:
                run = subprocess.run([program, *arguments], stdout=full, stderr=subprocess.PIPE,
                                     text=True, timeout=SECONDS, check=False)
            name = os.path.basename(program).removesuffix("_bin")
            self.assertEqual(run.returncode, COULD_NOT)
            self.assertRegex(run.stderr, f"{name}: the output cannot be written[^\\n]*\\n$")

    def test_help_names_every_option(self):
        for program, options in ((SEARCH, ("seed", "executions", "cpus", "ops", "deviations", "strategy",
                                           "backend", "turn", "any-switch", "chains", "out", "replay",
                                           "plain", "focus", "list-focuses", "hashes", "exhaustive-chains",
                                           "progress")),
                                 (EXPLORE, ("sc", "tso", "cxx", "deviations", "executions", "samples",
                                            "expect"))):
            run = self.run_tool(program, "--help")
            self.assertEqual((run.returncode, run.stderr), (OK, ""))
            self.assertIn("exit status: 0", run.stdout)
            for option in options:
                self.assertIn("--" + option, run.stdout)

    def test_the_benchmark_could_not_do_its_work(self):
        one = "--benchmark_filter=generation"
        for arguments in (["--nosuch"], ["--benchmark_min_time=long"], ["--benchmark_filter=nosuch"],
                          [one, "--benchmark_out=no/such/folder/x"]):
            run = self.run_tool(BENCHMARK, *arguments)
            self.assertEqual(run.returncode, COULD_NOT, arguments)
            self.assertNotEqual(run.stderr, "")
        run = self.run_tool(BENCHMARK, one, "--benchmark_min_time=0.001", "--benchmark_out=x.json", cwd="/")
        self.assertEqual(run.returncode, OK, run.stderr)
        self.assertEqual(os.listdir(self.folder), ["x.json"])

    def test_paths_are_from_where_the_user_stands(self):
        with open(PROOF, encoding="utf-8") as file:
            text = file.read()
        with open(os.path.join(self.folder, "mine.txt"), "w", encoding="utf-8") as file:
            file.write(text)
        run = self.run_tool(EXPLORE, "--executions", "1", "mine.txt", cwd="/")
        self.assertIn("mine.txt: ", run.stdout)
        run = self.run_tool(SEARCH, "--replay", "mine.txt", cwd="/")
        self.assertEqual((run.returncode, run.stderr), (OK, ""))
        self.assertIn("INTERLEAVING", run.stdout)


if __name__ == "__main__":
    SEARCH, EXPLORE, BENCHMARK, PROOF = map(os.path.abspath, sys.argv[1:])
    unittest.main(argv=sys.argv[:1], verbosity=2)
