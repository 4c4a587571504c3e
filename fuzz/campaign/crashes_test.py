"""Tests of titles, of what counts as the same failure, and of the folder of crash files."""

import tempfile
import unittest
from pathlib import Path

from fuzz.campaign.crashes import MARK, CrashStore, Title, replay, title_from_output

TARGET = Path(__file__).parent / "testdata/fake_target.py"


class TitleTest(unittest.TestCase):
    def test_oracle_report_wins_over_what_follows(self):
        output = ("SHOOTDOWN-FAILURE: O1 flush of mm0 returned while cpu2 can still use page 3\n"
                  "==9== ERROR: libFuzzer: deadly signal\n"
                  "SUMMARY: AddressSanitizer: ABRT (/lib/libc.so+0x1)\n")
        self.assertEqual(title_from_output(output),
                         Title("O1", "flush of mm0 returned while cpu2 can still use page 3"))

    def test_sanitizers(self):
        self.assertEqual(
            title_from_output("SUMMARY: AddressSanitizer: heap-use-after-free a.h:3:1 in f()"),
            Title("ASan", "heap-use-after-free a.h:3:1 in f()"))
        self.assertEqual(
            title_from_output("core/mm.h:9:2: runtime error: shift exponent 64 is too large\n"
                              "SUMMARY: UndefinedBehaviorSanitizer: undefined-behavior core/mm.h"),
            Title("UBSan", "shift exponent 64 is too large at core/mm.h:9:2"))

    def test_no_report(self):
        self.assertIsNone(title_from_output("#12 NEW cov: 3\n"))

    def test_same_failure_with_other_numbers(self):
        one = Title("O1", "flush of mm0 returned while cpu2 can still use page 3")
        two = Title("O1", "flush of mm1 returned while cpu0 can still use page 0x1f")
        self.assertEqual(one.key, two.key)

    def test_other_oracle_is_another_failure(self):
        self.assertNotEqual(Title("O1", "cpu 1").key, Title("O11", "cpu 1").key)
        self.assertNotEqual(Title("O1", "cpu 1").key, Title("O2", "cpu 1").key)


class ReplayTest(unittest.TestCase):
    def setUp(self):
        self.file = Path(self.enterContext(tempfile.TemporaryDirectory())) / "input"

    def test_failure(self):
        self.file.write_text("FAIL:O7 cpu1 lost its bit")
        self.assertEqual(replay(TARGET, self.file), Title("O7", "cpu1 lost its bit"))

    def test_no_failure(self):
        self.file.write_text("fine")
        self.assertIsNone(replay(TARGET, self.file))

    def test_hang(self):
        self.file.write_text("SLEEP")
        self.assertEqual(replay(TARGET, self.file, timeout=0.5).oracle, "HANG")


class CrashStoreTest(unittest.TestCase):
    def setUp(self):
        self.root = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.folder = self.root / "made" / "when needed"
        self.store = CrashStore(self.folder)

    def add(self, content: str, oracle: str = "O1", text: str = "cpu 1 is late", executions=None):
        source = self.root / "source"
        source.write_text(content)
        self.store.add(source, Title(oracle, text), "libFuzzer", executions)

    def index(self) -> list[list[str]]:
        lines = (self.folder / "titles.txt").read_text().splitlines()
        return [line.split("\t") for line in lines if not line.startswith("#")]

    def test_folder_is_not_made_for_nothing(self):
        self.assertFalse(self.folder.exists())
        self.add("x")
        self.assertTrue(self.folder.exists())

    def test_groups_by_title_smallest_first(self):
        self.add("long one", text="cpu 1 is late", executions=10)
        self.add("short", text="cpu 2 is late", executions=20)
        self.add("other", oracle="O10")
        self.add("other 2", oracle="O2")
        rows = self.index()
        self.assertEqual([row[1] for row in rows], [
            "O1 cpu 2 is late", "O1 cpu 1 is late", "O2 cpu 1 is late", "O10 cpu 1 is late"])
        self.assertRegex(rows[0][0], r"^O1-[0-9a-f]{12}\.bin$")
        self.assertEqual((self.folder / rows[0][0]).read_bytes(), MARK + b"short")
        self.assertEqual(rows[0][2:], [str(len(MARK) + 5), "libFuzzer", "20", "-", "-", "-"])
        self.assertEqual(self.store.sorted_groups()[0].first.executions, 10)

    def test_same_bytes_count_once(self):
        self.add("x")
        self.add("x")
        self.assertEqual(self.store.total, 1)

    def test_what_has_a_mark_or_is_text_is_kept_as_it_is(self):
        for content in (MARK.decode() + "x", "shootdown-scenario 1\nconfig\n"):
            self.add(content, oracle=content[:11])
        kept = sorted(path.read_text() for path in self.folder.glob("*.bin"))
        self.assertEqual(kept, [MARK.decode() + "x", "shootdown-scenario 1\nconfig\n"])

    def test_the_bytes_of_a_fuzzer_and_of_the_search_are_one_file(self):
        self.add("x")
        self.add(MARK.decode() + "x")
        self.assertEqual(self.store.total, 1)

    def test_many_of_a_kind_are_counted_but_not_all_kept(self):
        for i in range(30):
            self.add(f"{i:05}")
        self.assertEqual(self.store.total, 30)
        self.assertEqual(len(self.index()), 10)
        self.add("tiny")
        self.assertEqual(self.index()[0][2], str(len(MARK) + 4))

    def test_index_keeps_an_earlier_campaign(self):
        self.add("x")
        self.store = CrashStore(self.folder)
        self.add("y", oracle="O2")
        self.assertEqual(sorted(row[1] for row in self.index()),
                         ["O1 cpu 1 is late", "O2 cpu 1 is late"])

    def test_strange_oracle_makes_a_harmless_file_name(self):
        self.add("x", oracle="../../etc")
        self.assertRegex(self.index()[0][0], r"^etc-[0-9a-f]{12}\.bin$")


if __name__ == "__main__":
    unittest.main()
