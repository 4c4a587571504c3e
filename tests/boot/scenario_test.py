"""Scenarios of the fuzzers as the runner reads them: what the kernel is given, what is told, and what is refused."""

import os
import tempfile
import unittest

from bochs_runner import cli, scenario
from bochs_runner.emulator import SetupError

TEXT = """\
shootdown-scenario 1
config cpus=3 mms=2 pcid=1 concurrent=0 ceiling=8 pti=1 lazy_masks=1 tso=1
cpu 1: unmap mm=1 page=10 count=3   # behind those of CPU 0
cpu 0: read page=17
cpu 0: move mm=0 page=1 to=15
cpu 2: walk page=0
at +10: preempt cpu=2
"""


def parse(text):
    return scenario.parse(text, "file")


class ScenarioTest(unittest.TestCase):

    def test_what_the_kernel_is_given(self):
        found = parse(TEXT)
        self.assertEqual(found.encoded(), "040h0" + "0o01f" + "171a2")
        self.assertEqual((found.cpus, found.ceiling), (3, 8))
        self.assertEqual(found.options, {"serial_flush": True, "pti": "on", "masks": "kept"})

    def test_what_is_told(self):
        self.assertEqual(parse(TEXT).told, ["not on this machine: tso=1", "not run: cpu 2: walk: no walk without locks",
                                            "not forced: at +10: preempt cpu=2"])

    def test_what_is_refused(self):
        for line, words in [
                ("cpu 3: idle", "CPU 3 is not among 3 CPUs"),
                ("cpu 0: sleep", "there is no operation 'sleep'"),
                ("cpu 0: read page=18", "page=18: a number from 0 to 17 is needed"),
                ("cpu 0: read", "read needs page="),
                ("cpu 0: idle page=1", "idle has no field 'page'"),
                ("cpu 0: map mm=0 page=15 count=2", "a range stays in the small pages"),
                ("cpu 0: kernel_unmap page=3 count=2", "of the kernel's there are 4"),
                ("nonsense", "'nonsense' is no configuration")]:
            with self.subTest(line=line):
                with self.assertRaisesRegex(SetupError, "^file:8: .*" + words):
                    parse(TEXT + line)
        with self.assertRaisesRegex(SetupError, "^file:1: the first line"):
            parse("shootdown-scenario 2\n")

    def test_options_of_the_boot(self):
        with tempfile.NamedTemporaryFile("w", dir=os.environ["TEST_TMPDIR"]) as file:
            file.write(TEXT)
            file.flush()
            arguments = cli.parse_arguments(["--scenario", file.name])
        self.assertEqual(arguments.cpus, 3)
        self.assertEqual(cli.kernel_options(arguments),
                         ("scenario=040h00o01f171a2", "serial-flush", "pti=on", "masks=kept", "ceiling=8"))


if __name__ == "__main__":
    unittest.main()
