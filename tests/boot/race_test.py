"""A wake-up that comes before its reason is lost sometimes, where CPUs really run at the same time: a race finds it."""

import contextlib
import io
import shutil
import unittest

from bochs_runner import cli, emulator, verdict


class RaceTest(unittest.TestCase):

    @unittest.skipIf(shutil.which(emulator.DEFAULT_QEMU) is None, f"{emulator.DEFAULT_QEMU} is missing")
    def test_early_wake(self):
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            status = cli.main(["--emulator", "qemu", "--cpus", "2", "--races", "20", "--break", "early-wake"])
        print(output.getvalue())
        self.assertEqual(status, cli.FAIL)
        console = verdict.parse(output.getvalue().split("--- the end of")[0])
        self.assertEqual(console.fatal, "FATAL: CPU 0 waited too long for a job on another CPU [race: jobs]")


if __name__ == "__main__":
    unittest.main()
