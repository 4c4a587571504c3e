"""Tests of the command that shows a crash again: a shell runs it, and the crash is there."""

import io
import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import unittest
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from fuzz.campaign import showing, whatsup
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


# Tells a story, always of the same minimised scenario.
_TELLING = """#!/usr/bin/python3
import json, sys
data = open(sys.argv[-1]).read()
is_text = data.startswith("# ")
if is_text:
    words = data.splitlines()[0][2:].split(" ", 1)
else:
    words = data.split("FAIL:")[1].strip(".").split(" ", 1)
if "--json" in sys.argv:
    lines = ["shootdown-scenario 1", "config cpus=2", "# a comment", "cpu 0: idle"]
    print(json.dumps({"title": "O1", "file": "x", "scenario": lines,
                      "verdict": {"oracle": words[0], "title": words[1], "detail": "d", "promise": "all (R1, R2)"}}))
else:
    print(*words)
sys.exit(1)
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

    def test_a_campaign_ends_with_the_story(self):
        build = self.home / "build"
        build.mkdir()
        shutil.copy(_TESTDATA / "fake_target.py", build / "m1_libfuzzer")
        (build / "m1_reproduce").write_text(_TELLING)
        (build / "m1_reproduce").chmod(0o755)
        output = self.run_campaign("--engine", "libfuzzer", "--binary-libfuzzer", "build/m1_libfuzzer", "--status",
                                   "state.json", "--stop-on-first", status=1, FAKE="crash")
        row = self.index()[0]
        self.assertRegex(row[6], r"^O1-[0-9a-f]{12}\.txt$")
        self.assertEqual(row[5], f"bazel run //fuzz:reproduce -- --binary build/m1_reproduce crashes/{row[6]}")
        self.assertEqual(row[7], "config cpus=2; cpu 0: idle")
        self.assertIn(f"  {row[1]} (R1, R2)\n", output)
        self.assertIn("of libFuzzer, minimised:\n      config cpus=2\n      cpu 0: idle\n    " + row[5], output)
        kept = (self.home / "crashes" / row[6]).read_text()
        self.assertIn("shootdown-scenario 1\nconfig cpus=2\n# a comment\ncpu 0: idle\n", kept)
        for file in ("state.json", "crashes/status.json"):
            told = json.loads((self.home / file).read_text())
            kind, = told["kinds"]
            self.assertEqual((told["over"], told["crashes"], kind["title"]), (True, 1, row[1]))
            story, = kind["stories"]
            self.assertEqual((story["rules"], "; ".join(story["scenario"]), story["command"]),
                             ("R1, R2", row[7], row[5]))

    def test_the_page_of_a_campaign(self):
        build = self.home / "build"
        build.mkdir()
        shutil.copy(_TESTDATA / "fake_target.py", build / "m1_libfuzzer")
        (build / "m1_reproduce").write_text(_TELLING)
        (build / "m1_reproduce").chmod(0o755)
        output = self.run_campaign("--engine", "libfuzzer", "--binary-libfuzzer", "build/m1_libfuzzer", "--report",
                                   "pages", "--time", "6", status=1, FAKE="crash")
        self.assertIn("A page about all this: pages/report.html\n", output)
        text = (self.home / "pages/report.html").read_text()
        for part in ("config cpus=2\ncpu 0: idle\n\nbazel run //fuzz:reproduce", "(R1, R2)", "<polyline",
                     "libFuzzer<td>"):
            self.assertIn(part, text)
        page = re.search(r'href="(O1-\w+\.html)">its timeline', text)[1]
        self.assertIn("<!DOCTYPE html>", (self.home / "pages" / page).read_text())
        links = re.findall(r'href="([^"]+)"', text)
        self.assertEqual([link for link in links if not (self.home / "pages" / link).is_file()], [])
        self.run_campaign("--engine", "libfuzzer", "--report", "clean", "--executions", "5000", "--status", "s.json",
                          status=0)
        self.assertIn("Nothing has failed.", (self.home / "clean/report.html").read_text())
        out = io.StringIO()
        os.environ["BUILD_WORKING_DIRECTORY"] = str(self.home)
        self.addCleanup(os.environ.pop, "BUILD_WORKING_DIRECTORY")
        with redirect_stdout(out), redirect_stderr(out):
            found = [whatsup.main(words) for words in (["s.json"], ["s.json", "crashes"], ["clean"], ["s.json", "log"])]
        self.assertEqual(found, [0, 1, 2, 2], out.getvalue())
        self.assertRegex(out.getvalue(), r"(?m)^crashes: over +\d+/6 s .* 1 kinds of failure, \d+ files$")
        self.assertIn("in 1 campaigns\n  bazel run //fuzz:reproduce -- --binary build/m1_reproduce", out.getvalue())

    def test_a_story_of_something_else_is_none(self):
        for broken in ("import sys; sys.exit(1)", "print('{'); raise SystemExit(1)",
                       _TELLING.replace('"oracle": words[0]', '"oracle": "O2"'),
                       _TELLING.replace("if is_text:", "if is_text: sys.exit(print('ok'))\nif is_text:")):
            with self.subTest(broken):
                reproducer = self.home / "x_reproduce"
                reproducer.write_text("#!/usr/bin/python3\n" + broken)
                reproducer.chmod(0o755)
                crash = self.home / "crash.bin"
                crash.write_text("FAIL:O1 late")
                self.assertIsNone(showing.story(self.home / "x_libfuzzer", crash, Title("O1", "late")))

    def test_random_search_is_run_again_where_there_is_no_reproducer(self):
        self.run_campaign("--engine", "random", "--stop-on-first", status=1, FAKE_SEARCH="17")
        words = shlex.split(self.index()[0][5])
        self.assertEqual(words[1:5], ["--seed", str(2**32), "--executions", "17"])


if __name__ == "__main__":
    unittest.main()
