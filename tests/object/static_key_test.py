"""On the hot path a static key is a no-op and no load: in the kernel, and not where a HAL loads it."""

import os
import sys
import tempfile
import unittest

from tests.object import elf
from tests.object import key_proof

HAL = "shootdown::x86::X86Hal"
LOADING_HAL = "shootdown::test::LoadingHal"

files = {}


class StaticKeyTest(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        cls.kernel = elf.Elf(files["kernel"])
        cls.control = elf.Elf(files["control"])

    def test_proof_holds_in_the_kernel(self):
        self.assertEqual(key_proof.problems(self.kernel, HAL), [])

    def test_way_is_the_whole_flush(self):
        way = key_proof.way_from(self.kernel, key_proof.entry_points(self.kernel, HAL))
        names = "\n".join(function.name for function in way)
        for part in ("send_published<", "SmpCall<", "switch_mm<"):
            self.assertIn(part, names)

    def test_kernel_asks_for_more_than_one_key(self):
        self.assertGreater(len({site.key for site in key_proof.sites(self.kernel)}), 2)

    def test_proof_holds_beside_the_control(self):
        self.assertEqual(key_proof.problems(self.control, HAL), [])

    def test_load_is_reported(self):
        found = "\n".join(key_proof.problems(self.control, LOADING_HAL))
        self.assertIn("no place of the concurrent flush's key is on the way", found)
        self.assertIn("refers to the key", found)

    def test_other_bytes_are_reported(self):
        site = key_proof.sites(self.kernel)[0]
        with open(files["kernel"], "rb") as file:
            image = file.read()
        function = self.kernel.function_at(site.code)
        begin = image.index(self.kernel.read(function.address, function.size))
        place = begin + site.code - function.address
        self.assertEqual(image[place:place + 5], key_proof.NO_OP)
        # A jump to the next instruction: it does the same, and is not what a key costs.
        damaged = image[:place] + bytes.fromhex("e900000000") + image[place + 5:]
        with tempfile.NamedTemporaryFile(dir=os.environ["TEST_TMPDIR"]) as file:
            file.write(damaged)
            file.flush()
            found = key_proof.problems(elf.Elf(file.name), HAL)
        self.assertEqual(found, [f"the place at {site.code:#x} is not the five-byte no-op"])


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        name, _, file_name = argument.partition("=")
        files[name] = os.path.realpath(file_name)
    unittest.main(argv=sys.argv[:1], verbosity=2)
