"""Tests that every patch of the museum is complete, applies to the code as it is, and has a test."""

import shutil
import sys
import tempfile
import unittest
from pathlib import Path

from tests.mutants import mutant

FOLDER = Path(__file__).parent
CORRECT = sys.argv[1].split(",")
TESTED = sys.argv[2:]
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
                name = f"m0*{read.museum}" if read.museum else rf"(c0*{read.rule.removeprefix('M')}|[op]\d\d)"
                self.assertRegex(read.name, f"^{name}[a-z]?_[a-z0-9_]+$")

    def test_every_patch_applies(self):
        root = FOLDER.parents[1]
        with tempfile.TemporaryDirectory() as folder:
            for room in ("core", "kernel-glue/mm", "hal/host"):
                shutil.copytree(root / room, Path(folder) / room)
            for patch in self.patches:
                with self.subTest(patch.name):
                    mutant.apply(patch, Path(folder), dry_run=True)

    def test_every_patch_for_many_cpus_is_complete_and_applies(self):
        patches = sorted((FOLDER / "wide").glob("*.patch"))
        self.assertNotEqual(patches, [])
        with tempfile.TemporaryDirectory() as folder:
            for room in ("core", "kernel-glue/mm", "hal/host"):
                shutil.copytree(FOLDER.parents[1] / room, Path(folder) / room)
            for patch in patches:
                with self.subTest(patch.name):
                    self.assertEqual(mutant.read(patch).museum, 0)
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


if __name__ == "__main__":
    unittest.main()
