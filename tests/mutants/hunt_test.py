"""Tests of the verdicts on searches, with scripts in the place of the search programs."""

import contextlib
import io
import tempfile
import unittest
from pathlib import Path

from tests.mutants import hunt

PATCH = """\
# museum: 1
# title: t
# year: 2020
# reference: r
# rule: R1
# oracles: O1, O2
# story: s
# needs: n
# bochs: no
--- a/core/x.h
+++ b/core/x.h
@@ -1 +1 @@
-a
+b
"""


class HuntTest(unittest.TestCase):
    def setUp(self):
        self.home = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.patch = self.home / "m1.patch"
        self.patch.write_text(PATCH)

    def hunt(self, kind: str, script: str, with_patch: bool = True,
             options: tuple[str, ...] = ()) -> tuple[int, str]:
        program = self.home / "program"
        program.write_text("#!/bin/sh\n" + script)
        program.chmod(0o755)
        patch = ["--patch", str(self.patch)] if with_patch else []
        with contextlib.redirect_stdout(io.StringIO()) as output:
            status = hunt.main([f"--{kind}", str(program), "--executions", "100", "--seeds", "1",
                                "2", *patch, *options])
        return status, output.getvalue()

    def test_found_by_the_right_oracle(self):
        status, output = self.hunt("search", "echo found O2 a title after 17 executions; exit 1")
        self.assertEqual(status, 0, output)
        self.assertIn("seed 2: O2 a title after 17 executions", output)

    def test_is_told_how_to_search(self):
        script = ('case "$*" in *"--strategy aimed --turn tso --turn pti"*)\n'
                  "echo found O1 x after 1 executions; exit 1;; esac\n"
                  "echo clean after 100 executions, 5 operations\n")
        options = ("--strategy", "aimed", "--turn", "tso", "--turn", "pti")
        self.assertEqual(self.hunt("search", script, options=options)[0], 0)
        self.assertEqual(self.hunt("search", script)[0], 1)

    def test_mutants_are_searched_for_in_plain_scenarios_and_the_clean_core_everywhere(self):
        plain = 'case "$*" in *--plain*) echo found O2 x after 1 executions; exit 1;; esac\n'
        quiet = "echo clean after 100 executions, 5 operations"
        self.assertEqual(self.hunt("search", plain + quiet)[0], 0)
        self.assertEqual(self.hunt("search", plain + quiet, with_patch=False)[0], 0)

    def test_with_a_focus_scenarios_are_not_plain(self):
        script = ('case "$*" in *--plain*) exit 2;; *"--focus broadcast_batches"*)\n'
                  "echo found O1 x after 1 executions; exit 1;; esac\nexit 2\n")
        self.assertEqual(self.hunt("search", script, options=("--focus", "broadcast_batches"))[0], 0)

    def test_counts_are_compared_with_what_is_published(self):
        (self.home / "docs").mkdir()
        script = "echo found O1 x after 1700 executions; exit 1"
        options = ("--strategy", "random", "--chains", "--published", str(self.home))
        for row, status in [("| `m1` | `--chains` | 1,700 / 1,700 |", 0), ("| `m1` | none | 1,700 / 1,700 |", 1),
                            ("| `m1` | `--chains` | 1,700 / 1,701 |", 1), ("| `m2` | `--chains` | 1 |", 1)]:
            (self.home / "docs/executions.md").write_text(f"| mutant | options | executions |\n|---|---|---|\n{row}\n")
            found, output = self.hunt("search", script, options=options)
            self.assertEqual(found > 0, status > 0, output)
            self.assertEqual("refresh" in output, status > 0, output)

    def test_found_by_another_oracle(self):
        status, output = self.hunt("search", "echo found O3 a title after 17 executions; exit 1")
        self.assertEqual(status, 1)
        self.assertIn("the patch names only the oracles O1, O2", output)

    def test_not_found(self):
        status, output = self.hunt("search", "echo clean after 100 executions, 5 operations")
        self.assertEqual(status, 1)
        self.assertIn("not found within 100 executions", output)

    def test_found_from_one_seed_only(self):
        status, output = self.hunt("search", 'case "$*" in *"--seed 1 "*)\n'
                                   "echo found O1 x after 1 executions; exit 1;; esac\n"
                                   "echo clean after 100 executions, 5 operations\n")
        self.assertEqual(status, 1, output)

    def test_clean_core(self):
        quiet = "echo clean after 100 executions, 5 operations"
        self.assertEqual(self.hunt("search", quiet, with_patch=False)[0], 0)
        status, output = self.hunt("search", "echo found O1 x after 9 executions; exit 1",
                                   with_patch=False)
        self.assertEqual(status, 1)
        self.assertIn("but the core is clean", output)

    def test_search_that_breaks_down_is_no_result(self):
        for script in ("exit 3", "echo clean; exit 0", "kill -SEGV $$", "echo clean after 99 executions, 5 operations"):
            with self.subTest(script):
                self.assertEqual(self.hunt("search", script, with_patch=False)[0], 1)

    def test_libfuzzer(self):
        found = ("echo 'SHOOTDOWN-FAILURE: O1 a title'\n"
                 "echo 'stat::number_of_executed_units: 42'; exit 77\n")
        status, output = self.hunt("libfuzzer", found)
        self.assertEqual(status, 0, output)
        self.assertIn("O1 a title after 42 executions", output)
        quiet = "echo 'stat::number_of_executed_units: 100'"
        self.assertEqual(self.hunt("libfuzzer", quiet)[0], 1)
        self.assertEqual(self.hunt("libfuzzer", quiet, with_patch=False)[0], 0)

    def test_libfuzzer_that_breaks_down_is_no_result(self):
        for script in ("exit 1", "echo 'stat::number_of_executed_units: 5'; exit 1",
                       "echo 'stat::number_of_executed_units: 99'"):
            with self.subTest(script):
                self.assertEqual(self.hunt("libfuzzer", script, with_patch=False)[0], 1)


if __name__ == "__main__":
    unittest.main()
