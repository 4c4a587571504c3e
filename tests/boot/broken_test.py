"""The self-tests can fail: with the remote shootdown disabled, those that need it do.

And only those: the kernel still boots, runs every test, and the positive control passes, because it
disables the shootdown itself.
"""

import contextlib
import io
import unittest

from bochs_runner import cli
from bochs_runner import verdict

NEED_REMOTE_SHOOTDOWN = [
    "remote shootdown to spinning CPUs",
    "lazy CPU skipped, then fresh",
    "freed tables to a lazy CPU",
    "every CPU initiates in turn",
    "concurrent initiators",
]


class BrokenTest(unittest.TestCase):

    def test_no_ipi(self):
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            status = cli.main(["--cpus", "4", "--break", "no-ipi"])
        print(output.getvalue())
        self.assertEqual(status, cli.FAIL)
        console = verdict.parse(output.getvalue().split("--- the end of")[0])
        self.assertEqual(console.failed(), NEED_REMOTE_SHOOTDOWN)
        self.assertEqual(console.fatal, "")
        self.assertEqual(len(console.results), console.plans[0])
        self.assertEqual(console.configuration["break"], "no-ipi")


if __name__ == "__main__":
    unittest.main()
