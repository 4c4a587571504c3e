"""An example kernel in Bochs: no stale read, and many with the flush left out.

usage: boot_test IMAGE CPUS
"""

import re
import sys
import tempfile
import unittest

from bochs_runner import emulator

LIMIT_SECONDS = 100


def boot(*options):
    """What the kernel prints, and how the emulator ends."""
    with tempfile.TemporaryDirectory() as folder:
        machine = emulator.Machine(cpus=CPUS, image=IMAGE, options=(f"cpus={CPUS}", *options))
        emulator.check_tools(machine)
        emulator.prepare(machine, folder)
        return emulator.run(machine, folder, LIMIT_SECONDS, sys.stderr.write)


def numbers(console):
    return {name: int(value) for name, value in re.findall(r" (\w+)=(\d+)", console)}


class BootTest(unittest.TestCase):

    def test_no_stale_read(self):
        outcome = boot()
        self.assertEqual(outcome.exit_status, 0, outcome.console)
        found = numbers(outcome.console)
        self.assertEqual((found["cpus"], found["stale"], found["unanswered"]), (CPUS, 0, 0))
        # Every page but the last is taken away while every other CPU may have it cached.
        self.assertGreaterEqual(found["remote_flush_received"], 300 * (CPUS - 1) // 2)
        self.assertGreater(found["reads"], 300 * (CPUS - 1))
        self.assertIn("\nok: no stale read", outcome.console)

    def test_stale_reads_without_the_flush(self):
        outcome = boot("no-flush")
        self.assertEqual(outcome.exit_status, 1, outcome.console)
        self.assertGreater(numbers(outcome.console)["stale"], 100)
        self.assertIn("\nnot ok: stale reads", outcome.console)


if __name__ == "__main__":
    IMAGE, CPUS = sys.argv[1], int(sys.argv[2])
    unittest.main(argv=sys.argv[:1], verbosity=2)
