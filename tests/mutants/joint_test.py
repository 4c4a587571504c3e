"""Tests that the joint core holds each mutant: its text is taken out again and compared with the patched file."""

import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from tests.mutants import joint, mutant

TREES = [Path(sys.argv.pop(1)) for _ in range(2)]
PATCHES = sorted(path for folder in (".", "correct", "wide")
                 for path in (Path(__file__).parent / folder).glob("*.patch"))
BOOTED = sys.argv[1:]
del sys.argv[1:]
ROOMS = ("core", "kernel-glue/mm", "hal/host")


class MuseumTest(unittest.TestCase):
    """Of the trees that the build made."""

    def setUp(self):
        self.home = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.root = Path(__file__).parents[2]

    def clean(self, tree: Path) -> dict[str, str]:
        """The clean files of a tree, each of which must be in it."""
        files = [path for room in ROOMS for path in (self.root / room).rglob("*.[ch]*") if (tree / room).is_dir()]
        names = {str(path.relative_to(self.root)) for path in files if path.name != "benchmark.cc"}
        return {name: (self.root / name).read_text() for name in names}

    def patched(self, patch: Path, clean: dict[str, str]) -> dict[str, str]:
        """The files that the patch changes, changed."""
        tree = self.home / patch.stem
        files = mutant.patched_files(patch)
        for name in files:
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_text(clean[name])
        mutant.apply(patch, tree)
        return {name: (tree / name).read_text() for name in files}

    def check(self, tree: Path, patches: list[Path]):
        clean = self.clean(tree)
        merged = {name: (tree / name).read_text() for name in clean}
        for name, text in merged.items():
            self.assertEqual(joint.select(text, None), clean[name], f"{name} without a mutant")
        for patch in patches:
            with self.subTest(patch.stem):
                wanted = clean | self.patched(patch, clean)
                self.assertNotEqual(wanted, clean)
                for name, text in merged.items():
                    self.assertEqual(joint.select(text, patch.stem), wanted[name], name)

    def test_each_mutant_is_in_the_tree_as_its_patch_says(self):
        self.assertGreater(len(PATCHES), 100)
        self.check(TREES[0], PATCHES)

    def test_so_is_each_that_is_booted(self):
        self.assertTrue(BOOTED)
        self.check(TREES[1], [patch for patch in PATCHES if patch.stem in BOOTED])


CLEAN = """\
// A file.
#pragma once
int more(int x) {
  return x + 1;
}
/// Less.
int less(int x) {
  return x - 1;
}
struct Setup {
  bool late{false};
  int first() const { return more(0); }
};
"""


class JointTest(unittest.TestCase):
    """Of small files."""

    def setUp(self):
        self.home = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.mutants: dict[str, str] = {}
        (self.home / "x.h").write_text(CLEAN)

    def add(self, name: str, *changes: tuple[str, str]) -> None:
        """A patch that puts one text for another."""
        text = CLEAN
        for old, new in changes:
            self.assertIn(old, text)
            text = text.replace(old, new)
        self.mutants[name] = text
        (self.home / "y.h").write_text(text)
        diff = subprocess.run(["diff", "-u", "--label", "a/x.h", "--label", "b/x.h", "x.h", "y.h"], cwd=self.home,
                              stdout=subprocess.PIPE, check=False).stdout
        (self.home / f"{name}.patch").write_bytes(diff)

    def merge(self) -> str:
        patches = [self.home / f"{name}.patch" for name in self.mutants]
        merged = joint.merge({"x.h": self.home / "x.h"}, patches)
        for name, text in {**self.mutants, None: CLEAN}.items():
            self.assertEqual(joint.select(merged["x.h"], name), text, name)
        return merged["x.h"]

    def run_all(self) -> dict[str, str]:
        """What a program prints with each mutant: `more`, `less`, `late` and `first`, and their lines."""
        (self.home / joint.CHOICE).parent.mkdir(parents=True)
        shutil.copy(Path(__file__).parent / "choice.h", self.home / joint.CHOICE)
        (self.home / "x.h").write_text(self.merge())
        (self.home / "main.cc").write_text(
            '#include <cstdio>\n#include "x.h"\n'
            'int main() { std::printf("%d %d %d %d", more(5), less(5), Setup{}.late, Setup{}.first()); }\n')
        subprocess.run(["clang++-19", "-std=c++20", "-Wall", "-Wextra", "-Werror", "-iquote", ".", "main.cc", "-o",
                        "main"], cwd=self.home, check=True)
        image = (self.home / "main").read_bytes()
        printed = {}
        for name in (*self.mutants, "none"):
            program = self.home / f"main_{name}"
            program.write_bytes(joint.choose_in(image, name) if name != "none" else image)
            program.chmod(0o755)
            printed[name] = subprocess.run([program], stdout=subprocess.PIPE, text=True, check=True).stdout
        return printed

    def test_one_program_behaves_as_each_mutant(self):
        self.add("m1", ("x + 1", "x + 2"))
        self.add("m2", ("x + 1", "x + 3"), ("x - 1", "x - 3"))
        self.add("m3", ("late{false}", "late{true}"))
        self.add("m4", ("/// Less.", "int two() { return 2; }\n/// Less."), ("x - 1", "x - two()"))
        self.add("m5", ("  bool late", "  int added{6};\n  bool late"), ("more(0)", "added"))
        self.assertEqual(self.run_all(), {"m1": "7 4 0 2", "m2": "8 2 0 3", "m3": "6 4 1 1", "m4": "6 3 0 1",
                                          "m5": "6 4 0 6", "none": "6 4 0 1"})

    def test_a_changed_signature_is_another_function(self):
        self.add("m1", ("int more(int x) {", "int more(int x, int y) {"), ("x + 1", "x + y"), ("more(0)", "more(3, 4)"))
        merged = self.merge()
        self.assertIn("int more(int x) {", merged)
        self.assertIn("int more(int x, int y) {", merged)

    def test_the_compiler_sees_the_lines_of_the_source(self):
        self.add("m1", ("x + 1", "x +\n      __LINE__"))
        self.add("m2", ("x - 1", "__LINE__"))
        self.add("m3", ("x + 1", "\n\n\nx"), ("x - 1", "__LINE__"))
        self.assertEqual(self.run_all(), {"m1": "10 4 0 5", "m2": "6 8 0 1", "m3": "5 11 0 0", "none": "6 4 0 1"})

    def test_what_cannot_be_held_is_refused(self):
        for changes, error in (((("/// Less.", "/// Fewer."),), "changes a comment"),
                               ((("late{false}", "late{}"),), "changes an empty initialiser")):
            with self.subTest(error):
                self.mutants.clear()
                self.add("m1", *changes)
                with self.assertRaisesRegex(mutant.MutantError, f"m1 {error}.* of x.h|m1 {error} in x.h"):
                    self.merge()

    def test_a_file_that_is_not_there(self):
        self.add("m1", ("x + 1", "x + 2"))
        shutil.move(self.home / "x.h", self.home / "z.h")
        with self.assertRaisesRegex(mutant.MutantError, "changes x.h, which is not among"):
            joint.merge({"z.h": self.home / "z.h"}, [self.home / "m1.patch"])

    def test_numbers_that_meet(self):
        with self.assertRaisesRegex(mutant.MutantError, "the same number"):
            joint.names_source(["plumless", "buckeroo"])

    def test_an_image_without_a_choice_or_with_two(self):
        for image in (b"", b"the mutant that runs" * 2):
            with self.assertRaisesRegex(mutant.MutantError, "does not have the one variable"):
                joint.choose_in(image, "m1")


if __name__ == "__main__":
    unittest.main()
