"""Tests that every bug has its page, and that what does not depend on a run is current in it."""

import dataclasses
import os
import sys
import unittest
from pathlib import Path

from tests.mutants import mutant, pages

_HOW = pages.shown(*sys.argv[1:3])
del sys.argv[1:]
# The tree itself, not Bazel's links to a part of it.
os.chdir(Path(os.path.realpath(__file__)).parents[2])
_FOLDER = Path("tests/mutants")
_STORY = """\
CONFIGURATION
  CPUs 2

INTERLEAVING (one column per CPU; memory is sequentially consistent)
step   cpu0                cpu1          where
0                          == switch_to  x
1      load tlb_gen = 1                  guest.cc:259

VERDICT
  O7 a CPU is not in the mask
  The promise: it is.
  4 visible operations, trace 31d81dc3af40180b
"""


class PageTest(unittest.TestCase):
    def test_every_bug_has_a_current_page_and_every_page_a_bug(self):
        patches = sorted(_FOLDER.glob("*.patch"))
        self.assertEqual([patch.stem for patch in patches],
                         sorted(page.stem for page in pages.FOLDER.glob("[cm][0-9]*.md")))
        known = pages.meanings(Path())
        for patch in patches:
            with self.subTest(patch.stem):
                read = mutant.read(patch)
                text = (pages.FOLDER / f"{patch.stem}.md").read_text()
                scenario = _FOLDER / "scenarios" / f"{patch.stem}.txt"
                how = _HOW.get(patch.stem, pages.HowShown())
                wanted = pages.page(read, scenario, how, known, "")
                self.assertEqual(pages.without_timeline(text), wanted,
                                 f"bazel run //tests/mutants:pages -- --keep-timelines {patch.stem}")
                if not how.unit_test:
                    self.assertIn("## The interleaving", text)
                    self.assertIn("The promise:", text)

    def test_what_the_emulated_machine_shows_is_tested_and_written_down(self):
        read = [mutant.read(patch) for patch in sorted(_FOLDER.glob("*.patch"))]
        self.assertEqual([one.name for one in read if one.bochs == "yes"],
                         sorted(name for name, how in _HOW.items() if how.self_test))
        self.assertEqual(pages.BOCHS.read_text(), pages.bochs_table(read, _HOW))

    def test_what_the_emulated_machine_shows(self):
        how = pages.shown("m01_a=Suite.Name", "m02_b=lazy, then fresh=--cpus 2 --pti on;m03_c=boot=--cpus 2")
        self.assertEqual(how["m01_a"], pages.HowShown("Suite.Name"))
        self.assertEqual(how["m02_b"], pages.HowShown(None, "lazy, then fresh", "--cpus 2 --pti on"))
        some = mutant.read(sorted(_FOLDER.glob("m08*.patch"))[0])
        for verdict, test, text in (
                ("yes", how["m02_b"], "the self-test \"lazy, then fresh\" fails, with `--cpus 2 --pti on`."),
                ("yes", how["m03_c"], "the test kernel does not boot"),
                ("not surely: it is rare", pages.HowShown(), "does not show it surely: it is rare."),
                ("no: it is below", pages.HowShown(), "Only the modelled machine can show it: it is below."),
                ("no", pages.HowShown(), "Only the modelled machine can show it.")):
            self.assertIn(text, pages.in_bochs(dataclasses.replace(some, bochs=verdict), test))

    def test_every_rule_and_oracle_has_a_meaning(self):
        known = pages.meanings(Path())
        for patch in sorted(_FOLDER.glob("*.patch")):
            read = mutant.read(patch)
            for name in [read.rule, *read.oracles]:
                with self.subTest(f"{name} of {patch.stem}"):
                    self.assertGreater(len(known.get(name, "")), 10)

    def test_meanings_of_one_row_are_told_apart(self):
        known = pages.meanings(Path())
        self.assertNotEqual(known["O10"], known["O11"])
        self.assertIn("generation", known["O10"])

    def test_timeline(self):
        text = pages.timeline(_STORY)
        self.assertIn("step   cpu0                cpu1\n0                          == switch_to\n"
                      "1      load tlb_gen = 1\n", text)
        self.assertIn("O7 a CPU is not in the mask\nThe promise: it is.\n", text)
        self.assertNotIn("guest.cc", text)
        with self.assertRaises(pages.PageError):
            pages.timeline("nothing")


if __name__ == "__main__":
    unittest.main()
