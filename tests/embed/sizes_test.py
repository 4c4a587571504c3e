"""kernel-glue/embed/sizes.h is what its tool writes."""

import os
import unittest
from pathlib import Path

from tests.embed import sizes

ROOT = Path(os.environ["TEST_SRCDIR"]) / os.environ["TEST_WORKSPACE"]


class SizesTest(unittest.TestCase):

    def test_up_to_date(self):
        self.assertEqual((ROOT / "kernel-glue/embed/sizes.h").read_text(), sizes.text(ROOT),
                         "bazel run //tests/embed:sizes")

    def test_another_size_is_another_text(self):
        some = dict.fromkeys(("SYSTEM", "MM", "BATCH", "PENDING", "TEMPORARY", "ENTRY_BLOCK"), 8)
        self.assertNotEqual(sizes.block("#if A", some), sizes.block("#if A", some | {"MM": 16}))


if __name__ == "__main__":
    unittest.main()
