"""The self-tests can fail: with a remote shootdown disabled, those that need it do; so with a wrong key.

And only those: the kernel still boots, runs every test, and the positive controls pass, because they
disable the shootdown themselves.
"""

import contextlib
import io
import unittest

from bochs_runner import cli
from bochs_runner import verdict

NEED = {
    "no-ipi": [
        "remote shootdown to spinning CPUs",
        "lazy CPU skipped, then fresh",
        "freed tables to a lazy CPU",
        "every CPU initiates in turn",
        "concurrent initiators",
        "reclaim batch",
        "pending batch",
        "page of 2 MiB",
        "page of 1 GiB",
        "protect",
        "protect, acknowledged early",
    ],
    "no-kernel-flush": [
        "kernel range flush",
        "CPU parked and back",
        "CPU reset and started again",
    ],
    "wrong-key": ["static key"],
}


class BrokenTest(unittest.TestCase):

    def check(self, broken, *options):
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            status = cli.main(["--cpus", "4", "--break", broken, *options])
        print(output.getvalue())
        self.assertEqual(status, cli.FAIL)
        console = verdict.parse(output.getvalue().split("--- the end of")[0])
        self.assertEqual(console.failed(), NEED[broken])
        self.assertEqual(console.fatal, "")
        self.assertEqual(len(console.results), console.plans[0])
        self.assertEqual(console.configuration["break"], broken)

    def test_user_pages(self):
        self.check("no-ipi")

    def test_user_pages_under_isolation(self):
        self.check("no-ipi", "--pti", "on")

    def test_kernel_pages(self):
        self.check("no-kernel-flush")

    def test_key(self):
        self.check("wrong-key")

    def test_kernel_pages_under_isolation(self):
        self.check("no-kernel-flush", "--pti", "on")


if __name__ == "__main__":
    unittest.main()
