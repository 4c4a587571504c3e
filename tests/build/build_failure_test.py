#!/usr/bin/python3
"""The verdict of a build failure test on trials that go wrong in each of the possible ways."""

import os
import tempfile
import unittest

from bazel.private import build_failure

COMPILER = ["/usr/bin/clang-19", "-std=c++20"]


class BuildFailureTest(unittest.TestCase):

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def trial(self, code):
        path = os.path.join(self.folder, f"{len(os.listdir(self.folder))}.cc")
        with open(path, "w", encoding="utf-8") as file:
            file.write(code)
        return {"command": COMPILER + ["-c", "a/b.cc", "-o", "a/b.o"], "files": [[path, "a/b.cc"]]}

    def verdict(self, control="int x;", failure="int x = nonsense;", remedy=None, expect="nonsense"):
        return build_failure.verdict({
            "control": self.trial(control),
            "failure": self.trial(failure),
            "remedy": self.trial(remedy) if remedy else None,
            "expect": expect,
        })

    def test_a_misuse_that_fails_as_expected_is_good(self):
        self.assertIsNone(self.verdict())
        self.assertIsNone(self.verdict(remedy="int x;"))

    def test_a_misuse_that_compiles_is_bad(self):
        self.assertIn("The misuse compiles", self.verdict(failure="int nonsense;"))

    def test_a_control_that_fails_is_bad(self):
        self.assertIn("The control must compile", self.verdict(control="int x = nonsense;"))

    def test_a_misuse_that_fails_for_another_reason_is_bad(self):
        self.assertIn("no error says", self.verdict(failure="int x = other;"))

    def test_the_source_line_that_an_error_quotes_is_not_its_message(self):
        self.assertIn("no error says", self.verdict(failure="int x = other; // nonsense"))

    def test_the_notes_of_an_error_belong_to_its_message(self):
        failure = "template <class T> concept Nonsense = sizeof(T) > 8; template <Nonsense T> struct A; A<int>* a;"
        self.assertIsNone(self.verdict(failure=failure, expect="'sizeof(int) > 8'"))

    def test_a_remedy_that_fails_is_bad(self):
        self.assertIn("that are missing", self.verdict(remedy="int x = nonsense;"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
