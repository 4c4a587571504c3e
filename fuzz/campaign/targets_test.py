"""Tests of what the campaign can fuzz besides the machine."""

import os
import unittest
from pathlib import Path

from fuzz.campaign.afl import Afl
from fuzz.campaign.campaign_fixture import CampaignFixture
from fuzz.campaign.engine import Settings
from fuzz.campaign.targets import TARGETS


class TargetsTest(CampaignFixture):
    def test_what_text_starts_from_is_there(self):
        for name, most in (("scenario-text", 20), ("litmus-text", 2)):
            target = TARGETS[name]
            self.assertGreater(len(target.seed_files()), most)
            self.assertGreater(len(target.dictionary_file().read_text().splitlines()), 50)
            longest = max(path.stat().st_size for path in target.seed_files())
            self.assertLess(longest, target.max_len)

    def test_text_is_fuzzed_as_text(self):
        """Our seeds and our dictionary, no mutator that knows bytes, and crash files as they were."""
        output = self.run_campaign("--target", "litmus-text", "--engine", "libfuzzer", "--stop-on-first",
                                   "--seconds", "20", status=1, FAKE="crash")
        self.assertIn(f"{len(TARGETS['litmus-text'].seed_files()):,} inputs", output)
        crashes = [path for path in (self.home / "crashes").iterdir() if path.suffix == ".bin"]
        self.assertEqual([path.read_bytes()[:5] for path in crashes], [b"FAIL:"])

    def test_afl_has_the_mutator_for_scenarios_only(self):
        for scenarios in (True, False):
            work = self.home / f"work-{scenarios}"
            (work / "corpus").mkdir(parents=True)
            settings = Settings(1, 100, None, False, None, work / "corpus", scenarios)
            afl = Afl(Path(os.devnull), work / "afl", 0, settings)
            self.addCleanup(afl.close)
            environment = afl._environment()
            self.assertEqual("AFL_CUSTOM_MUTATOR_LIBRARY" in environment, scenarios)
            self.assertEqual("AFL_CUSTOM_MUTATOR_ONLY" in environment, scenarios)


if __name__ == "__main__":
    unittest.main()
