"""Each way to die ends in a line that names it, and the other CPUs are told of, too."""

import contextlib
import io
import unittest

from bochs_runner import cli, verdict


class DeathTest(unittest.TestCase):

    def boot(self, *arguments):
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            status = cli.main(list(arguments))
        print(output.getvalue())
        self.assertEqual(status, cli.FAIL)
        return output.getvalue(), verdict.parse(output.getvalue().split("--- the end of")[0]).fatal

    def check(self, broken, fatal):
        for pti in ("off", "on"):
            with self.subTest(pti=pti):
                output, found = self.boot("--cpus", "2", "--break", broken, "--pti", pti)
                self.assertRegex(found, fatal)
                self.assertNotIn("the emulator was killed", output)
        return output

    def test_stack_overflow(self):
        output = self.check("stack-overflow", r"^FATAL: the stack of CPU 0 has overflowed, by calls or by exceptions")
        self.assertRegex(output, r"# CPU 0: reports, mm 0x\w+ in ASID 0")
        self.assertRegex(output, r"# CPU 1: at rip 0x\w+, mm 0x\w+ in ASID 0")

    def test_wrong_gs(self):
        self.check("wrong-gs", r"^FATAL: the stack of CPU 0 has overflowed")

    def test_error_in_the_report(self):
        output = self.check("fatal-report", r"^FATAL: ")
        self.assertIn("FATAL: another error while a fatal one is reported, on CPU 0", output)


if __name__ == "__main__":
    unittest.main()
