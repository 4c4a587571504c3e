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
