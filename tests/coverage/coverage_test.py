"""Tests that every line is executed or has a reason not to be, and that the judgement can fail."""

import unittest

from tests.coverage import coverage, lcov

LCOV = """\
SF:core/a.h
DA:1,4
DA:2,0
DA:2,3
DA:3,0
end_of_record
SF:tests/a_test.cc
DA:1,0
end_of_record
"""
SOURCES = {"core/a.h": ["int a() {", "  return 1;", "  not_reached();"]}
MISSED = ("core/a.h", "not_reached();")


class JudgeTest(unittest.TestCase):
    def setUp(self):
        self.files = lcov.parse(LCOV)

    def judge(self, sources=None, **exceptions):
        return coverage.judge(self.files, sources or SOURCES, exceptions.get("exceptions", {}))

    def test_a_line_executed_in_one_program_is_executed(self):
        self.assertEqual(self.files["core/a.h"].missed, [3])

    def test_a_line_never_executed_is_wrong(self):
        self.assertEqual(self.judge(), ["core/a.h:3: never executed: not_reached();"])

    def test_unless_it_has_a_reason(self):
        self.assertEqual(self.judge(exceptions={MISSED: "why"}), [])

    def test_a_reason_for_a_line_that_is_executed_is_wrong(self):
        exceptions = {MISSED: "why", ("core/a.h", "return 1;"): "why"}
        self.assertIn("is executed, or gone", self.judge(exceptions=exceptions)[0])

    def test_a_file_that_no_program_contains_is_wrong(self):
        sources = SOURCES | {"core/b.h": ["int b();"]}
        wrong = self.judge(sources, exceptions={MISSED: "why"})
        self.assertEqual(wrong, ["core/b.h: nothing of it is in any program measured"])

    def test_exceptions_need_a_reason(self):
        with self.assertRaisesRegex(coverage.CoverageError, "line 2"):
            coverage.read_exceptions("# comment\ncore/a.h | code\n")


class ProjectTest(unittest.TestCase):
    def test_every_line_is_executed_or_has_a_reason(self):
        self.assertEqual(coverage.main(["--no-html"]), 0, "see the lines above")

    def test_a_corpus_that_is_not_there(self):
        self.assertEqual(coverage.main(["--no-html", "--corpus", "not/there"]), 2)


if __name__ == "__main__":
    unittest.main()
