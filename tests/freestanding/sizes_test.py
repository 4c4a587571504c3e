"""No entry point of the core takes more than a page of a kernel's stack, also without optimisation."""

import tempfile
import unittest

from tests.freestanding import matrix_test as matrix
from tests.freestanding import sizes

PAGE = 4096


class SizesTest(unittest.TestCase):

    def test_each_entry_point_fits_into_a_page(self):
        for compiler in matrix.REQUIRED:
            for level in ("-O0", "-O2"):
                depths = sizes.depths_of(compiler, level)
                with self.subTest(compiler=compiler, level=level):
                    self.assertLess(max(depths.values()), PAGE, depths)
                    # An entry point whose calls were not found would be the smallest of all.
                    self.assertGreater(depths["flush"], depths["interrupt"], depths)

    def test_masks_of_many_cpus_fit_into_what_is_documented(self):
        for compiler in matrix.REQUIRED:
            for cpus, most in sizes.LARGE.items():
                depths = sizes.depths_of(compiler, "-O2", sizes.for_cpus(compiler, cpus))
                with self.subTest(compiler=compiler, cpus=cpus):
                    self.assertLess(max(depths.values()), most, depths)
                    self.assertGreater(max(depths.values()), most // 2, "the documents say too much")

    def test_a_deep_function_is_seen(self):
        with tempfile.TemporaryDirectory() as folder:
            shallow = sizes.build("g++-12", "-O2", folder)[1]
            functions = sizes.functions_of(shallow)
        functions["port_report_unanswered"].room += PAGE
        self.assertGreater(sizes.deepest(functions, "stack_flush", {})[0], PAGE)


if __name__ == "__main__":
    unittest.main(verbosity=2)
