"""Tests that every patch of the museum is complete, applies to the code as it is, and has a test."""

import re
import shutil
import sys
import tempfile
import unittest
from pathlib import Path

from tests.mutants import mutant

FOLDER = Path(__file__).parent
WITH_MODEL = sys.argv[1].split(",")
CORRECT = sys.argv[2].split(",")
TESTED = sys.argv[3:]
del sys.argv[1:]


class MuseumTest(unittest.TestCase):
    def setUp(self):
        self.patches = sorted(FOLDER.glob("*.patch"))

    def test_every_patch_has_a_test(self):
        self.assertEqual([patch.stem for patch in self.patches], sorted(TESTED))

    def test_every_patch_is_complete(self):
        for patch in self.patches:
            with self.subTest(patch.name):
                read = mutant.read(patch)
                # Not from the catalogue: an ordering that is too weak, whose number it has, or a bug of our own.
                name = f"m0*{read.museum}" if read.museum else rf"(c0*{read.rule.removeprefix('M')}|o\d\d)"
                self.assertRegex(read.name, f"^{name}[a-z]?_[a-z0-9_]+$")

    def test_every_patch_applies(self):
        root = FOLDER.parents[1]
        with tempfile.TemporaryDirectory() as folder:
            for room in ("core", "kernel-glue/mm", "hal/host"):
                shutil.copytree(root / room, Path(folder) / room)
            for patch in self.patches:
                with self.subTest(patch.name):
                    mutant.apply(patch, Path(folder), dry_run=True)

    def test_every_correct_change_has_a_test_and_a_reason_and_applies(self):
        patches = sorted((FOLDER / "correct").glob("*.patch"))
        self.assertEqual([patch.stem for patch in patches], CORRECT)
        with tempfile.TemporaryDirectory() as folder:
            for room in ("core", "kernel-glue/mm"):
                shutil.copytree(FOLDER.parents[1] / room, Path(folder) / room)
            for patch in patches:
                with self.subTest(patch.name):
                    self.assertRegex(patch.read_text(), r"\A# title: .+\n(# correct: .+\n)+--- a/")
                    mutant.apply(patch, Path(folder), dry_run=True)

    def test_the_model_is_shared_only_where_it_is_the_same(self):
        # What those headers include in turn are templates over a HAL, and the model makes none of them.
        model = set()
        for file in (FOLDER.parents[1] / "hal/host").glob("*.[ch]*"):
            model |= {f"hal/host/{file.name}"}
            model |= set(re.findall(r'^#include "(core/[^"]+)"', file.read_text(), re.MULTILINE))
        self.assertIn("core/paravirt/hyperv.h", model)
        for patch in self.patches:
            changed = set(re.findall(r"^\+\+\+ b/(\S+)", patch.read_text(), re.MULTILINE))
            with self.subTest(patch.name):
                self.assertTrue(changed)
                if changed & model:
                    self.assertIn(patch.stem, WITH_MODEL)


if __name__ == "__main__":
    unittest.main()
