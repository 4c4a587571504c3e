"""Tests of reading and applying patches."""

import tempfile
import unittest
from pathlib import Path

from tests.mutants import mutant

HEADER = {
    "museum": "27", "title": "late", "year": "2020", "reference": "FreeBSD", "rule": "R1",
    "oracles": "O1, O2", "story": "cpu0 waits", "needs": "TLB", "bochs": "no",
}
DIFF = """\
--- a/core/x.h
+++ b/core/x.h
@@ -1,3 +1,3 @@
 one
-two
+deux
 three
"""


class MutantTest(unittest.TestCase):
    def setUp(self):
        self.home = Path(self.enterContext(tempfile.TemporaryDirectory()))

    def write(self, diff: str = DIFF, extra: str = "", **changes: str | None) -> Path:
        header = {**HEADER, **changes}
        lines = [f"# {field}: {text}\n" for field, text in header.items() if text is not None]
        path = self.home / "m27.patch"
        path.write_text("".join(lines) + extra + diff)
        return path

    def assert_wrong(self, message: str, path: Path):
        with self.assertRaisesRegex(mutant.MutantError, message):
            mutant.read(path)

    def test_all_fields(self):
        read = mutant.read(self.write(extra="# story: and cpu1 does not\n"))
        self.assertEqual((read.name, read.museum, read.oracles), ("m27", 27, ["O1", "O2"]))
        self.assertEqual(read.story, "cpu0 waits and cpu1 does not")
        self.assertEqual((read.files, read.changed_lines, read.bochs), (["core/x.h"], 2, "no"))
        self.assertEqual(read.cause, "")

    def test_the_cause_may_be_left_out(self):
        self.assertEqual(mutant.read(self.write(cause="CPU 1: waits")).cause, "CPU 1: waits")
        self.assert_wrong("'cause: cpu1 waits' should look like", self.write(cause="cpu1 waits"))

    def test_rules(self):
        for rule in ("R13", "M20", "I7", "contract", "hardware", "none"):
            self.assertEqual(mutant.read(self.write(rule=rule)).rule, rule)

    def test_missing_fields_are_named_together(self):
        self.assert_wrong("'year' is missing; the field 'needs' is missing",
                          self.write(year=None, needs=None))

    def test_wrong_values(self):
        for field, text in {"year": "long ago", "rule": "R14", "oracles": "O1 O2", "bochs": "maybe",
                            "museum": "27b"}.items():
            with self.subTest(field):
                self.assert_wrong(f"'{field}: {text}' should look like",
                                  self.write(**{field: text}))

    def test_what_the_emulated_machine_shows(self):
        for text in ("yes", "no", "no: it is below", "not surely: it is rare"):
            with self.subTest(text):
                self.assertEqual(mutant.read(self.write(bochs=text)).bochs, text)
        # A doubt needs its reason.
        self.assert_wrong("'bochs: not surely' should look like", self.write(bochs="not surely"))

    def test_unknown_and_repeated_fields(self):
        self.assert_wrong("line 10: unknown field 'author'", self.write(extra="# author: me\n"))
        self.assert_wrong("'title' is given twice", self.write(extra="# title: again\n"))
        self.assert_wrong("line 10 is not", self.write(extra="text\n"))

    def test_no_diff(self):
        self.assert_wrong("a unified diff must follow", self.write(diff=""))

    def test_only_the_code_under_test_may_change(self):
        self.assert_wrong("it changes fuzz/oracles/oracles.cc",
                          self.write(diff=DIFF.replace("core/x.h", "fuzz/oracles/oracles.cc")))

    def test_file_names_without_prefix(self):
        self.assert_wrong("needs the lines", self.write(diff=DIFF.replace("a/core", "core")))

    def test_too_large(self):
        self.assert_wrong("41 lines change", self.write(diff=DIFF + "+more\n" * 39))

    def test_apply(self):
        file = self.home / "core/x.h"
        file.parent.mkdir()
        file.write_text("one\ntwo\nthree\n")
        mutant.apply(self.write(), self.home, dry_run=True)
        self.assertEqual(file.read_text(), "one\ntwo\nthree\n")
        mutant.apply(self.write(), self.home)
        self.assertEqual(file.read_text(), "one\ndeux\nthree\n")

    def test_apply_finds_moved_lines_but_not_changed_ones(self):
        file = self.home / "core/x.h"
        file.parent.mkdir()
        file.write_text("zero\none\ntwo\nthree\n")
        mutant.apply(self.write(), self.home)
        self.assertEqual(file.read_text(), "zero\none\ndeux\nthree\n")
        file.write_text("one\ntwo\nfour\n")
        with self.assertRaisesRegex(mutant.MutantError, "m27.patch does not apply"):
            mutant.apply(self.write(), self.home)
        self.assertEqual(file.read_text(), "one\ntwo\nfour\n")


if __name__ == "__main__":
    unittest.main()
