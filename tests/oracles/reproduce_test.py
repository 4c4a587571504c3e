#!/usr/bin/python3
"""The reproducer on good files, bad files and files that are no scenarios at all.

usage: reproduce_test.py REPRODUCE SCENARIO...
"""

import os
import random
import stat
import subprocess
import sys
import tempfile
import unittest

REPRODUCE = None
SCENARIOS = []
OK, FOUND, USAGE = 0, 1, 2
# Far longer than any run takes: a hang fails instead of blocking.
SECONDS = 60


class ReproduceTest(unittest.TestCase):

    def setUp(self):
        folder = tempfile.TemporaryDirectory(dir=os.environ.get("TEST_TMPDIR"))
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def path(self, name):
        return os.path.join(self.folder, name)

    def file(self, content, name="scenario"):
        with open(self.path(name), "wb") as out:
            out.write(content if isinstance(content, bytes) else content.encode())
        return self.path(name)

    def reproduce(self, *arguments):
        done = subprocess.run([REPRODUCE, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              timeout=SECONDS, check=False)
        self.assertIn(done.returncode, (OK, FOUND, USAGE), done.stderr.decode(errors="replace"))
        return done.returncode, done.stdout, done.stderr.decode(errors="replace")

    def refused(self, *arguments):
        """Returns the message of a run that must be refused."""
        status, out, error = self.reproduce(*arguments)
        self.assertEqual(status, USAGE)
        self.assertEqual(out, b"")
        self.assertTrue(error.startswith("reproduce: "), error)
        self.assertEqual(error.count("\n"), 1, error)
        return error

    # ---- Good files

    def test_every_scenario_is_clean_and_told_the_same_twice(self):
        for scenario in SCENARIOS:
            status, story, _ = self.reproduce(scenario)
            self.assertEqual(status, OK, scenario)
            for part in (b"CONFIGURATION", b"SCENARIO", b"INTERLEAVING", b"VERDICT", b"  ok: "):
                self.assertIn(part, story)
            self.assertEqual(self.reproduce(scenario)[1], story, "another process, other addresses")

    def test_bytes_and_text_tell_the_same_story(self):
        for scenario in SCENARIOS:
            _, story, _ = self.reproduce(scenario)
            self.assertEqual(self.reproduce("-o", self.path("out.bin"), scenario)[0], OK)
            self.assertEqual(self.reproduce(self.path("out.bin"))[1], story)

    def test_text_goes_out_as_it_came_in(self):
        for scenario in SCENARIOS:
            _, text, _ = self.reproduce("--text", scenario)
            copy = self.file(text, "copy.txt")
            self.assertEqual(self.reproduce("--text", copy)[1], text)
            self.reproduce("--text", "-o", self.path("again.txt"), copy)
            with open(self.path("again.txt"), "rb") as again:
                self.assertEqual(again.read(), text)

    def test_text_may_begin_with_comments(self):
        status, text, _ = self.reproduce(
            "--text", self.file("# why this matters\n\nshootdown-scenario 1\nconfig cpus=1\n"
                                "cpu 0: read page=3\n"))
        self.assertEqual(status, OK)
        self.assertIn(b"cpu 0: read page=3", text)

    def test_dos_line_ends_are_fine(self):
        unix = b"shootdown-scenario 1\nconfig cpus=1\ncpu 0: read page=3\n"
        self.assertEqual(self.reproduce("--text", self.file(unix.replace(b"\n", b"\r\n")))[1],
                         self.reproduce("--text", self.file(unix))[1])

    def test_title_is_one_line(self):
        self.assertEqual(self.reproduce("--title", SCENARIOS[0])[1], b"ok\n")

    def test_last_limits_the_interleaving(self):
        _, story, _ = self.reproduce(SCENARIOS[0])
        _, short, _ = self.reproduce("--last", "3", SCENARIOS[0])
        self.assertLess(len(short), len(story))
        self.assertIn(b"earlier lines", short)
        tail = story[story.index(b"VERDICT"):]
        self.assertTrue(short.endswith(tail))

    def test_minimising_what_is_clean_changes_nothing(self):
        _, story, _ = self.reproduce(SCENARIOS[0])
        status, minimised, _ = self.reproduce("--minimise", SCENARIOS[0])
        self.assertEqual((status, minimised), (OK, story))

    def test_help_is_no_error(self):
        status, out, error = self.reproduce("--help")
        self.assertEqual((status, error), (OK, ""))
        self.assertIn(b"usage:", out)

    # ---- Files that are cut or no scenarios

    def test_an_empty_file_is_the_default_scenario(self):
        status, story, _ = self.reproduce(self.file(b""))
        self.assertEqual(status, OK)
        self.assertIn(b"CPUs 4, address spaces 2", story)

    def test_every_prefix_of_a_byte_file_runs(self):
        self.reproduce("-o", self.path("whole.bin"), SCENARIOS[-1])
        with open(self.path("whole.bin"), "rb") as whole:
            content = whole.read()
        self.assertGreater(len(content), 20)
        for size in range(len(content)):
            self.assertEqual(self.reproduce("--title", self.file(content[:size]))[0], OK, size)

    def test_every_prefix_of_a_text_file_runs_or_names_its_last_line(self):
        with open(SCENARIOS[0], "rb") as whole:
            content = whole.read()
        for size in range(0, len(content), 5):
            path = self.file(content[:size])
            status, _, error = self.reproduce("--title", path)
            if status == USAGE:
                last = content[:size].count(b"\n") + 1
                self.assertRegex(error, f"^reproduce: {path}:({last}|{last - 1}): ")

    def test_random_bytes_run(self):
        generator = random.Random(20190613)
        for _ in range(40):
            content = bytes(generator.getrandbits(8) for _ in range(generator.randrange(2000)))
            self.assertEqual(self.reproduce("--title", self.file(content))[0], OK)

    def test_random_changes_of_a_text_run_or_are_explained(self):
        generator = random.Random(20190613)
        with open(SCENARIOS[0], "rb") as whole:
            content = whole.read()
        for _ in range(40):
            changed = bytearray(content)
            for _ in range(generator.randrange(1, 4)):
                changed[generator.randrange(len(changed))] = generator.getrandbits(8)
            status, _, error = self.reproduce("--title", self.file(bytes(changed)))
            self.assertEqual(status == USAGE, error.startswith("reproduce: "), error)

    def test_a_wrong_line_of_text_is_named_with_its_fix(self):
        error = self.refused(self.file("shootdown-scenario 1\nconfig cpus=1\ncpu 0: unmaap mm=0\n"))
        self.assertIn(":3: unknown operation 'unmaap'; did you mean 'unmap'?", error)

    def test_ten_megabytes_are_refused(self):
        for content in (bytes(10 << 20), b"shootdown-scenario 1\n" + b"# \n" * (10 << 18)):
            self.assertIn("too many", self.refused(self.file(content)))

    # ---- What is no readable file

    def test_a_missing_file_is_named(self):
        error = self.refused(self.path("nowhere"))
        self.assertIn(self.path("nowhere") + ": No such file", error)

    def test_a_file_without_permission_is_named(self):
        path = self.file(b"")
        os.chmod(path, 0)
        self.addCleanup(os.chmod, path, stat.S_IRUSR | stat.S_IWUSR)
        if os.access(path, os.R_OK):
            return  # Root reads everything.
        self.assertIn("Permission denied", self.refused(path))

    def test_what_is_not_a_file_is_refused_and_not_waited_for(self):
        os.mkfifo(self.path("pipe"))
        for path in (self.folder, self.path("pipe"), "/dev/zero"):
            self.assertIn(path + ": not a file", self.refused(path))

    def test_an_output_that_cannot_be_written_is_named(self):
        out = self.path("no/such/folder/out.bin")
        status, _, error = self.reproduce("-o", out, SCENARIOS[0])
        self.assertEqual(status, USAGE)
        self.assertIn(out, error)

    # ---- Usage

    def test_bad_usage_is_explained(self):
        for arguments, part in (
                ((), "no file given"),
                (("--wat", SCENARIOS[0]), "unknown option --wat"),
                ((SCENARIOS[0], SCENARIOS[0]), "one file at a time"),
                ((SCENARIOS[0], "--last"), "--last needs a number"),
                (("--last", "", SCENARIOS[0]), "--last needs a number"),
                (("--last", "many", SCENARIOS[0]), "--last needs a number"),
                (("--last", "-1", SCENARIOS[0]), "--last needs a number"),
                (("--last", "99999999999", SCENARIOS[0]), "--last needs a number"),
                ((SCENARIOS[0], "-o"), "-o needs a file name")):
            with self.subTest(arguments=arguments):
                self.assertIn(part, self.refused(*arguments))


if __name__ == "__main__":
    REPRODUCE, *SCENARIOS = sys.argv[1:]
    unittest.main(argv=sys.argv[:1], verbosity=2)
