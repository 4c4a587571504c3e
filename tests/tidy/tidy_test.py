#!/usr/bin/python3
"""Fails if a file of the source tree breaks one of the project's rules."""

import os
import sys
import unittest

from tests.tidy import tidy
from tests.tidy import tree

# Bazel gives the test a link to a file of the source tree. Following it leads to the tree itself, so
# that a new folder is checked without being listed anywhere.
ROOT = os.path.dirname(os.path.realpath("WORKSPACE"))


class TidyTest(unittest.TestCase):

    def test_the_tree_is_the_source_tree(self):
        paths = tree.Tree(ROOT).paths
        for path in ["WORKSPACE", "README.md", "core/hal.h", "tests/tidy/tidy_test.py", "test"]:
            self.assertIn(path, paths)

    def test_nothing_breaks_a_rule(self):
        lines = [f"{path}:{line}: {message} [{check}]"
                 for check, path, line, message in tidy.findings(ROOT)]
        self.assertEqual(lines, [], "\n" + "\n".join(lines))


if __name__ == "__main__":
    sys.exit(unittest.main(verbosity=2))
