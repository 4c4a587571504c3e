"""Tests of the results file and of the tables made of it."""

import tempfile
import unittest
from pathlib import Path

from tests.mutants import results
from tests.mutants.results import Result

_PATCH = """\
# museum: 7
# title: t
# year: 2020
# reference: r
# rule: R1
# oracles: O1, O2
# story: s
# needs: n
# bochs: no
--- a/core/x.h
+++ b/core/x.h
@@ -1 +1 @@
-a
+b
"""


def _result(seed: int, oracle: str = "", seconds: float = 5.0, **values) -> Result:
    base = {"mutant": "m07_t", "engine": "random", "limit": 5.0, "executions": 1000 * seed,
            "title": oracle and f"{oracle} text", "program": "abc"}
    return Result(seed=seed, oracle=oracle, seconds=seconds, **{**base, **values})


class ResultsTest(unittest.TestCase):
    def setUp(self):
        self.home = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.patch = self.home / "m07_t.patch"
        self.patch.write_text(_PATCH)

    def row(self, *mine: Result, clean: bool = False) -> results.Row:
        scenario = self.home / "m07_t.txt"
        scenario.write_text("shootdown-scenario 1\nconfig cpus=2\n# c\ncpu 0: idle\ncpu 1: idle\nat +1: x\n")
        if clean:
            return results.row(results.CLEAN, None, None, list(mine), ["random"])
        return results.row("m07_t", self.patch, scenario, list(mine), ["random", "afl"])

    def test_file_survives_a_line_that_was_cut_off(self):
        file = self.home / "out/results.jsonl"
        results.append(file, _result(1, "O1"))
        with open(file, "a", encoding="utf-8") as stream:
            stream.write('{"mutant": "m0')
        results.append(file, _result(2))
        self.assertEqual(results.load(file), [_result(1, "O1"), _result(2)])
        self.assertEqual(results.load(self.home / "none"), [])

    def test_cell(self):
        cell = results.cell([_result(1, "O1", 1.0), _result(2, "O2", 2.0), _result(3)])
        self.assertEqual((cell.found, cell.trials, cell.median_seconds), (2, 3, 2.0))
        self.assertIsNone(cell.worst_seconds, "one seed found nothing: the worst is not known")
        self.assertAlmostEqual(cell.mean_seconds, (1 + 2 + 5) / 3)
        self.assertEqual(cell.median_executions, 2000)
        self.assertEqual(str(cell), "2/3, 2.0 s")
        self.assertEqual(str(results.cell([_result(1), _result(2, "O1", 3.0), _result(3)])), "1/3, >5 s")
        self.assertEqual(results.cell([_result(2, "O1", 3.0)]).worst_executions, 2000)
        self.assertEqual(str(results.cell([])), "-")

    def test_row_and_overview(self):
        row = self.row(_result(1, "O1", 1.0), _result(2, "O9", 2.0), _result(3, mutant="other"))
        self.assertEqual((row.scenario, row.fired), (3, {"O1": 1, "O9": 1}))
        text = results.overview([row], ["random", "afl"], "museum/{}.md")
        self.assertIn("| 7 | [t](museum/m07_t.md) | 2/2, 1.0 s | - | O1 | O1 1, O9 1 (unexpected: O9) | 3 |", text)

    def test_best_engine(self):
        row = self.row(_result(1, "O1", 4.0), _result(2), _result(1, "O1", 1.0, engine="afl"),
                       _result(2, "O1", 2.0, engine="afl"))
        self.assertIs(row.best, row.cells["afl"])
        self.assertIsNone(self.row().best)

    def test_bars(self):
        rows = [self.row(_result(1, "O1", 1.0), _result(2, "O2", 1.0), _result(3, "O9", 1.0)),
                self.row(_result(1, mutant=results.CLEAN), clean=True)]
        text = results.bars(rows)
        self.assertIn("at least one engine: 1 of 1 mutants", text)
        self.assertIn("expects first: 33.3 % of 3 kills; one that it names: 66.7 %", text)
        self.assertIn("clean core: 0, in 1 search.", text)

    def test_campaign_is_what_either_fuzzer_finds(self):
        mine = [_result(seed, oracle, seconds, engine=engine) for seed, engine, oracle, seconds in [
            (1, "libfuzzer", "O1", 2.0), (1, "afl", "", 5.0), (2, "libfuzzer", "", 5.0), (2, "afl", "O1", 1.0),
            (3, "libfuzzer", "O1", 4.0), (3, "afl", "O1", 3.0), (4, "libfuzzer", "O1", 1.0),
            (5, "libfuzzer", "", 5.0)]]
        engines = ["libfuzzer", "afl"]
        row = results.row("m07_t", self.patch, None, mine, engines)
        cell = row.cells[results.CAMPAIGN]
        self.assertEqual((cell.found, cell.trials, cell.median_seconds), (4, 5, 2.0), "5 may yet be found by AFL++")
        self.assertIn("| 3/5, 4.0 s | 2/3, 3.0 s | 4/5, 2.0 s |", results.overview([row], engines, "{}"))
        self.assertIn("seeds or more: 0 of 1.", results.bars([row]))
        self.assertIsNot(row.best, cell, "an engine, and not both")

    def test_effort(self):
        row = self.row(_result(1, "O1", 1.0), _result(2))
        self.assertIn("| m07_t | random | 1/2 | 1,000 | - | 1.00 | >5 | 3.00 |",
                      results.effort([row], ["random", "afl"]))


if __name__ == "__main__":
    unittest.main()
