"""kernel-glue/embed/sizes.h is what its tool writes."""

import os
import re
import unittest
from pathlib import Path

from tests.embed import sizes

ROOT = Path(os.environ["TEST_SRCDIR"]) / os.environ["TEST_WORKSPACE"]


class SizesTest(unittest.TestCase):

    def test_up_to_date(self):
        self.assertEqual((ROOT / "kernel-glue/embed/sizes.h").read_text(), sizes.text(ROOT),
                         "bazel run //tests/embed:sizes")

    def test_a_system_is_linear_in_its_cpus(self):
        """But for a bit for each pair of them, two on more than 64, and a word's line on fewer than 257."""
        file = (ROOT / "kernel-glue/embed/sizes.h").read_text()
        found = re.findall(r"SD_MAX_CPUS == (\d+)\n#define SD_SYSTEM_BYTES_ (\d+)", file)
        self.assertEqual([int(cpus) for cpus, _ in found], [8, 16, 64, 256, 1024, 4096])
        for cpus, size in ((int(cpus), int(size)) for cpus, size in found):
            pending = 128 if cpus <= 16 else 512 if cpus <= 256 else cpus // 4
            rest = size - cpus * (448 + pending)
            self.assertTrue(0 <= rest < 2048, f"{cpus} CPUs: {size} bytes, {rest} of them not for one CPU")

    def test_the_table_of_the_document(self):
        file = (ROOT / "kernel-glue/embed/sizes.h").read_text()
        text = (ROOT / "kernel-glue/embed/README.md").read_text()
        for cpus, size in re.findall(r"SD_MAX_CPUS == (\d+)\n#define SD_SYSTEM_BYTES_ (\d+)", file):
            self.assertIn(f"| {int(cpus):,} | {int(size):,} | {int(size) // int(cpus):,} |", text)

    def test_another_size_is_another_text(self):
        some = dict.fromkeys(("SYSTEM", "MM", "BATCH", "PENDING", "TEMPORARY", "ENTRY_BLOCK"), 8)
        self.assertNotEqual(sizes.block("#if A", some), sizes.block("#if A", some | {"MM": 16}))


if __name__ == "__main__":
    unittest.main()
