"""The runner as a program, with a stand-in for Bochs: exit status, messages, and nothing left behind."""

import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest

GLUE = os.path.abspath("kernel-glue")
FAKE = os.path.abspath("tests/boot/fake_bochs.py")

GOOD = """\
shootdown test kernel
# cpus=4 flush=concurrent break=none pti=off defer=off early=off masks=exact lazy=queued targets=not-lazy ceiling=33
KTAP version 1
1..2
ok 1 first
ok 2 second
# totals: 2 passed, 0 failed, 0 skipped
"""

IMAGE = b"before\nset options=\"" + b" " * 1000 + b"\"\nafter\n"


class RunnerTest(unittest.TestCase):

    def setUp(self):
        folder = tempfile.TemporaryDirectory(dir=os.environ["TEST_TMPDIR"])
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.image = os.path.join(self.folder, "kernel.iso")
        with open(self.image, "wb") as file:
            file.write(IMAGE)
        # Where the runner makes its temporary folders.
        self.temporary = os.path.join(self.folder, "tmp")
        os.mkdir(self.temporary)

    def command(self, *arguments, bochs=FAKE):
        return [sys.executable, os.path.join(GLUE, "boot.py"), "--bochs", bochs, "--image", self.image,
                *arguments]

    def environment(self, console, end):
        return {**os.environ, "FAKE_CONSOLE": console, "FAKE_END": end, "TMPDIR": self.temporary,
                "FAKE_PID": os.path.join(self.folder, "pid"), "BUILD_WORKING_DIRECTORY": self.folder}

    def run_runner(self, *arguments, console=GOOD, end="0", bochs=FAKE):
        """Exit status and all output."""
        done = subprocess.run(self.command(*arguments, bochs=bochs), env=self.environment(console, end),
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=50)
        self.assertEqual(os.listdir(self.temporary), [], "a temporary folder was left behind")
        return done.returncode, done.stdout.decode()

    def assert_no_emulator(self):
        with open(os.path.join(self.folder, "pid"), encoding="ascii") as file:
            number = int(file.read())
        with self.assertRaises(ProcessLookupError):
            os.kill(number, 0)

    def test_good(self):
        status, output = self.run_runner()
        self.assertEqual(status, 0, output)
        self.assertTrue(output.startswith(GOOD), output)
        self.assertIn("PASS: 2 passed", output)

    def test_truncated(self):
        status, output = self.run_runner(console=GOOD[:GOOD.index("ok 2")])
        self.assertEqual(status, 1, output)
        self.assertIn("2 tests are planned, results are there for: 1", output)
        self.assertIn("a line of the emulator's log", output)

    def test_panic(self):
        status, output = self.run_runner(console=GOOD[:GOOD.index("ok 2")] + "\nFATAL: no\n", end="1")
        self.assertEqual(status, 1, output)
        self.assertIn("the kernel stopped: FATAL: no", output)

    def test_silent_emulator(self):
        status, output = self.run_runner(console="", end="1")
        self.assertEqual(status, 1, output)
        self.assertIn("the kernel did not boot", output)

    def test_hang(self):
        begin = time.monotonic()
        status, output = self.run_runner("--timeout", "4", console=GOOD[:GOOD.index("ok 2")], end="hang")
        self.assertEqual(status, 1, output)
        self.assertIn("no end within 4 s: the emulator was killed", output)
        self.assertIn("ok 1 first", output)
        self.assertLess(time.monotonic() - begin, 40)
        self.assert_no_emulator()

    def interrupt(self, number):
        runner = subprocess.Popen(self.command(), env=self.environment(GOOD, "hang"),
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        while not os.path.exists(os.path.join(self.folder, "pid")):
            self.assertIsNone(runner.poll())
            time.sleep(0.02)
        time.sleep(0.1)
        runner.send_signal(number)
        output = runner.communicate(timeout=30)[0].decode()
        self.assertEqual(runner.returncode, 130, output)
        self.assertIn("interrupted", output)
        self.assertNotIn("Traceback", output)
        self.assert_no_emulator()
        self.assertEqual(os.listdir(self.temporary), [])

    def test_interrupt_key(self):
        self.interrupt(signal.SIGINT)

    def test_terminated(self):
        self.interrupt(signal.SIGTERM)

    def test_missing_emulator(self):
        status, output = self.run_runner(bochs="no-such-emulator")
        self.assertEqual(status, 2, output)
        self.assertIn("missing: no-such-emulator (Debian package bochs); tools/setup installs it", output)

    def test_bad_values(self):
        for options in (["--cpus", "0"], ["--timeout", "nan"], ["--pti", "maybe"], ["--nonsense"]):
            status, output = self.run_runner(*options)
            self.assertEqual(status, 2, output)
            self.assertIn(options[0], output)
            self.assertEqual(output.count("\n"), 1, output)

    def test_a_folder_that_cannot_be(self):
        status, output = self.run_runner("--keep", "kernel.iso")
        self.assertEqual(status, 2, output)
        self.assertEqual(output, f"boot: {self.image}: File exists. Make room, or name another folder "
                         "with --keep.\n")

    def test_missing_image(self):
        os.remove(self.image)
        status, output = self.run_runner()
        self.assertEqual(status, 2, output)
        self.assertIn("no boot image", output)

    def test_foreign_image(self):
        with open(self.image, "wb") as file:
            file.write(b"something else")
        status, output = self.run_runner()
        self.assertEqual(status, 2, output)
        self.assertIn("no place for the kernel's options", output)

    def test_options_reach_the_image(self):
        console = GOOD.replace("concurrent", "serial").replace("break=none", "break=no-ipi").replace(
            "pti=off", "pti=on").replace("ceiling=33", "ceiling=8")
        status, output = self.run_runner("--serial-flush", "--break", "no-ipi", "--pti", "on", "--ceiling", "8",
                                         "--keep", "kept", console=console)
        self.assertEqual(status, 0, output)
        with open(os.path.join(self.folder, "kept", "kernel.iso"), "rb") as file:
            image = file.read()
        self.assertEqual(len(image), len(IMAGE))
        self.assertIn(b'set options="serial-flush break=no-ipi pti=on ceiling=8   ', image)
        with open(os.path.join(self.folder, "kept", "serial.log"), encoding="ascii") as file:
            self.assertEqual(file.read(), console)

    def test_kernel_ignores_an_option(self):
        status, output = self.run_runner("--serial-flush")
        self.assertEqual(status, 1, output)
        self.assertIn("asked for flush=serial, the kernel has flush=concurrent", output)

    def test_bench_without_figures(self):
        status, output = self.run_runner("--bench")
        self.assertEqual(status, 1, output)
        self.assertIn("not measured: 33 pages", output)

    def test_what_cannot_be_asked_for_together(self):
        for arguments, words in [
                (("--defer", "on"), "--defer on defers what page-table isolation needs: add --pti on"),
                (("--bench", "--break", "no-ipi"), "--bench runs none"),
                (("--model", "nosuch"), "--model nosuch: Bochs has no such CPU. It has model_a, model_b.")]:
            with self.subTest(arguments=arguments):
                status, output = self.run_runner(*arguments)
                self.assertEqual(status, 2, output)
                self.assertEqual(len(output.splitlines()), 1, output)
                self.assertIn(words, output)
        console = GOOD.replace("pti=off defer=off", "pti=on defer=on")
        status, output = self.run_runner("--pti", "on", "--defer", "on", "--model", "model_b", console=console)
        self.assertEqual(status, 0, output)

    def test_disk_is_full(self):
        os.mkdir(os.path.join(self.folder, "kept"))
        os.symlink("/dev/full", os.path.join(self.folder, "kept", "kernel.iso"))
        status, output = self.run_runner("--keep", "kept")
        self.assertEqual(status, 2, output)
        self.assertIn("No space left on device", output)
        self.assertNotIn("Traceback", output)

    def run_in_qemu(self, *arguments, console=GOOD, end):
        return self.run_runner("--emulator", "qemu", "--qemu", FAKE, *arguments, console=console, end=end)

    def test_qemu_ends_by_its_exit_port(self):
        one_cpu = GOOD.replace("cpus=4", "cpus=1")
        status, output = self.run_in_qemu("--cpus", "1", console=one_cpu, end=str(2 * ord("D") + 1))
        self.assertEqual(status, 0, output)
        failed = one_cpu.replace("ok 2", "not ok 2").replace("2 passed, 0", "1 passed, 1")
        status, output = self.run_in_qemu("--cpus", "1", console=failed, end=str(2 * ord("S") + 1))
        self.assertEqual(status, 1, output)
        self.assertIn("test 2 'second' failed", output)

    def test_a_reset_is_no_good_end(self):
        status, output = self.run_in_qemu("--cpus", "4", end="0")
        self.assertEqual(status, 1, output)
        self.assertIn("the machine was reset: a triple fault", output)

    def test_qemu_gets_the_options(self):
        status, output = self.run_in_qemu("--cpus", "4", "--pti", "on", "--keep", "kept", end="137",
                                         console=GOOD.replace("pti=off", "pti=on"))
        self.assertEqual(status, 0, output)
        with open(os.path.join(self.folder, "kept", "kernel.iso"), "rb") as file:
            self.assertIn(b'set options="pti=on   ', file.read())

    def test_repeated_races(self):
        console = GOOD.replace("ceiling=33", "ceiling=33 races=250 seed=7")
        status, output = self.run_runner("--races", "0.25", "--seed", "7", "--repeat", "2", console=console)
        self.assertIn("--- run 1 of 2, seed 7\n", output)
        self.assertIn("--- run 2 of 2, seed 8\n", output)
        self.assertEqual((status, output.count("PASS: ")), (1, 1), output)
        self.assertIn("asked for seed=8, the kernel has seed=7", output)
        status, output = self.run_runner("--repeat", "3")
        self.assertEqual((status, output.count("PASS: ")), (0, 3), output)
        self.assertIn("asked for races=500", self.run_runner("--races", "0.5", console=console)[1])

    def test_titles(self):
        status, output = self.run_runner("--list", console=GOOD.splitlines()[0] + "\n# test: one\n# test: two\n")
        self.assertEqual(status, 0, output)
        self.assertEqual(self.run_runner("--list", console="shootdown test kernel\n", end="1")[0], 1)

    def test_until_failure(self):
        failed = GOOD.replace("ok 2", "not ok 2").replace("2 passed, 0", "1 passed, 1")
        status, output = self.run_runner("--repeat", "3", "--until-failure", console=failed, end="1")
        self.assertEqual((status, output.count("FAIL after")), (1, 1), output)
        self.assertEqual(self.run_runner("--repeat", "2", console=failed, end="1")[1].count("FAIL after"), 2)

    def test_what_qemu_cannot(self):
        self.assertIn("leave --emulator qemu out", self.run_in_qemu("--bench", end="0")[1])
        status, output = self.run_runner("--emulator", "qemu", "--qemu", "no-such-emulator")
        self.assertEqual(status, 2, output)
        self.assertIn("no-such-emulator (Debian package qemu-system-x86); tools/setup installs it", output)

    def test_wrong_usage(self):
        for arguments in [("--cpus", "0"), ("--cpus", "16"), ("--cpus", "x"), ("--timeout", "-1"),
                          ("--timeout", "nan"), ("--break", "everything"), ("--pti", "yes"), ("--ceiling", "-1"),
                          ("--nonsense",)]:
            with self.subTest(arguments=arguments):
                status, output = self.run_runner(*arguments)
                self.assertEqual(status, 2, output)
        self.assertIn("1 to 15", self.run_runner("--cpus", "16")[1])

    def test_help(self):
        status, output = self.run_runner("--help")
        self.assertEqual(status, 0)
        self.assertIn("--serial-flush", output)


if __name__ == "__main__":
    unittest.main()
