"""Tests that what the documents name exists: files, names in files, tests, mutants."""

import os
import re
import unittest
from pathlib import Path

# The file itself, not Bazel's link to it: the tree is around it.
ROOT = Path(os.path.realpath(__file__)).parents[2]
DOCUMENTS = sorted([*ROOT.glob("docs/*.md"), *ROOT.glob("docs/decisions/*.md"), *ROOT.glob("*.md")])
# `core/flush.h` or `core/flush.h:flush_mm`, and `tests/core/flush_test.cc:Suite.Name` for a test.
_PLACE = re.compile(r"`((?:[\w.-]+/)+[\w.-]+\.(?:h|cc|S|py|md|txt|bzl|sh))(?::([\w.]+))?`")
# `vm/remap+invlpg` is a file of tests/litmus.
_LITMUS = re.compile(r"`((?:x86|vm)/[\w.+-]+)`")
_MUTANT = re.compile(r"`([moc]\d+[a-z]?_\w+)`")
# [text](decisions/README.md), relative to the document.
_LINK = re.compile(r"\]\(([^()#:\s]+)(?:#[^()]*)?\)")


def dead_links(text: str, folder: Path) -> list[str]:
    """Links of a document in `folder` that lead to no file."""
    return [f"{link}: no such file" for link in _LINK.findall(text) if not (folder / link).exists()]


def has_name(text: str, name: str) -> bool:
    """Whether a source file has a name, or a test of the form Suite.Name."""
    if "." in name:
        suite, test = name.split(".", 1)
        return re.search(rf"\bTEST(_F|_P)?\({suite},\s*{test}\)", text) is not None
    return re.search(rf"\b{name}\b", text) is not None


def wrong_names(text: str, root: Path) -> list[str]:
    """What a document names and the tree does not have."""
    wrong = []
    for path, name in _PLACE.findall(text):
        if not (root / path).is_file():
            wrong.append(f"{path}: no such file")
        elif name and not has_name((root / path).read_text(), name):
            wrong.append(f"{path}: has no {name}")
    for mutant in _MUTANT.findall(text):
        if not (root / "tests/mutants" / f"{mutant}.patch").is_file():
            wrong.append(f"{mutant}: no such mutant")
    return wrong


class NamesTest(unittest.TestCase):
    def test_everything_named_exists(self):
        for document in DOCUMENTS:
            with self.subTest(document.name):
                self.assertEqual(wrong_names(document.read_text(), ROOT), [])
                self.assertEqual(dead_links(document.read_text(), document.parent), [])

    def test_the_documents_name_much(self):
        text = "".join(document.read_text() for document in DOCUMENTS)
        self.assertGreater(len(_PLACE.findall(text)), 80)
        self.assertGreater(len(set(_MUTANT.findall(text))), 10)

    def test_every_row_rule_and_ordering_is_there(self):
        features = (ROOT / "docs/features.md").read_text()
        for row in range(1, 21):
            self.assertRegex(features, rf"(?m)^\| {row} \|")
        protocol = (ROOT / "docs/protocol.md").read_text()
        for rule in range(1, 14):
            self.assertRegex(protocol, rf"(?m)^\*\*R{rule} ")
        for ordering in range(1, 20):
            self.assertRegex(protocol, rf"(?m)^\| M{ordering} \|")

    def test_every_ordering_is_stated_at_its_place(self):
        protocol = (ROOT / "docs/protocol.md").read_text()
        for row in re.findall(r"(?m)^\| M\d+ \|.*$", protocol):
            ordering = re.match(r"\| (M\d+)", row)[1]
            for path, _ in _PLACE.findall(row):
                with self.subTest(f"{ordering} in {path}"):
                    self.assertRegex((ROOT / path).read_text(), rf"\b{ordering}\b")

    def test_every_rule_has_a_test_and_a_mutant(self):
        protocol = (ROOT / "docs/protocol.md").read_text()
        for text in re.findall(r"(?ms)^\*\*R\d+ .*?(?=^\*\*R|^## )", protocol):
            with self.subTest(text[:60]):
                self.assertRegex(text, _MUTANT)
                self.assertRegex(text, r"_test\.cc:")


def wrong_entries(glossary: str) -> list[str]:
    """Rows of the glossary that have not four cells, and words that are twice there or out of order."""
    rows = [re.split(r" \| ", line.strip("| ")) for line in glossary.splitlines() if line.startswith("| ")][1:]
    wrong = [f"{row[0]}: {len(row)} cells" for row in rows if len(row) != 4 or "" in row]
    words = [row[0].strip("`").lower() for row in rows]
    return wrong + [f"{word}: behind {before}" for before, word in zip(words, words[1:]) if word <= before]


class GlossaryTest(unittest.TestCase):
    def test_the_glossary_is_complete_and_sorted(self):
        glossary = (ROOT / "GLOSSARY.md").read_text()
        self.assertGreater(glossary.count("\n| "), 70)
        self.assertEqual(wrong_entries(glossary), [])

    def test_a_wrong_row_is_told(self):
        head = "| here | Linux | the manual | what it is |\n|---|---|---|---|\n"
        self.assertEqual(wrong_entries(head + "| b | - | - | x |\n| a | - | - | x |\n"), ["a: behind b"])
        self.assertEqual(wrong_entries(head + "| a | - | x |\n"), ["a: 3 cells"])


# The oracles' texts are those of their catalogue.
_RIDDLE = re.compile(r"(?im)^(?!\| O\d+\b).*\b(somebody|nobody|everybody|whoever|whatever)\b")


def riddles(text: str) -> list[str]:
    """Words that stand where a sentence should name the thing that acts."""
    return _RIDDLE.findall(text)


def prose() -> list[Path]:
    """All documents but the museum, whose stories have a check of their own."""
    found = []
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [name for name in folders if name[0] != "." and not (Path(folder) / name).is_symlink()]
        found += [Path(folder) / name for name in files if name.endswith(".md")]
    return [path for path in found if "museum" not in str(path.relative_to(ROOT)) and "mutants" not in path.parts]


class SentencesTest(unittest.TestCase):
    def test_a_sentence_names_the_thing_that_acts(self):
        documents = prose()
        self.assertGreater(len(documents), 40)
        for document in documents:
            with self.subTest(document.relative_to(ROOT)):
                self.assertEqual(riddles(document.read_text()), [])

    def test_a_riddle_is_told(self):
        self.assertEqual(riddles("It is told.\nBy nobody, or\nby Whoever waits."), ["nobody", "Whoever"])
        self.assertEqual(riddles("| O6 | held by somebody |"), [])


# What a suite is named after: R5 and R5_FlushFunction are about rule R5.
_SUITE = re.compile(r"(?m)^TEST(?:_F|_P)?\((\w+),\s*(\w+)\)")
_RULE = re.compile(r"([RMO]\d+)(?=_|$)")


def rules_of_documents(root: Path) -> set[str]:
    """The rules and orderings of the protocol, and the oracles of the catalogue."""
    protocol = (root / "docs/protocol.md").read_text()
    catalogue = "".join(path.read_text() for path in root.glob("fuzz/**/*.md"))
    agreement = (root / "tests/agreement/README.md").read_text()
    return {
        *re.findall(r"(?m)^\*\*(R\d+) ", protocol),
        *re.findall(r"(?m)^\| (M\d+) \|", protocol),
        *re.findall(r"O\d+", "".join(re.findall(r"(?m)^\| (O\d+(?:, O\d+)*) \|", catalogue))),
        *re.findall(r"\((O\d+)\)", agreement),
    }


def wrong_suites(texts: list[str], rules: set[str]) -> list[str]:
    """What keeps `--test_filter='R5*'` from finding the tests of rule R5, for each rule."""
    wrong = []
    tested = set()
    for suite, name in [found for text in texts for found in _SUITE.findall(text)]:
        rule = _RULE.match(suite)
        if rule and rule[1] not in rules:
            wrong.append(f"{suite}.{name}: no document has a rule {rule[1]}")
        elif rule:
            tested.add(rule[1])
        elif _RULE.match(name):
            wrong.append(f"{suite}.{name}: the rule belongs in front of the suite's name")
    return wrong + [f"{rule}: no suite is named after it" for rule in sorted(rules - tested)]


class SuitesTest(unittest.TestCase):
    def test_every_rule_ordering_and_oracle_has_a_suite(self):
        rules = rules_of_documents(ROOT)
        for letter, count in [("R", 13), ("M", 20), ("O", 34)]:
            numbers = {int(rule[1:]) for rule in rules if rule[0] == letter}
            self.assertEqual(numbers, set(range(1, max(numbers) + 1)), letter)
            self.assertGreaterEqual(len(numbers), count)
        texts = [path.read_text() for path in ROOT.glob("tests/**/*_test.cc")]
        self.assertEqual(wrong_suites(texts, rules), [])

    def test_tells_rules_without_a_suite_and_suites_without_a_rule(self):
        rules = {"R1", "M12"}
        good = "TEST(R1, Holds) {\nTEST_F(M12_Batch, Holds) {\nTEST(Range, R2D2) {\n"
        self.assertEqual(wrong_suites([good], rules), [])
        self.assertEqual(wrong_suites(["TEST(R1, A)"], rules), ["M12: no suite is named after it"])
        self.assertEqual(
            wrong_suites([good, "TEST(R14_Range, A)"], rules),
            ["R14_Range.A: no document has a rule R14"],
        )
        self.assertEqual(
            wrong_suites([good, "TEST_F(BatchTest, M12_A)"], rules),
            ["BatchTest.M12_A: the rule belongs in front of the suite's name"],
        )


class LitmusTest(unittest.TestCase):
    def test_the_model_names_litmus_tests_that_exist(self):
        named = set(_LITMUS.findall((ROOT / "hal/host/README.md").read_text()))
        self.assertGreater(len(named), 40)
        missing = [name for name in named if not (ROOT / "tests/litmus" / f"{name}.litmus").is_file()]
        self.assertEqual(missing, [])


class WrongNamesTest(unittest.TestCase):
    def test_tells_files_names_tests_and_mutants_that_are_missing(self):
        self.assertEqual(wrong_names("`core/gone.h`", ROOT), ["core/gone.h: no such file"])
        self.assertEqual(wrong_names("`core/flush.h:gone`", ROOT), ["core/flush.h: has no gone"])
        place = "tests/core/flush_test.cc"
        self.assertEqual(wrong_names(f"`{place}:R1.Gone`", ROOT), [f"{place}: has no R1.Gone"])
        self.assertEqual(wrong_names("`m99_gone`", ROOT), ["m99_gone: no such mutant"])
        self.assertEqual(dead_links("[a](gone.md) [b](protocol.md#x)", ROOT / "docs"), ["gone.md: no such file"])
        self.assertEqual(wrong_names("`core/flush.h:flush_mm` `m21_cpu0_means_none`", ROOT), [])


if __name__ == "__main__":
    unittest.main()
