"""No lines of Linux are here: no file of ports/linux has four lines in a row that the installed sources have, too."""

import re
import unittest

from fuzz.campaign.paths import program
from ports.linux import tree
from tests.ports import trees

_RUN = 4
_OURS = ("glue.c", "kernel.cc", "kernel.h", "machine.cc", "search.cc", "shim/shim.h", "undone.py", "tree.py",
         "linux.py")


def lines_of(text):
    """Those that say something, without blanks: braces, labels and the like are the same everywhere."""
    lines = (re.sub(r"\s+", "", line) for line in text.splitlines())
    return [line for line in lines if len(re.sub(r"\W", "", line)) > 3 and not line.startswith(("#include", "#endif"))]


def runs_of(lines):
    return {tuple(lines[i:i + _RUN]) for i in range(len(lines) - _RUN + 1)}


def common(ours, theirs):
    return runs_of(lines_of(ours)) & runs_of(lines_of(theirs))


class CopiedLinesTest(unittest.TestCase):
    def test_no_lines_are_copied(self):
        for version in trees.VERSIONS:
            for name, theirs in tree.read_tree(trees.need(version)).items():
                for ours in _OURS:
                    with self.subTest(version=version, theirs=name, ours=ours):
                        self.assertEqual(common(program(f"ports/linux/{ours}").read_text(), theirs), set())

    def test_copied_lines_are_seen(self):
        text = trees.need("6.12").joinpath("lib/llist.c").read_text()
        lines = lines_of(text)
        self.assertGreater(len(lines), 20)
        self.assertTrue(common("int other;\n" + "\n".join(lines[10:14]), text))
        self.assertFalse(common("int other;\n" + "\n".join(lines[10:13]), text))


if __name__ == "__main__":
    unittest.main()
