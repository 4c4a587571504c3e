"""Tests of what the pages say of rules, oracles and references."""

import os
import tempfile
import unittest
from pathlib import Path

from tests.mutants import meanings, museum_index

_PROTOCOL = """\
## 2. Invariants
* **I3** If CR3 holds a root, the bit
  is set. (O7)
## 4. The contract
**A flush promises.** Much.
## 5. The rules
**R1 The generation comes
first.** Because.
## 6. The orderings
| M2 | own bit → read | `core/x.h` |
"""


class RulesTest(unittest.TestCase):
    def setUp(self):
        home = Path(self.enterContext(tempfile.TemporaryDirectory()))
        (home / "docs").mkdir()
        (home / meanings.PROTOCOL).write_text(_PROTOCOL)
        self.rules = meanings.rules(home)

    def test_text_and_link(self):
        self.assertEqual((self.rules["R1"].text, self.rules["R1"].link),
                         ("The generation comes first", "../protocol.md#5-the-rules"))
        self.assertEqual((self.rules["M2"].text, self.rules["M2"].link),
                         ("own bit → read", "../protocol.md#6-the-orderings"))
        self.assertEqual((self.rules["I3"].text, self.rules["I3"].linked),
                         ("If CR3 holds a root, the bit is set", "[I3](../protocol.md#2-invariants)"))
        self.assertEqual(self.rules["contract"].link, "../protocol.md#4-the-contract")
        self.assertEqual(self.rules["none"].linked, "None")

    def test_order(self):
        self.assertEqual(sorted(["none", "I1", "M2", "R10", "R9"], key=meanings.in_order),
                         ["R9", "R10", "M2", "I1", "none"])


class ReferenceTest(unittest.TestCase):
    def test_links(self):
        for text, link in {
                "Linux 52a288c73622 x": "Linux [52a288c73622](https://git.kernel.org/torvalds/c/52a288c73622) x",
                "FreeBSD (3fd989da9118)":
                    "FreeBSD ([3fd989da9118](https://cgit.freebsd.org/src/commit/?id=3fd989da9118))",
                "Xen XSA-241": "Xen [XSA-241](https://xenbits.xen.org/xsa/advisory-241.html)",
                "D25798": "[D25798](https://reviews.freebsd.org/D25798)",
                "M8 in docs/protocol.md; a": "M8 in [docs/protocol.md](../protocol.md); a",
                "CVE-2017-15588": "[CVE-2017-15588](https://www.cve.org/CVERecord?id=CVE-2017-15588)",
                "constructed": "constructed"}.items():
            with self.subTest(text):
                self.assertEqual(meanings.linked(text), link)

    def test_system(self):
        for text, system in {"IA64 Linux cfbb": "Linux", "FreeBSD r1, as Linux": "FreeBSD",
                             "AMD erratum 1": "processors", "this core": "this core", "a dream": None}.items():
            with self.subTest(text):
                self.assertEqual(meanings.system(text), system)


class OraclesTest(unittest.TestCase):
    def test_one_short_line_each(self):
        for name, text in meanings.ORACLES.items():
            with self.subTest(name):
                self.assertLess(len(text), 95)


class ExecutionsTest(unittest.TestCase):
    def test_the_median_of_the_seeds(self):
        home = Path(self.enterContext(tempfile.TemporaryDirectory()))
        os.mkdir(home / "docs")
        (home / museum_index.EXECUTIONS).write_text(
            "| mutant | options | executions |\n|---|---|---|\n"
            "| `m1_a` | none | 1,254 / 67 / 2,070 |\n| `m2_b` | `--x` | 8 |\n")
        self.assertEqual(museum_index.executions(home), {"m1_a": 1254, "m2_b": 8})


if __name__ == "__main__":
    unittest.main()
