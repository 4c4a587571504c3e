"""Tests of the tools for scenarios, of their grammar, and of the editor's words.

usage: scenario_test.py REPRODUCE
"""

import io
import os
import re
import sys
import tempfile
import unittest
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from fuzz.campaign import scenario

ROOT = Path(os.path.realpath(__file__)).parents[2]
_MESSY = """\
# title: what it is about
shootdown-scenario 1
config   mms=1  cpus=2   # small
# the victim
cpu 1: read page=1
   cpu 0:   unmap   page=1 mm=0  # a reason
# early
at +0:  preempt cpu=1
# the end
"""
_TIDY = """\
# title: what it is about
shootdown-scenario 1
config cpus=2 mms=1 pcid=1 concurrent=1 ceiling=33 # small
cpu 0: unmap mm=0 page=1 count=1 # a reason
# the victim
cpu 1: read page=1
# early
at +0: preempt cpu=1
# the end
"""


def grammar_regex(text: str) -> re.Pattern:
    """The grammar, which has no recursion, as one regular expression."""
    rules = {}
    text = re.sub(r"(?s)\(\*.*?\*\)", "", text)
    for rule in re.findall(r'(?s)\s*([a-z ]+?)\s*=\s*((?:"[^"]*"|\?[^?]*\?|[^;"?])*);', text):
        rules[rule[0]] = rule[1]
    special = {"any character but a line feed": r"[^\n]", "tab": r"\t", "carriage return": r"\r", "line feed": r"\n"}
    signs = {"[": "(?:", "]": ")?", "{": "(?:", "}": ")*", "(": "(?:", ")": ")", "|": "|", ",": ""}
    token = re.compile(r'"([^"]*)"|\?\s*([^?]*?)\s*\?|([a-z][a-z ]*[a-z]|[a-z])|([\[\]{}()|,])')

    def translate(body: str) -> str:
        out = []
        for string, extra, name, sign in token.findall(body):
            if name:
                out.append(f"(?:{translate(rules[name])})")
            elif sign:
                out.append(signs[sign])
            else:
                out.append(special[extra] if extra else re.escape(string))
        return "".join(out)
    return re.compile(translate(rules["scenario"]))


def words_of_the_code() -> set[str]:
    """The names of operations, deviations, switches and backends."""
    kinds = (ROOT / "fuzz/scenario/kinds.h").read_text()
    return set(re.findall(r'^    (?:HeaderSwitch)?\{"(\w+)"', kinds, re.MULTILINE))


class ScenarioTest(unittest.TestCase):
    def setUp(self):
        self.home = Path(self.enterContext(tempfile.TemporaryDirectory()))
        os.environ["BUILD_WORKING_DIRECTORY"] = str(self.home)
        self.addCleanup(os.environ.pop, "BUILD_WORKING_DIRECTORY")

    def run_tool(self, *arguments: str) -> tuple[int, str]:
        out = io.StringIO()
        with redirect_stdout(out), redirect_stderr(out):
            status = scenario.main(list(arguments))
        return status, out.getvalue()

    def file(self, text: str, name: str = "mine.txt") -> Path:
        (self.home / name).write_text(text)
        return self.home / name

    def test_format_orders_and_keeps_comments(self):
        path = self.file(_MESSY)
        status, told = self.run_tool("format", "--check", "mine.txt")
        self.assertEqual((status, path.read_text()), (1, _MESSY))
        self.assertIn("-config   mms=1  cpus=2   # small", told)
        self.assertEqual(self.run_tool("format", "mine.txt"), (0, ""))
        self.assertEqual(path.read_text(), _TIDY)
        self.assertEqual(self.run_tool("format", "--check", "mine.txt"), (0, ""))

    def test_formatting_changes_no_scenario_of_the_tree(self):
        found = scenario.scenarios(ROOT / "fuzz") + scenario.scenarios(ROOT / "tests/oracles")
        self.assertGreater(len(found), 100)
        for path in found[::7]:
            with self.subTest(path.name):
                text = path.read_text()
                again = scenario.formatted(text, scenario._canonical(path))
                self.assertEqual(scenario._canonical(self.file(again)), scenario._canonical(path))
                comments = [line for line in text.splitlines() if line.startswith("#") and "at +N" not in line]
                self.assertLessEqual(set(comments), set(again.splitlines()))

    def test_lint(self):
        self.file(_TIDY)
        self.assertEqual(self.run_tool("lint", "mine.txt"), (0, ""))
        self.file(_TIDY + "at +9: evict cpu=1 entry=0\nat +200: preempt cpu=0\n")
        status, told = self.run_tool("lint", "mine.txt")
        self.assertEqual(status, 1)
        self.assertIn("mine.txt:11: warning: 'preempt cpu=0' did nothing: its moment never came", told)
        self.file("shootdown-scenario 1\nconfig\ncpu 0: unmaap mm=0\n")
        self.assertEqual(self.run_tool("lint", "mine.txt"),
                         (2, "mine.txt:3: unknown operation 'unmaap'; did you mean 'unmap'?\n"))

    def test_new(self):
        self.assertEqual(self.run_tool("new", "mine.txt", "--cpus", "3"), (0, "mine.txt\n"))
        self.assertIn("config cpus=3 mms=1\n", (self.home / "mine.txt").read_text())
        self.assertEqual(self.run_tool("lint", "mine.txt"), (0, ""))
        self.assertEqual(self.run_tool("new", "mine.txt"), (2, "scenario: mine.txt is there already\n"))
        self.assertEqual(self.run_tool("new", "other.txt", "--cpus", "99")[0], 2)

    def test_list(self):
        self.file(_TIDY)
        (self.home / "below").mkdir()
        self.file("shootdown-scenario 1\nconfig cpus=1\ncpu 0: idle\n", "below/other.txt")
        self.file("no scenario\n", "text.txt")
        self.assertEqual(self.run_tool("list", "."), (0, "below/other.txt: cpu 0: idle\nmine.txt: what it is about\n"))
        self.assertEqual(self.run_tool("list", "--with", "ABOUT", "."), (0, "mine.txt: what it is about\n"))
        self.assertEqual(self.run_tool("list", "nowhere")[0], 2)

    def test_a_corpus_is_of_the_scenarios_as_bytes(self):
        self.file(_TIDY)
        self.file(_MESSY, "same.txt")
        self.file("shootdown-scenario 1\nconfig cpus=1\ncpu 0: idle\n", "other.txt")
        status, told = self.run_tool("corpus", "made", ".")
        self.assertEqual((status, told), (0, "2 inputs in made\n"))
        made = sorted((self.home / "made").iterdir())
        self.assertEqual(len(made), 2)
        titles = {scenario._run("--bytes", "--text", str(path)).stdout for path in made}
        self.assertEqual(titles, {scenario._run("--text", str(self.home / name)).stdout
                                  for name in ("mine.txt", "other.txt")})
        self.file("shootdown-scenario 1\nconfig\ncpu 0: unmaap\n", "wrong.txt")
        self.assertIn("wrong.txt is left out", self.run_tool("corpus", "made", ".")[1])

    def test_every_scenario_of_the_tree_is_of_the_grammar(self):
        grammar = grammar_regex((ROOT / "fuzz/scenario/scenario.ebnf").read_text())
        found = scenario.scenarios(ROOT)
        self.assertGreater(len(found), 200)
        for path in found:
            self.assertIsNotNone(grammar.fullmatch(path.read_text()), path)
        for wrong in ("shootdown-scenario 2\nconfig\n", _TIDY.replace("unmap", "unmaap"), _TIDY.replace("+0", "0"),
                      _TIDY.replace("config", "configure"), _TIDY.replace("cpus=2", "cpus=two")):
            self.assertIsNone(grammar.fullmatch(wrong), wrong)

    def test_grammar_and_editor_know_every_word(self):
        words = words_of_the_code()
        self.assertGreater(len(words), 70)
        grammar = set(re.findall(r'"(\w+)"', (ROOT / "fuzz/scenario/scenario.ebnf").read_text()))
        self.assertEqual(words - grammar, set())
        vim = set(re.findall(r"\w+", (ROOT / "tools/editors/shootdown.vim").read_text()))
        kinds = re.search(r"(?s)operation kind = (.*?);.*deviation kind = (.*?);",
                          (ROOT / "fuzz/scenario/scenario.ebnf").read_text())
        self.assertEqual(set(re.findall(r'"(\w+)"', kinds[1] + kinds[2])) - vim, set())


if __name__ == "__main__":
    os.environ["SHOOTDOWN_REPRODUCE"] = os.path.abspath(sys.argv.pop(1))
    unittest.main()
