"""Tests of what a survey tells: which lines are changed, and where searches should look."""

import unittest

from tests.mutants import survey

_BEFORE = """\
int f() {
  a();
  b();  // Second.
  c();
}
"""


class ChangedLinesTest(unittest.TestCase):
    def lines(self, old: str, new: str) -> list[int]:
        return survey.changed_lines(_BEFORE, _BEFORE.replace(old, new))

    def test_new_and_other_lines(self):
        self.assertEqual(self.lines("  b();  // Second.", "  d();"), [3])
        self.assertEqual(self.lines("  a();\n", "  a();\n  d();\n  // Why.\n\n  e();\n"), [3, 6])

    def test_what_is_gone_is_where_its_neighbours_meet(self):
        self.assertEqual(self.lines("  b();  // Second.\n", ""), [2, 3])
        self.assertEqual(self.lines("}\n", ""), [4])
        self.assertEqual(self.lines("  c();\n", ""), [3])
        self.assertEqual(self.lines("int f() {\n", ""), [1])

    def test_nothing(self):
        self.assertEqual(self.lines("  b();  // Second.\n", "  // First.\n\n  b();  // Second.\n"), [])


class SurveyTest(unittest.TestCase):
    def test_where_most_runs_differ(self):
        found = survey.Survey(100, {"a": 0, "b": 10, "c": 40, "d": 9, "e": 41})
        self.assertEqual((found.different, found.focuses()), (100, ["e", "c"]))
        self.assertEqual(survey.Survey(100, {"a": 0}).focuses(), [])
        # As of a missing fence: every run differs, and only in one of them the lines run often.
        everywhere = survey.Survey(100, {"a": 50, "b": 50, "c": 40}, {"a": 10, "b": 100, "c": 40})
        self.assertEqual(everywhere.focuses(), ["b", "c"])
        self.assertEqual(survey.Survey(100, {"a": 50, "b": 50}, {"a": 0}).focuses(), ["b"])
        # The line that runs least says where all of the change runs, also where nothing differs yet.
        rare = survey.Survey(100, {"a": 0, "b": 0, "c": 0}, {"a": 900, "b": 800, "c": 9}, {"a": 0, "b": 2, "c": 9})
        self.assertEqual(rare.focuses(), ["c"])
        never = survey.Survey(100, {"a": 0, "b": 0}, {"a": 900, "b": 100}, {"a": 0, "b": 0})
        self.assertEqual(never.focuses(), ["a"])
        many = survey.Survey(100, {str(number): 50 for number in range(99)})
        self.assertEqual(len(many.focuses()), 12)


class CountTest(unittest.TestCase):
    def test_the_most_and_those_that_never_ran(self):
        lines = {"core/x.h": [2, 3, 4], "core/y.h": [7]}
        ran = survey.count(lines, {"core/x.h": {1: 9, 2: 5, 4: 0}, "core/y.h": {}})
        self.assertEqual((ran.most, ran.least, ran.never), (5, 0, ["core/x.h:4"]))
        self.assertIsNone(survey.count(lines, {"core/x.h": {}, "core/y.h": {}}).most)


if __name__ == "__main__":
    unittest.main()
