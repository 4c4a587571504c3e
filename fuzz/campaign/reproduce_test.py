"""Tests of the wrapper around the reproducer."""

import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from fuzz.campaign.disk import write_whole

FAKE = Path(__file__).parent / "testdata/fake_reproduce.py"
START = "from fuzz.campaign import ending, reproduce; ending.run('reproduce', reproduce.main)"


class ReproduceTest(unittest.TestCase):
    def setUp(self):
        self.home = Path(self.enterContext(tempfile.TemporaryDirectory()))
        (self.home / "crash.bin").write_text("1")
        self.env = {**os.environ, "BUILD_WORKING_DIRECTORY": str(self.home),
                    "PYTHONPATH": ":".join(path for path in sys.path if path)}

    def reproduce(self, *options: str, status: int, binary: Path = FAKE) -> str:
        run = subprocess.run(
            [sys.executable, "-c", START, "--binary", str(binary), *options], env=self.env,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd="/", check=False)
        self.assertEqual(run.returncode, status, run.stdout)
        return run.stdout

    def test_exit_status_is_that_of_the_reproducer(self):
        for status in (0, 1, 2):
            (self.home / "crash.bin").write_text(str(status))
            self.assertEqual(self.reproduce("crash.bin", status=status),
                             f"called: {self.home}/crash.bin\n")

    def test_modes_are_passed_on(self):
        self.assertEqual(self.reproduce("--bytes", "crash.bin", status=1),
                         f"called: --bytes {self.home}/crash.bin\n")
        self.assertEqual(self.reproduce("--title", "crash.bin", status=1),
                         f"called: --title {self.home}/crash.bin\n")
        self.assertEqual(self.reproduce("--minimise", "crash.bin", "-o", "small", status=1),
                         f"called: --minimise {self.home}/crash.bin -o {self.home}/small\n")
        self.assertEqual(self.reproduce("crash.bin", "--last", "5", status=1),
                         f"called: {self.home}/crash.bin --last 5\n")

    def test_several_files_are_told_one_by_one_and_a_bad_one_says_so(self):
        (self.home / "bad.bin").write_text("2")
        self.assertEqual(self.reproduce("crash.bin", "bad.bin", "--width", "99", status=2),
                         f"==> crash.bin <==\ncalled: {self.home}/crash.bin --width 99\n\n"
                         f"==> bad.bin <==\ncalled: {self.home}/bad.bin --width 99\n"
                         "not run; standard error tells why\n\n")
        self.assertEqual(self.reproduce("bad.bin", "crash.bin", "--title", status=2),
                         f"bad.bin: not run; standard error tells why\n"
                         f"crash.bin: called: --title {self.home}/crash.bin\n")

    def test_an_output_replaces_no_input(self):
        (self.home / "other").hardlink_to(self.home / "crash.bin")
        for option in ("-o", "--html", "--perfetto", "--cpp"):
            self.assertIn("other is the file that is read", self.reproduce("crash.bin", option, "other", status=2))
        self.assertEqual((self.home / "crash.bin").read_text(), "1")

    def test_what_was_not_foreseen_is_one_line_and_status_2(self):
        # The program that stands in prints no record.
        said = self.reproduce("crash.bin", "--html", "story.html", status=2)
        self.assertRegex(said, r"^reproduce: internal error: JSONDecodeError: .*\n$")
        self.assertFalse((self.home / "story.html").exists())

    def test_standard_output_that_is_closed(self):
        run = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-c", START, "--help"], env=self.env,
                             stderr=subprocess.PIPE, text=True, check=False)
        self.assertEqual((run.returncode, run.stderr),
                         (2, "reproduce: the output cannot be written: standard output is closed\n"))

    def test_a_written_file_replaces_no_link_and_no_fifo(self):
        target = self.home / "target"
        (self.home / "link").symlink_to(target)
        write_whole(self.home / "link", b"one")
        self.assertTrue((self.home / "link").is_symlink())
        self.assertEqual(target.read_bytes(), b"one")
        os.mkfifo(self.home / "pipe")
        reader = os.open(self.home / "pipe", os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        write_whole(self.home / "pipe", b"two")
        self.assertEqual(os.read(reader, 9), b"two")
        self.assertTrue((self.home / "pipe").is_fifo())

    def test_files_that_cannot_be_read(self):
        self.assertIn(f"nowhere: no such file. Paths are relative to {self.home}.",
                      self.reproduce("nowhere", status=2))
        self.assertIn("is a folder. Name one file, for example crash.bin.",
                      self.reproduce(".", status=2))
        (self.home / "dangling").symlink_to("gone")
        self.assertIn("dangling: no such file", self.reproduce("dangling", status=2))

    def test_what_is_no_file_is_refused_and_not_waited_for(self):
        os.mkfifo(self.home / "pipe")
        for name in ("pipe", "/dev/null"):
            self.assertIn("is no file", self.reproduce(name, status=2))

    def test_a_program_that_is_no_reproducer(self):
        for program in ("/bin/true", "/bin/false", "/usr/bin/yes"):
            said = self.reproduce("crash.bin", status=2, binary=Path(program))
            self.assertEqual(said, f"reproduce: {program} is no reproducer: it does not say so when "
                             "asked for --help. Check --binary.\n")

    def test_an_explorer_that_is_none(self):
        for program in ("/bin/true", FAKE):
            run = subprocess.run(
                [sys.executable, "-c", START.replace("reproduce", "explore"), "--program", str(program),
                 "crash.bin"], env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                cwd="/", check=False)
            self.assertEqual((run.returncode, run.stdout),
                             (2, f"explore: {program} is no explorer: it does not say so when asked for "
                              "--help; check --program\n"))

    def test_standard_output_that_cannot_be_written(self):
        with open("/dev/full", "w", encoding="utf-8") as full:
            run = subprocess.run([sys.executable, "-c", START, "--help"], env=self.env, stdout=full,
                                 stderr=subprocess.PIPE, text=True, cwd="/", check=False)
        self.assertEqual((run.returncode, run.stderr),
                         (2, "reproduce: the output cannot be written: No space left on device\n"))

    def test_bad_usage(self):
        for option in ("-o", "--html", "--perfetto", "--against"):
            self.assertIn(f"{option} is for one file, but got a and b",
                          self.reproduce("a", "b", option, "out", status=2))
        self.assertIn("required: FILE", self.reproduce(status=2))
        for number in ("few", "-1", "", "1_0", "\u0661"):
            self.assertEqual("reproduce: --last and --width need a number; --help tells more\n",
                             self.reproduce("crash.bin", "--last", number, status=2))
        self.assertEqual(1, self.reproduce("--nosuch", status=2).count("\n"))
        self.assertIn("not allowed with", self.reproduce("--text", "--title", "x", status=2))
        self.assertIn("cannot write to the folder nowhere",
                      self.reproduce("crash.bin", "-o", "nowhere/x", status=2))
        self.assertIn("is no program", self.reproduce("crash.bin", status=2,
                                                      binary=self.home / "crash.bin"))

    def test_help(self):
        self.assertIn("exit status: 0 no oracle fired", self.reproduce("--help", status=0))


if __name__ == "__main__":
    unittest.main()
