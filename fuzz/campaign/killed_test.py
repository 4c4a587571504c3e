"""A campaign that is killed at any moment loses nothing: the next one takes over what it has left."""

import os
import random
import signal
import time
import unittest
from pathlib import Path

from fuzz.campaign import leftovers
from fuzz.campaign.campaign_fixture import CampaignFixture

_KILLS = 20


class KilledTest(CampaignFixture):
    keeps = True

    def found(self) -> dict[str, str]:
        """What the engine has written: seed and title."""
        try:
            return dict(line.split(" ", 1) for line in (self.home / "log").read_text().splitlines())
        except FileNotFoundError:
            return {}

    def start_kinds(self, seed: int):
        return self.start("--engine", "libfuzzer", "--seconds", "50", "--corpus", "corpus", "--seed", str(seed),
                          FAKE="kinds", FAKE_LOG=str(self.home / "log"))

    def test_twenty_kills_lose_nothing(self):
        moments = random.Random(17)
        for number in range(_KILLS):
            process = self.start_kinds(1 + 3 * number)
            before = len(self.found())
            if number % 2:
                # Just behind a find, when most is still to be done.
                self.wait_until(lambda count=before: len(self.found()) > count, "a find")
            time.sleep(moments.uniform(0.0, 0.6))
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        found = self.found()
        self.assertGreaterEqual(len(found), _KILLS // 2)
        output = self.run_campaign("--engine", "libfuzzer", "--executions", "1000", "--corpus", "corpus", status=1)
        titles = {row[1] for row in self.index()}
        self.assertEqual(set(found.values()) - titles, set(), output)
        inputs = {path.read_text() for path in (self.home / "corpus").iterdir()}
        self.assertEqual({f"input {seed}" for seed in found} - inputs, set())
        # One that was killed before it had done anything may have left an empty folder.
        left = [path for path in (self.home / "tmp").rglob("*") if path.is_file()]
        self.assertEqual(left, [], "what was left behind is still there")

    def test_a_campaign_that_runs_keeps_its_folder(self):
        process = self.start_kinds(1)
        self.wait_until(lambda: bool(self.found()), "a find")
        output = self.run_campaign("--engine", "libfuzzer", "--executions", "1000", status=0)
        self.assertNotIn("Taking over", output)
        self.end(process, status=1)
        self.assertEqual(len({row[1] for row in self.index()} & set(self.found().values())), len(self.found()))

    def test_what_another_program_has_left_is_left_alone(self):
        folder = self.home / "tmp" / f"{leftovers.PREFIX}x"
        folder.mkdir()
        leftovers.sign(folder, "machine", {"libfuzzer": Path("/another")})
        note = (folder / "campaign.json").read_text().replace(str(os.getpid()), "999999999", 1)
        for text in (note, "", "{", "[]", '{"pid": 1}'):
            (folder / "campaign.json").write_text(text)
            output = self.run_campaign("--engine", "libfuzzer", "--executions", "1000", status=0)
            self.assertNotIn("Taking over", output)
            self.assertTrue(folder.exists())


if __name__ == "__main__":
    unittest.main()
