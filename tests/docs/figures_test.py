"""Tests of how published figures are read, compared and written."""

import contextlib
import io
import shutil
import tempfile
import unittest
from pathlib import Path

from tests.docs import figures

TABLES = ["docs/executions.md", "docs/proofs.md", "kernel-glue/README.md", "tests/ledger/ticks.txt"]
DOCUMENTS = ["README.md", "docs/first-change.md", *TABLES, *figures.TEXTS.values()]


class FiguresTest(unittest.TestCase):
    def setUp(self):
        self.root = Path(self.enterContext(tempfile.TemporaryDirectory()))
        for document in DOCUMENTS:
            (self.root / document).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(document, self.root / document)

    def test_the_documents_publish_much(self):
        keys = figures.tables(self.root)
        self.assertGreater(len([key for key in keys if key.startswith("proof ")]), 22)
        self.assertGreater(len([key for key in keys if key.startswith("plain ")]), 22)
        self.assertEqual(len([key for key in keys if key.startswith("ticks ")]), 5 * (5 + 4))
        self.assertEqual(len([key for key in keys if key.startswith("ledger pti=")]), 5 * (5 + 4))
        self.assertGreater(len([key for key in keys if key.startswith("found ")]), 14)
        self.assertGreater(len([key for key in keys if key.startswith("executions ")]), 80)
        for (document, command), _ in figures.EXAMPLES.items():
            self.assertGreater(len(figures.example(self.root, document, command)), 3, command)

    def test_every_figure_can_be_wrong_and_is_written(self):
        wrong = {key: "nothing like it" for key in figures.tables(self.root)}
        self.assertEqual(len(figures.differences(self.root, wrong)), len(wrong))
        right = figures.tables(self.root)
        self.assertEqual(figures.differences(self.root, right), [])
        self.assertEqual(figures.publish(self.root, right), [])
        other = {"proof": "12,345", "plain": "99", "found": "O9 in execution 1,234", "ticks": "12345 (6)",
                 "ledger": "123, mean 123.4",
                 "options": "`--something`", "executions": "1 / 2 / 3"}
        written = {key: other[key.split()[0]] for key, text in right.items() if text != "absent"}
        self.assertEqual(figures.publish(self.root, written), TABLES)
        self.assertEqual({key: figures.tables(self.root)[key] for key in written}, written)
        self.assertEqual(figures.publish(self.root, right), TABLES)
        for document in DOCUMENTS:
            self.assertEqual((self.root / document).read_text(), Path(document).read_text())

    def test_a_search_without_a_row_gets_one(self):
        new = {"options m05_new": "`--migrate`", "executions m05_new": "1 / 2 / 3", "options z": "none",
               "executions z": "4 / 5 / 6"}
        wrong = figures.differences(self.root, new)
        self.assertEqual([line.partition(":")[0] for line in wrong], ["executions m05_new", "executions z"])
        self.assertIn(figures.REMEDY, wrong[0])
        right = figures.tables(self.root)
        self.assertEqual(figures.publish(self.root, new), ["docs/executions.md"])
        self.assertEqual(figures.tables(self.root), right | new)
        self.assertEqual(figures.differences(self.root, new), [])
        rows = (self.root / "docs/executions.md").read_text()
        self.assertRegex(rows, r"`m04_.*\n\| `m05_new` \| `--migrate` \| 1 / 2 / 3 \|\n\| `m06_")
        self.assertRegex(rows, r"\n\| `z` \| none \| 4 / 5 / 6 \|\n")

    def test_a_proof_without_a_row_is_named(self):
        new = {"proof no_such": "1,234", "plain no_such": "9"}
        self.assertEqual(figures.publish(self.root, new), [])
        for wrong in (figures.unwritten(self.root, new), figures.differences(self.root, new)):
            self.assertEqual(wrong, ["proof no_such: docs/proofs.md has no row for it, measured was 1,234; "
                                     "add one, with its guarantee"])

    def test_example_without_gaps(self):
        command = "$ bazel run //fuzz:explore -- switch_in_and_range_flush"
        said = "\n".join(figures.example(self.root, "README.md", command))
        self.assertEqual(figures.differences(self.root, {"example explore": said}), [])
        later = said.replace(" 0.", " 7.")
        self.assertEqual(figures.differences(self.root, {"example explore": later}), [], "times do not count")
        moved = said + "\n1  load x  switch_mm.h:7"
        lines = figures.timeless(moved.split("\n"))
        self.assertEqual(lines, figures.timeless(moved.replace(".h:7", ".h:99").split("\n")), "nor do lines of code")
        self.assertNotEqual(lines, figures.timeless(moved.replace("switch_mm.h", "flush.h").split("\n")))
        other = said.replace("executions", "runs") + "\none line more"
        self.assertEqual(len(figures.differences(self.root, {"example explore": other})), 2, "two documents")
        self.assertEqual(figures.publish(self.root, {"example explore": other}), ["README.md"])
        self.assertEqual("\n".join(figures.example(self.root, "README.md", command)), other)
        self.assertEqual(figures.publish(self.root, {"example explore": said}), ["README.md"])
        self.assertEqual((self.root / "README.md").read_text(), Path("README.md").read_text())

    def test_a_cell_without_a_line_in_the_ledger_gets_one(self):
        new = {"ledger pti=off cpus=77 all": "123, mean 123.4"}
        wrong = figures.differences(self.root, new)
        self.assertEqual(len(wrong), 1)
        self.assertIn("tests/ledger/ticks.txt has no row for it", wrong[0])
        self.assertIn(figures.LEDGER_REMEDY, wrong[0])
        right = figures.tables(self.root)
        self.assertEqual(figures.publish(self.root, new), ["tests/ledger/ticks.txt"])
        self.assertEqual(figures.tables(self.root), right | new)
        self.assertEqual(figures.differences(self.root, new), [])

    def test_a_text_is_compared_by_line(self):
        key, document = figures.LEDGER, figures.TEXTS[figures.LEDGER]
        said = (self.root / document).read_text()
        first, *rest = said.splitlines(keepends=True)
        name = first.partition(": ")[0]
        other = name + ": another\n" + "".join(rest[1:]) + "new: 1\n"
        wrong = figures.differences(self.root, {key: other})
        self.assertEqual(len(wrong), 3, "a line is another, one is missing, one is new")
        self.assertIn(f"{document}: {name}\n  published: {first}", wrong[0])
        self.assertIn("measured:  (not there)", wrong[1])
        self.assertIn("published: (not there)\n  measured:  new: 1", wrong[2])
        self.assertIn(figures.LEDGER_REMEDY, wrong[2])
        swapped = "".join([rest[0], first, *rest[1:]])
        self.assertEqual(len(figures.differences(self.root, {key: swapped})), 1)

    def test_a_text_is_written_as_a_whole(self):
        for key, document in figures.TEXTS.items():
            said = (self.root / document).read_text()
            self.assertEqual(figures.differences(self.root, {key: said}), [])
            other = "another\n" + said
            self.assertIn(f"{document}: another", figures.differences(self.root, {key: other})[0])
            self.assertEqual(figures.publish(self.root, {key: other}), [document])
            self.assertEqual((self.root / document).read_text(), other)

    def test_example_with_gaps(self):
        published = ["start", "ok 1 first", "...", "# sum a=3 b=4 ...", "PASS: 2 passed, 1.5 s"]
        printed = ["start", "ok 1 first", "ok 2 second", "# sum a=30 b=44 c=5 d=6", "PASS: 3 passed, 2.5 s"]
        self.assertEqual(figures.shortened(published, printed), [
            "start", "ok 1 first", "...", "# sum a=30 b=44 ...", "PASS: 3 passed, 2.5 s"])
        self.assertIn("(no line like: ok 1 first)", figures.shortened(published, printed[2:]))

    def test_figures_pass_through_the_output_of_a_test(self):
        measured = {"proof x": "1,000", "example y": "two\nlines"}
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            print("before")
            figures.tell(measured)
        self.assertEqual(figures.heard(output.getvalue() + "after\n"), measured)

    def test_numbers_of_the_museum(self):
        for mutant, number in [("m04_no_barrier", "4"), ("m25a_lazy_exit", "25a"), ("c06a_switch", "c06a"),
                               ("o03_ours", "o03")]:
            self.assertEqual(figures.museum_number(mutant), number)


if __name__ == "__main__":
    unittest.main()
