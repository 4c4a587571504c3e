"""Tests of the estimates, against cases worked out by hand."""

import unittest

from tests.mutants.survival import Observation, curve, median, restricted_mean


def _all_found(*times: float) -> list[Observation]:
    return [Observation(time, True) for time in times]


class SurvivalTest(unittest.TestCase):
    def test_everything_found_is_the_plain_mean_and_median(self):
        found = _all_found(1, 2, 3, 10)
        self.assertAlmostEqual(restricted_mean(found, 60), 4.0)
        self.assertEqual(median(found), 2)

    def test_nothing_found(self):
        nothing = [Observation(60, False)] * 3
        self.assertEqual(curve(nothing), [])
        self.assertIsNone(median(nothing))
        self.assertEqual(restricted_mean(nothing, 60), 60)

    def test_the_rest_at_the_limit_counts_as_the_limit(self):
        half = [*_all_found(10, 20), Observation(60, False), Observation(60, False)]
        self.assertAlmostEqual(restricted_mean(half, 60), (10 + 20 + 60 + 60) / 4)
        self.assertEqual(median(half), 20)

    def test_one_that_ended_early_leaves_the_others_more_weight(self):
        # After 10 of 4 searches one found it: 3/4. The one that stopped at 20 says nothing of 30,
        # where one of the two left finds it: 3/8.
        mixed = [*_all_found(10, 30), Observation(20, False), Observation(60, False)]
        self.assertEqual(curve(mixed), [(10, 0.75), (30, 0.375)])
        self.assertAlmostEqual(restricted_mean(mixed, 60), 10 + 20 * 0.75 + 30 * 0.375)

    def test_finds_at_the_same_time(self):
        self.assertEqual(curve(_all_found(5, 5)), [(5, 0.0)])

    def test_a_find_beyond_the_limit_counts_as_the_limit(self):
        self.assertAlmostEqual(restricted_mean(_all_found(10, 70), 60), 35.0)


if __name__ == "__main__":
    unittest.main()
