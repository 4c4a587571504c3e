"""Tests of whole campaigns, with scripts in the place of the engines."""

import os
import re
import signal
import time
import unittest

from fuzz.campaign.campaign_fixture import CampaignFixture, alive


class CampaignTest(CampaignFixture):
    def test_nothing_found(self):
        output = self.run_campaign("--executions", "5000", status=0)
        self.assertIn("No crash found.", output)
        self.assertRegex(output, r"libFuzzer +\d+,000 +[\d,]+ +3  \d+ features")
        self.assertRegex(output, r"AFL\+\+ +[\d,]+00 +[\d,]+ +6  78 edges")
        self.assertFalse((self.home / "crashes").exists())

    def test_status_lines_when_the_output_is_no_terminal(self):
        output = self.run_campaign("--seconds", "3", status=0)
        self.assertRegex(output, r"\ncrashes 0 \| \d/3 s \| libFuzzer ~[\d,]+ exec [\d,]+/s corpus 3 features \d+"
                                 r" \| AFL\+\+ ~[\d,]+ exec [\d,]+/s corpus 5 edges 77\n")
        self.assertNotIn("\r", output)

    def test_libfuzzer_crashes_are_collected_and_it_goes_on(self):
        process = self.start("--engine", "libfuzzer", "--seconds", "50", FAKE="crash")
        self.wait_until(lambda: len(self.index()) >= 3, "libFuzzer to be started again")
        output = self.end(process, status=1)
        rows = self.index()
        self.assertEqual(len(re.findall("Found: O1", output)), 1, "one kind was announced twice")
        self.assertIn("1 kind of failure", output)
        sizes = [int(row[2]) for row in rows]
        self.assertEqual(sizes, sorted(sizes))
        self.assertIn(f"    {rows[0][5]}\n", output)
        self.assertIn("first after 3,000 executions of libFuzzer", output)

    def test_stop_on_first(self):
        begin = time.monotonic()
        self.run_campaign("--seconds", "50", "--stop-on-first", status=1, FAKE="crash")
        self.assertLess(time.monotonic() - begin, 10)

    def test_both_engines_in_one_folder(self):
        process = self.start("--seconds", "50", FAKE="crash", FAKE_AFL="crash")
        self.wait_until(lambda: len({row[3] for row in self.index()}) == 2, "a find of each")
        self.end(process, status=1)
        engines = {row[1].split()[0]: row[3] for row in self.index()}
        self.assertEqual(engines, {"O1": "libFuzzer", "O7": "AFL++"})
        self.assertIn("1987", [row[4] for row in self.index()])

    def test_random_search(self):
        output = self.run_campaign("--engine", "random", "--executions", "500000", status=0)
        self.assertRegex(output, r"\nrandom +500,000 +[\d,]+\n")
        output = self.run_campaign("--engine", "random", "--stop-on-first", status=1,
                                   FAKE_SEARCH="17")
        self.assertIn("first after 17 executions of random", output)
        self.assertEqual(self.index()[0][1], "O5 a table is released too early")
        output = self.run_campaign("--engine", "random", status=2, FAKE_SEARCH="-1")
        self.assertIn("fake: cannot allocate", output)

    def test_random_search_goes_on_with_other_seeds(self):
        process = self.start("--engine", "random", "--seconds", "50", FAKE_SEARCH="17")
        self.wait_until(lambda: len(self.index()) >= 3, "more finds")
        self.end(process, status=1)

    def test_all_engines_side_by_side(self):
        output = self.run_campaign("--engine", "all", "--executions", "5000", status=0)
        for name in ("libFuzzer", "AFL\\+\\+", "random"):
            self.assertRegex(output, rf"\n{name} +5,000 ")

    def test_inputs_are_kept_in_the_corpus(self):
        corpus = self.home / "corpus"
        corpus.mkdir()
        (corpus / "mine").write_text("seed")
        self.run_campaign("--corpus", "corpus", "--stop-on-first", status=1, FAKE_AFL="crash")
        self.assertEqual(sorted(path.read_text() for path in corpus.iterdir()),
                         ["new", "seed", "seed"])

    def test_execution_budget_ends_it(self):
        begin = time.monotonic()
        output = self.run_campaign("--executions", "5000", "--seconds", "50", status=0)
        self.assertLess(time.monotonic() - begin, 20)
        self.assertRegex(output, r"libFuzzer +5,000 ")
        self.assertRegex(output, r"AFL\+\+ +5,000 ")

    def test_signals_stop_it_cleanly(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            with self.subTest(number):
                crashes = f"crashes{number}"
                process = self.start("--seconds", "50", "--crashes", crashes, FAKE="crash")
                self.wait_until((self.home / crashes).exists, "a find")
                self.assertIn("1 kind of failure", self.end(process, 1, number))

    def test_engine_that_does_not_stop_is_killed(self):
        process = self.start_with_child("deaf")
        process.send_signal(signal.SIGINT)
        self.end(process, status=0, number=0)
        self.assert_no_engine()

    def test_second_signal_does_not_wait(self):
        process = self.start_with_child("deaf", GRACE="100")
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        self.end(process, status=0, number=signal.SIGINT)
        self.assert_no_engine()

    def test_what_an_engine_leaves_behind_is_killed(self):
        self.end(self.start_with_child("leaver"), status=0)
        self.assert_no_engine()

    def start_with_child(self, mode: str, **env: str):
        process = self.start("--engine", "libfuzzer", "--seconds", "50", FAKE=mode,
                             FAKE_PIDS=str(self.home / "pids"), **env)
        self.wait_until((self.home / "pids").exists, "the engine")
        return process

    def assert_no_engine(self):
        pids = map(int, (self.home / "pids").read_text().split())
        self.assertEqual([pid for pid in pids if alive(pid)], [])

    def test_killed_campaign_leaves_no_engine(self):
        process = self.start_with_child("deaf")
        process.kill()
        process.communicate(timeout=20)
        engine, child = map(int, (self.home / "pids").read_text().split())
        os.kill(child, signal.SIGKILL)  # The script does not look after its child as afl-fuzz does.
        self.wait_until(lambda: not alive(engine), "the engine to follow its campaign")

    def test_engine_that_dies_at_once(self):
        output = self.run_campaign("--engine", "libfuzzer", "--seconds", "50", status=2,
                                   FAKE="dead")
        self.assertIn("ended with exit status 127", output)
        self.assertIn("error while loading shared libraries", output)

    def test_one_engine_dies_and_the_other_finds(self):
        output = self.run_campaign("--stop-on-first", status=1, FAKE="dead", FAKE_AFL="crash")
        self.assertIn("libFuzzer stopped", output)
        self.assertIn("O7 cpu1 lost its bit", output)

    def test_afl_refusal_is_explained(self):
        output = self.run_campaign("--engine", "afl", "--seconds", "50", status=2, FAKE_AFL="abort")
        self.assertIn("Target binary has no instrumentation", output)
        self.assertNotIn("\x1b", output)

    def test_seeds_that_fail_are_finds(self):
        (self.home / "corpus").mkdir()
        (self.home / "corpus/seed").write_text("FAIL:O2 at once")
        output = self.run_campaign("--engine", "afl", "--corpus", "corpus", "--seconds", "50",
                                   status=1, FAKE_AFL="seeds")
        self.assertIn("O2 at once", output)

    def test_target_that_always_fails_ends_early(self):
        output = self.run_campaign("--engine", "libfuzzer", "--seconds", "50", status=1,
                                   FAKE="always")
        self.assertIn("libFuzzer stopped early", output)
        self.assertIn("first after 1 executions", output)

    def test_crash_that_does_not_repeat_is_called_so(self):
        output = self.run_campaign("--engine", "libfuzzer", "--stop-on-first", status=1,
                                   FAKE="unstable")
        self.assertIn("UNSTABLE does not repeat", output)

    def test_instability_is_reported(self):
        output = self.run_campaign("--engine", "afl", "--executions", "900", status=0,
                                   FAKE_STABILITY="93.10")
        self.assertIn("93.1 % stability", output)

    def test_closed_output_stops_it(self):
        process = self.start("--seconds", "50", "--engine", "libfuzzer")
        time.sleep(1)
        process.stdout.close()
        self.assertEqual(process.wait(timeout=20), 2)
        self.assert_clean()


if __name__ == "__main__":
    unittest.main()
