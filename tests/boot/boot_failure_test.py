"""A boot that goes wrong in the real emulator: clear words, the log's tail, status 1, in good time."""

import contextlib
import io
import os
import tempfile
import time
import unittest

from bochs_runner import cli

# The first word of the Multiboot header and the flags behind it.
HEADER = bytes.fromhex("02b0ad1b") + bytes.fromhex("03000000")

# The first instructions of the kernel, at boot_start: cli, cld, movl %ebx, ADDRESS.
ENTRY = bytes.fromhex("fafc891d")


class BootFailureTest(unittest.TestCase):

    def boot(self, damage, timeout):
        """Boots a damaged copy of the image; exit status, output, seconds."""
        with open(cli.default_image(), "rb") as file:
            image = file.read()
        old, new = damage
        self.assertEqual(image.count(old), 1)
        self.assertEqual(len(old), len(new))
        output, begin = io.StringIO(), time.monotonic()
        with tempfile.NamedTemporaryFile(dir=os.environ["TEST_TMPDIR"]) as damaged:
            damaged.write(image.replace(old, new))
            damaged.flush()
            with contextlib.redirect_stdout(output):
                status = cli.main(["--cpus", "1", "--timeout", str(timeout), "--image", damaged.name])
        print(output.getvalue())
        return status, output.getvalue(), time.monotonic() - begin

    def test_boot_loader_finds_no_kernel(self):
        status, output, seconds = self.boot((HEADER, bytes(8)), timeout=8)
        self.assertEqual(status, cli.FAIL)
        self.assertIn("no end within 8 s: the emulator was killed", output)
        self.assertIn("the console is empty: the kernel did not boot", output)
        self.assertLess(seconds, 60)

    def test_kernel_hangs_at_once(self):
        # cli; then a jump to itself.
        status, output, seconds = self.boot((ENTRY, bytes.fromhex("faebfe90")), timeout=8)
        self.assertEqual(status, cli.FAIL)
        self.assertIn("the console is empty: the kernel did not boot", output)
        self.assertLess(seconds, 60)

    def test_triple_fault(self):
        # int3 without an interrupt table.
        status, output, _ = self.boot((ENTRY, bytes.fromhex("fafccccc")), timeout=100)
        self.assertEqual(status, cli.FAIL)
        self.assertIn("3rd (13) exception with no resolution", output)
        self.assertIn("the emulator ended with status 1", output)


if __name__ == "__main__":
    unittest.main()
