"""Tests of the command that shows a crash again: a shell runs it, and the crash is there."""

import os
import shlex
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

from fuzz.campaign.campaign_fixture import CampaignFixture
from fuzz.campaign.crashes import Title
from fuzz.campaign.showing import command, reproducer_of

_TESTDATA = Path(__file__).parent / "testdata"
# Replays like the fuzz program of the same build: what fails there fails here.
_REPRODUCER = """#!/bin/sh
[ "$1" = --title ] && shift
[ "$1" = --bytes ] && shift && bytes=1
[ "$(head -n 1 "$1")" = "shootdown-bytes 1" ] && bytes=1
[ -z "$NEEDS_BYTES$bytes" ] && echo "$1: not a scenario" >&2 && exit 2
line=$(tail -n 1 "$1")
case $line in FAIL:*) echo "${line#FAIL:}"; exit 1 ;; esac
echo ok
"""


class CommandTest(unittest.TestCase):
    def setUp(self):
        self.home = Path(self.enterContext(tempfile.TemporaryDirectory())) / "a folder"
        self.home.mkdir()
        os.environ["BUILD_WORKING_DIRECTORY"] = str(self.home)
        self.addCleanup(os.environ.pop, "BUILD_WORKING_DIRECTORY")
        self.fuzzer = self.home / "m1 x_libfuzzer"
        shutil.copy(_TESTDATA / "fake_target.py", self.fuzzer)
        self.file = self.home / "crash's file.bin"
        self.file.write_text("FAIL:O1 cpu 1 is late")

    def reproducer(self, text: str = _REPRODUCER) -> Path:
        path = self.home / "m1 x_reproduce"
        path.write_text(text)
        path.chmod(0o755)
        return path

    def command(self, title: Title = Title("O1", "cpu 1 is late"), given: str | None = None) -> str:
        return command(self.fuzzer, [str(self.fuzzer), str(self.file)], self.file, title, given)

    def test_reproducer_of_the_same_build(self):
        self.reproducer(_REPRODUCER.replace("$NEEDS_BYTES", "1"))
        self.assertEqual(self.command(), "bazel run //fuzz:reproduce -- --binary 'm1 x_reproduce' "
                                         """'crash'"'"'s file.bin'""")

    def test_reproducer_that_must_be_told_that_these_are_bytes(self):
        self.reproducer()
        self.assertIn("_reproduce' --bytes 'crash", self.command())

    def test_reproducer_that_says_ok_or_something_else_is_not_shown(self):
        for text in ("echo ok", "echo O2 else; exit 1", "exit 2", "kill -9 $$"):
            self.reproducer("#!/bin/sh\n" + text + "\n")
            self.assert_fuzzer_is_shown()

    def assert_fuzzer_is_shown(self, title: Title = Title("O1", "cpu 1 is late")):
        words = self.command(title)
        self.assertEqual(shlex.split(words), ["./m1 x_libfuzzer", "crash's file.bin"])
        run = subprocess.run(words, shell=True, cwd=self.home, stderr=subprocess.PIPE, check=False)
        self.assertNotEqual(run.returncode, 0)
        self.assertIn(b"SHOOTDOWN-FAILURE: O1", run.stderr)

    def test_build_without_a_reproducer(self):
        self.assert_fuzzer_is_shown()

    def test_what_the_reproducer_cannot_tell(self):
        self.reproducer("#!/bin/sh\nsleep 1000\n")
        self.assert_fuzzer_is_shown(Title("HANG", "no result within 10 s"))

    def test_nothing_shows_what_does_not_repeat(self):
        self.assertEqual(self.command(Title("UNSTABLE", "does not repeat")), "")

    def test_what_the_user_wants_to_read(self):
        self.assertEqual(self.command(given="my tool --"), """my tool -- 'crash'"'"'s file.bin'""")

    def test_names_of_programs(self):
        for name in ("shootdown_libfuzzer", "shootdown_afl", "search_bin"):
            (self.home / "reproduce_bin").touch(mode=0o755)
            self.assertEqual(reproducer_of(self.home / name), self.home / "reproduce_bin")
        self.assertIsNone(reproducer_of(self.home / "anything"))


class CampaignCommandTest(CampaignFixture):
    def test_summary_and_index_say_what_shows_it(self):
        build = self.home / "another build"
        build.mkdir()
        for part in ("libfuzzer", "afl", "search"):
            shutil.copy(_TESTDATA / "fake_target.py", build / f"m1_{part}")
        (build / "m1_reproduce").write_text(_REPRODUCER)
        (build / "m1_reproduce").chmod(0o755)
        output = self.run_campaign("--engine", "libfuzzer", "--binary-libfuzzer", "another build/m1_libfuzzer",
                                   "--crashes", "the crashes", "--stop-on-first", status=1, FAKE="crash")
        row = (self.home / "the crashes/titles.txt").read_text().splitlines()[1].split("\t")
        self.assertEqual(row[5], "bazel run //fuzz:reproduce -- --binary 'another build/m1_reproduce' "
                                 f"'the crashes/{row[0]}'")
        self.assertIn(f"\n    {row[5]}\n", output)

    def test_random_search_is_run_again_where_there_is_no_reproducer(self):
        self.run_campaign("--engine", "random", "--stop-on-first", status=1, FAKE_SEARCH="17")
        words = shlex.split(self.index()[0][5])
        self.assertEqual(words[1:5], ["--seed", str(2**32), "--executions", "17"])


if __name__ == "__main__":
    unittest.main()
