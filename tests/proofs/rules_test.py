"""Each rule and each ordering has a mutant that a proof finds, or a reason; and each published row is true.

usage: rules_test.py EXPLORE
EXPLORE is the explorer with all mutants.
"""

import sys
import unittest
from pathlib import Path

from tests.proofs import rules

ROOT = Path(".")
# Rows are chosen to be found early.
EXECUTIONS = 100000
# Of each proof on each correct change: what they do otherwise, they do from the first one on.
EXECUTIONS_OF_CORRECT = 60


class CompleteTest(unittest.TestCase):
    def setUp(self):
        text = (ROOT / rules.DOCUMENT).read_text()
        self.rows = rules.published(text)
        self.reasons = rules.reasons(text)
        self.rules = rules.wanted((ROOT / rules.PROTOCOL).read_text())

    def test_each_rule_and_ordering_has_a_row_or_a_reason(self):
        self.assertGreaterEqual(len(self.rules), 13 + 20)
        self.assertEqual(rules.without(self.rules, self.rows, self.reasons), [])

    def test_a_rule_that_only_one_mutant_breaks_needs_it(self):
        kept = [row for row in self.rows if row.mutant != "m42b_read_after_flush"]
        self.assertEqual(len(rules.without(self.rules, kept, self.reasons)), 2, "R4 and M5")
        both = rules.without(self.rules, self.rows, {**self.reasons, "R4": "none"})
        self.assertEqual(both, ["R4: has a row, and a reason why it has none"])

    def test_a_row_says_what_its_mutant_breaks(self):
        for row in self.rows:
            with self.subTest(row.mutant):
                self.assertEqual(row.broken, rules.broken_by(ROOT, row.mutant))

    def test_what_else_a_mutant_breaks_is_a_rule_of_the_protocol(self):
        for name, also in rules.ALSO.items():
            self.assertIn(also, self.rules, name)


class TrueTest(unittest.TestCase):
    def test_each_row_is_found(self):
        for row in rules.published((ROOT / rules.DOCUMENT).read_text()):
            with self.subTest(row.mutant):
                found = rules.explore(PROGRAM, row.mutant, ROOT / rules.PROOFS / f"{row.proof}.txt", EXECUTIONS)
                self.assertEqual(found.oracle, row.oracle)

    def test_the_clean_core_is_not_found(self):
        found = rules.explore(PROGRAM, "none", ROOT / rules.PROOFS / "one_flush.txt", EXECUTIONS)
        self.assertEqual(found.oracle, "")

    def test_no_proof_finds_a_correct_change(self):
        changes = sorted((ROOT / rules.MUTANTS / "correct").glob("*.patch"))
        proofs = sorted((ROOT / rules.PROOFS).glob("*.txt"))
        self.assertGreater(len(changes), 10)
        for change in changes:
            for proof in proofs:
                with self.subTest(f"{change.stem} in {proof.stem}"):
                    self.assertEqual(rules.explore(PROGRAM, change.stem, proof, EXECUTIONS_OF_CORRECT).oracle, "")

    def test_what_cannot_be_explored_is_no_result(self):
        with self.assertRaisesRegex(RuntimeError, "no such patch"):
            rules.explore(PROGRAM, "m00_no_such_mutant", ROOT / rules.PROOFS / "one_flush.txt", EXECUTIONS)


if __name__ == "__main__":
    PROGRAM = sys.argv.pop(1)
    unittest.main(verbosity=2)
