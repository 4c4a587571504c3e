"""Tests that every bug has its page, that all in it but the run is current, and that its story is that of the run."""

import dataclasses
import os
import re
import sys
import unittest
from pathlib import Path

from tests.mutants import meanings, museum_index, mutant, notation, pages, roles
from tests.mutants.interleaving import Interleaving

_UNITS = dict(pair.split("=") for pair in sys.argv[1].split(","))
del sys.argv[1:]
# The tree itself, not Bazel's links to a part of it.
os.chdir(Path(os.path.realpath(__file__)).parents[2])
_FOLDER = Path("tests/mutants")
_PERSONS = r"(?i)\b(?:somebody|nobody|everybody|whoever|whatever|who)\b"
# One step is all that is wrong.
_ONE_STEP = {"m09_local_part_with_interrupts_on", "m11_no_window", "m78_bit_cleared_early"}
_STORY = """\
CONFIGURATION
  CPUs 2

INTERLEAVING (one column per CPU; memory is sequentially consistent)
       step   cpu0                cpu1          where
       0                          == switch_to  x
dev    1                          ~~ at +1: x
then   1      load tlb_gen = 1                  sim_kernel.cc:259 f
                [ASID 1: mm0]

VERDICT
  O7 a CPU is not in the mask
  The promise: it is.
  then:   step 1, cpu0: is not in the mask
  4 visible operations, trace 31d81dc3af40180b
"""


def _read() -> list[mutant.Mutant]:
    return [mutant.read(patch) for patch in sorted(_FOLDER.glob("*.patch"))]


def _told(read: mutant.Mutant) -> Interleaving | None:
    return None if read.name in _UNITS else pages.kept(read)


class PageTest(unittest.TestCase):
    def test_every_bug_has_a_current_page_and_every_page_a_bug(self):
        read = _read()
        self.assertEqual([one.name for one in read],
                         sorted(page.stem for page in pages.FOLDER.glob("[cmop][0-9]*.md")))
        rules = meanings.rules(Path())
        for one in read:
            with self.subTest(one.name):
                wanted = pages.page(one, pages.scenario_of(one.name), _UNITS.get(one.name), rules, _told(one))
                self.assertEqual((pages.FOLDER / f"{one.name}.md").read_text(), wanted,
                                 f"bazel run //tests/mutants:pages -- --keep-timelines {one.name}")

    def test_the_index_and_the_titles_of_the_results_are_current(self):
        how = "bazel run //tests/mutants:pages -- --keep-timelines"
        self.assertEqual(pages.INDEX.read_text(), museum_index.index(Path(), _read(), _UNITS), how)
        results = pages.RESULTS.read_text()
        self.assertIn("](museum/m41_generation_before_mask.md)", results)
        self.assertEqual(results, pages.with_titles(results, _read()), how)

    def test_the_index_has_every_bug_five_times(self):
        text = pages.INDEX.read_text().partition("## By rule\n")[2]
        for one in _read():
            with self.subTest(one.name):
                self.assertEqual(text.count(f"({one.name}.md)"), 5)

    def test_every_link_to_a_file_leads_to_one(self):
        for file in pages.FOLDER.glob("*.md"):
            with self.subTest(file.name):
                text = re.sub(r"(?ms)^```.*?^```", "", file.read_text())
                for link in re.findall(r"\]\(([^)#:]+)(?:#[\w-]+)?\)", text):
                    self.assertTrue((pages.FOLDER / link).exists(), f"{link} leads nowhere")

    def test_stories_call_the_cpus_as_the_interleavings_do(self):
        for one in _read():
            with self.subTest(one.name):
                scenario = "" if one.name in _UNITS else pages.scenario_of(one.name).read_text()
                self.assertEqual(roles.wrong(one.story, _told(one), scenario), [])

    def test_the_steps_of_every_verdict_are_marked(self):
        for one in _read():
            told = _told(one)
            with self.subTest(one.name):
                marks = [line.split()[0] for line in told.marked().splitlines()
                         if not line.startswith((" ", "dev"))] if told else []
                named = re.findall(r"(?m)^(first|then):", "\n".join(told.verdict)) if told else []
                if one.cause:
                    named = ["cause", *named]
                self.assertEqual(["first", "then"] if marks == ["both"] else marks, named)
                self.assertEqual(len(named), 0 if not told else 1 if one.name in _ONE_STEP else 2)

    def test_the_primer_explains_what_the_pages_show_and_nothing_else(self):
        rows = [row.text for one in _read() if (told := _told(one)) for row in told.rows()]
        self.assertGreater(len(rows), 2000)
        self.assertEqual(sorted(set(notation.unknown_rows(rows))), [])
        self.assertEqual(notation.unused(rows), [])
        self.assertEqual(notation.wrong_examples(), [])

    def test_the_subject_of_a_sentence_is_a_thing(self):
        for one in _read():
            for text in (one.title, one.story, one.needs, one.bochs, one.reference):
                with self.subTest(one.name):
                    self.assertEqual(re.findall(_PERSONS, text), [])
        # The rules themselves are docs/protocol.md's.
        for text in (pages.INDEX.read_text().partition("## By rule")[0], (_FOLDER / "README.md").read_text()):
            self.assertEqual(re.findall(_PERSONS, text), [])

    def test_what_the_emulated_machine_shows_is_tested_and_written_down(self):
        read = _read()
        boots = pages.booted()
        self.assertEqual([one.name for one in read if one.bochs == "yes"], sorted(boots))
        self.assertEqual(pages.BOCHS.read_text(), pages.bochs_table(read, boots))

    def test_what_the_emulated_machine_shows(self):
        some = mutant.read(sorted(_FOLDER.glob("m08*.patch"))[0])
        lazy, boot = pages.Boot("lazy, then fresh", "--cpus 2 --pti on"), pages.Boot("boot", "--cpus 2")
        for verdict, shown, text in (
                ("yes", lazy, "the self-test \"lazy, then fresh\" fails, with `--cpus 2 --pti on`."),
                ("yes", boot, "the test kernel does not boot, with `--cpus 2`."),
                ("not surely: it is rare", None, "does not show it surely: it is rare."),
                ("no: it is below", None, "Only the modelled machine can show it: it is below."),
                ("no", None, "Only the modelled machine can show it.")):
            with self.subTest(verdict):
                self.assertIn(text, pages.in_bochs(dataclasses.replace(some, bochs=verdict), shown))

    def test_every_rule_oracle_and_reference_has_a_meaning(self):
        rules = meanings.rules(Path())
        for one in _read():
            with self.subTest(one.name):
                self.assertGreater(len(rules[one.rule].text), 10)
                self.assertLessEqual(set(one.oracles), set(meanings.ORACLES))
                self.assertIsNotNone(meanings.system(one.reference), one.reference)

    def test_told_by_a_reproducer(self):
        told = pages.told_by(_STORY, "")
        self.assertEqual(told.marked(), "       step   cpu0                cpu1\n"
                                        "       0                          == switch_to\n"
                                        "dev    1                          ~~ at +1: x\n"
                                        "then   1      load tlb_gen = 1\n"
                                        "                [ASID 1: mm0]")
        self.assertEqual(told.verdict[0], "O7 a CPU is not in the mask")
        with self.assertRaises(pages.PageError):
            pages.told_by("nothing", "")


if __name__ == "__main__":
    unittest.main()
