"""Tests of campaigns that something keeps from their work: they say what, and lose nothing."""

import signal
import subprocess
import time
import unittest
from pathlib import Path

from fuzz.campaign.campaign_fixture import CampaignFixture


class IdleEngineTest(CampaignFixture):
    """An engine that makes no execution has found nothing, but not because there is nothing."""

    def assert_idle(self, *options: str, says: str, **env: str):
        output = self.run_campaign("--seconds", "20", *options, status=2, **env)
        last = output.splitlines()[-1]
        self.assertRegex(last, "^campaign: could not do all its work: .*" + says)
        self.assertNotIn("last words", last)
        self.assertNotIn("No crash found", output)
        self.assertNotIn("Traceback", output)

    def test_libfuzzer_that_is_none(self):
        for program in ("/bin/true", "/bin/false"):
            self.assert_idle("--engine", "libfuzzer", "--binary-libfuzzer", program,
                             says=f"libFuzzer: {program} ended .*exit status [01]")

    def test_random_search_that_is_none(self):
        for program in ("/bin/true", "/bin/false"):
            self.assert_idle("--engine", "random", "--binary-random", program,
                             says=f"random: {program} ended with exit status [01] and without a word")

    def test_afl_fuzz_that_is_none(self):
        for program in ("/bin/true", "/bin/false"):
            (self.tools / "afl-fuzz").unlink()
            (self.tools / "afl-fuzz").symlink_to(program)
            self.assert_idle("--engine", "afl", says="AFL\\+\\+: afl-fuzz ended")

    def test_program_that_cannot_be_executed(self):
        broken = self.home / "broken"
        broken.write_text("no program at all")
        broken.chmod(0o755)
        for engine in ("libfuzzer", "random"):
            self.assert_idle("--engine", engine, f"--binary-{engine}", "broken",
                             says=f"{broken} cannot run: .*Exec format error")

    def test_one_idle_engine_beside_one_that_works(self):
        self.assert_idle("--binary-libfuzzer", "/bin/true", "--executions", "3000",
                         says="libFuzzer: /bin/true ended")

    def test_engine_that_ends_long_before_its_time(self):
        self.assert_idle("--engine", "libfuzzer", FAKE="quitter",
                         says="ended by itself with exit status 0 after 1,000 executions")

    def test_engine_that_had_no_time(self):
        process = self.start("--engine", "libfuzzer", "--seconds", "50", FAKE="slow")
        time.sleep(1)
        self.assertIn("made no execution", self.end(process, status=2, number=signal.SIGINT))


class FullDiskTest(CampaignFixture):
    def test_corpus(self):
        output = self.run_campaign("--corpus", "corpus", "--seconds", "50", status=2, FAKE="inputs",
                                   FULL=str(self.home / "corpus/seen"))
        self.assertRegex(output, rf"--corpus: {self.home}/corpus/seen[^\n]*: No space left on device")
        self.assertNotIn("Traceback", output)

    def test_what_was_found_before_the_corpus_is_full(self):
        output = self.run_campaign("--corpus", "corpus", "--seconds", "50", status=1, FAKE_AFL="crash",
                                   FULL=str(self.home / "corpus"), PROBE="no")
        self.assertIn("No space left on device", output)
        self.assertEqual([row[3] for row in self.index()], ["AFL++"])

    def test_crash_files_are_kept_where_they_were_found(self):
        self.keeps = True
        output = self.run_campaign("--engine", "libfuzzer", "--seconds", "50", status=1, FAKE="crash",
                                   FULL=str(self.home / "crashes"), PROBE="no")
        self.assertIn(f"--crashes: {self.home}/crashes/O1-", output)
        kept = [Path(line.removeprefix("Not copied, kept here: ")) for line in output.splitlines()
                if line.startswith("Not copied")]
        self.assertTrue(kept[0].read_text().startswith("FAIL:O1"))
        self.assertIn(str(kept[0]), output.split("the smallest:")[1])
        left = [path for path in (self.home / "tmp").rglob("*") if path.is_file()]
        self.assertEqual(sorted(left), sorted(kept), "the rest of the work folder is left")

    def test_disk_that_is_full_from_the_start(self):
        for option in ("--corpus", "--crashes"):
            output = self.run_campaign(option, "there", status=2, FULL=str(self.home))
            self.assertRegex(output, f"^campaign: {option}: cannot write to .*: No space left on device")
            self.assertEqual(len(output.splitlines()), 1)

    def test_work_folder(self):
        output = self.run_campaign(status=2, TMPDIR=str(self.home / "nowhere"))
        self.assertRegex(output, "^campaign: TMPDIR: cannot make a folder in .*nowhere: No such file")

    def test_output(self):
        with open("/dev/full", "w", encoding="ascii") as full:
            process = self.start("--engine", "libfuzzer", "--executions", "5000", stdout=full,
                                 stderr=subprocess.PIPE)
            output = process.communicate(timeout=60)[1]
            self.assertEqual((process.returncode, output), (2, "campaign: No space left on device\n"))
        process = self.start("--engine", "libfuzzer", "--seconds", "50", FAKE="crash")
        self.wait_until(lambda: len(self.index()) >= 2, "a find")
        process.stdout.close()
        self.assertEqual(process.wait(timeout=20), 1, "the output is gone, but not what was found")
        self.assert_clean()


class RealDiskTest(CampaignFixture):
    """On a small disk, which only some machines let a test have."""

    def setUp(self):
        super().setUp()
        self.disk = self.home / "disk"
        self.disk.mkdir()

    def run_on_small_disk(self, *options: str, status: int, **env: str) -> str:
        mount = ["unshare", "--mount", "--map-root-user", "sh", "-c",
                 f"mount -t tmpfs -o size=600k none '{self.disk}' && exec \"$@\"", "sh"]
        if subprocess.run([*mount, "true"], check=False, capture_output=True).returncode != 0:
            self.skipTest("no right to mount")
        process = self.start(*options, prefix=mount, **env)
        output = process.communicate(timeout=60)[0]
        self.assertEqual(process.returncode, status, output)
        self.assertNotIn("Traceback", output)
        return output

    def test_corpus(self):
        output = self.run_on_small_disk("--corpus", "disk", "--seconds", "50", status=2, FAKE="inputs")
        self.assertIn(f"--corpus: {self.disk}/seen", output.splitlines()[-1])

    def test_work_folder(self):
        output = self.run_on_small_disk("--engine", "libfuzzer", "--seconds", "50", status=2,
                                        FAKE="inputs", TMPDIR=str(self.disk))
        self.assertIn(f"{self.disk} is full. Set TMPDIR", output.splitlines()[-1])


class SharedFolderTest(CampaignFixture):
    def test_two_campaigns_on_one_corpus_and_one_folder_of_crashes(self):
        both = [self.start("--corpus", "corpus", "--seconds", "6", FAKE=mode, FAKE_AFL="crash")
                for mode in ("crash", "inputs")]
        for process in both:
            output = process.communicate(timeout=60)[0]
            self.assertEqual(process.returncode, 1, output)
            self.assertNotIn("Traceback", output)
        self.assert_clean()
        self.assertEqual({row[1].split()[0] for row in self.index()}, {"O1", "O7"})
        self.assertEqual([path for path in (self.home / "corpus").iterdir() if path.name[0] == "."], [])


if __name__ == "__main__":
    unittest.main()
