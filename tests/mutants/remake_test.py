"""Tests what the remaking of a scenario says when it does not come about, with scripts as programs."""

import contextlib
import io
import os
import tempfile
import unittest
from pathlib import Path

from tests.mutants import hunt, remake

_HEADER = """\
# museum: 7
# title: t
# year: 2020
# reference: r
# rule: R1
# oracles: O5
# story: s
# needs: n
# bochs: no
--- a/core/x.h
+++ b/core/x.h
@@ -1 +1 @@
-a
+b
"""
_FOUND = "for word; do last=$word; done; touch $last; echo found O5 t after 3 executions; exit 1"
_MINIMISE = "echo shootdown-scenario 1 >$4"


class RemakeTest(unittest.TestCase):
    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.enterContext(contextlib.chdir(self.folder))
        self.enterContext(contextlib.redirect_stdout(io.StringIO()))
        Path("tests/mutants/scenarios").mkdir(parents=True)
        Path("tests/mutants/m07_t.patch").write_text(_HEADER)

    def fake(self, name: str, script: str):
        Path(name).write_text(f"#!/bin/sh\n{script}\n")
        os.chmod(name, 0o755)

    def remake(self, search: str, reproduce: str = "exit 0", clean: str = "exit 0") -> str | None:
        self.fake("m07_t_search", search)
        self.fake("m07_t_reproduce", f"if [ $1 = --title ]; then\n{reproduce}\nfi\n{_MINIMISE}")
        self.fake("clean", clean)
        return remake.remake(self.folder, "m07_t", self.folder / "clean", 2, [])

    def test_written(self):
        self.assertIsNone(self.remake(_FOUND, "echo O5 t; exit 1"))
        self.assertEqual(Path("tests/mutants/scenarios/m07_t.txt").read_text(), "shootdown-scenario 1\n")

    def test_not_found(self):
        self.assertEqual(self.remake("echo clean after 9 executions"), "NOT FOUND in 2 searches")

    def test_found_as_something_else(self):
        self.assertEqual(self.remake(_FOUND, "echo O6 u; exit 1"),
                         "FOUND 2 times, but as O6 u, which the patch does not name")
        self.assertEqual(self.remake(_FOUND, "echo O5 t; exit 1", "echo O7 v; exit 1"),
                         "FOUND 2 times, but as O5 t, and the clean core is reported, too: O7 v")
        self.assertFalse(Path("tests/mutants/scenarios/m07_t.txt").exists())

    def test_a_search_that_dies_has_not_searched(self):
        for script in ("exit 2", "kill -SEGV $$", "exit 0"):
            with self.subTest(script), self.assertRaisesRegex(hunt.HuntError, "m07_t_search ended with status"):
                self.remake(script)

    def test_a_find_that_is_not_minimised(self):
        self.fake("m07_t_search", _FOUND)
        self.fake("m07_t_reproduce", "echo cannot >&2; exit 2")
        with self.assertRaisesRegex(hunt.HuntError, "does not minimise what seed 1 has found:\ncannot"):
            remake.remake(self.folder, "m07_t", self.folder / "clean", 1, [])


if __name__ == "__main__":
    unittest.main()
