"""Tests of what the campaign says to users who ask for something impossible."""

import shutil
import unittest

from fuzz.campaign import options
from fuzz.campaign.campaign_fixture import CampaignFixture


class UsageTest(CampaignFixture):
    def test_help(self):
        output = self.run_campaign("--help", status=0)
        self.assertIn("exit status: 0 nothing found, 1 something found, 2", output)

    def test_bad_values(self):
        for words in (["--seconds", "0"], ["--seconds", "soon"], ["--time", "0m"], ["--time", "2w"],
                        ["--time", "-1h"], ["--status", "nowhere/s"], ["--engine", "honggfuzz"],
                        ["--jobs", "-1"], ["--nonsense"]):
            with self.subTest(words):
                output = self.run_campaign(*words, status=2)
                self.assertIn(words[0], output)
                self.assertEqual(output.count("\n"), 1, output)

    def test_durations(self):
        for text, seconds in (("10", 10.0), ("1.5s", 1.5), ("10m", 600.0), ("2h", 7200.0), (".5d", 43200.0)):
            self.assertEqual(options._duration(text), seconds)
        self.assertIn("for 0.6 s", self.run_campaign("--time", "0.01m", status=0))

    def test_targets_without_a_random_search(self):
        for target in ("scenario-text", "litmus-text"):
            output = self.run_campaign("--target", target, "--engine", "all", status=2)
            self.assertIn(f"--target {target} has no engine random. Use --engine both.", output)
        self.assertIn("invalid choice: 'text'", self.run_campaign("--target", "text", status=2))

    def test_missing_afl(self):
        (self.tools / "afl-fuzz").unlink()
        for tool in ("python3", "sh"):
            (self.tools / tool).symlink_to(shutil.which(tool))
        output = self.run_campaign(status=2, PATH=str(self.tools))
        self.assertIn("Debian package afl++; run tools/setup", output)

    def test_missing_program(self):
        output = self.run_campaign("--binary-afl", "nowhere", status=2)
        self.assertIn(f"{self.home}/nowhere: no such fuzz program", output)

    def test_program_that_is_none(self):
        (self.home / "text").write_text("x")
        self.assertIn("not executable", self.run_campaign("--binary-afl", "text", status=2))

    def test_folders_that_cannot_be(self):
        (self.home / "file").write_text("x")
        self.assertIn(f"{self.home}/file is not a folder",
                      self.run_campaign("--crashes", "file/below", status=2))
        self.assertIn("--corpus: " + str(self.home / "file"),
                      self.run_campaign("--corpus", "file", status=2))
        self.assertIn("--corpus: /proc/corpus cannot be made",
                      self.run_campaign("--corpus", "/proc/corpus", status=2))
        self.assertIn("--dict", self.run_campaign("--dict", "nowhere", status=2))


if __name__ == "__main__":
    unittest.main()
