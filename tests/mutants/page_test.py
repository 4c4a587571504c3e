"""Tests that every bug has its page, and that what does not depend on a run is current in it."""

import dataclasses
import os
import sys
import unittest
from pathlib import Path

from tests.mutants import mutant, pages

_UNITS = dict(pair.split("=") for pair in sys.argv[1].split(","))
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
                         sorted(page.stem for page in pages.FOLDER.glob("[cmo][0-9]*.md")))
        known = pages.meanings(Path())
        for patch in patches:
            with self.subTest(patch.stem):
                read = mutant.read(patch)
                text = (pages.FOLDER / f"{patch.stem}.md").read_text()
                scenario = _FOLDER / "scenarios" / f"{patch.stem}.txt"
                wanted = pages.page(read, scenario, _UNITS.get(patch.stem), known, "")
                self.assertEqual(pages.without_timeline(text), wanted,
                                 f"bazel run //tests/mutants:pages -- --keep-timelines {patch.stem}")
                if patch.stem not in _UNITS:
                    self.assertIn("## The interleaving", text)
                    self.assertIn("The promise:", text)

    def test_what_the_emulated_machine_shows_is_tested_and_written_down(self):
        read = [mutant.read(patch) for patch in sorted(_FOLDER.glob("*.patch"))]
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
