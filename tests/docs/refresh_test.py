"""Tests of the command that writes the figures, with a stand-in for Bazel."""

import contextlib
import io
import os
import shutil
import tempfile
import unittest
from pathlib import Path

from tests.docs import figures, refresh
from tests.docs.figures_test import DOCUMENTS

# Tests with figures, of which some fail because of them, and one that breaks.
BAZEL = """#!/bin/bash
log() {
  mkdir -p "bazel-testlogs/$1"
  printf '%s\\n' "$2" >"bazel-testlogs/$1/test.log"
  echo "{\\"id\\": {\\"testSummary\\": {\\"label\\": \\"//${1%/*}:${1##*/}\\"}},
    \\"testSummary\\": {\\"overallStatus\\": \\"$3\\"}}" | tr -d '\\n' >>"$events"
  echo >>"$events"
}
for word; do
  case $word in --build_event_json_file=*) events=${word#*=} ;; esac
done
case $1 in
  query) echo "$2" >asked; echo "//tests/proofs:a_test //tests/docs:b_test ${BREAKS:-}" ;;
  test)
    log tests/proofs/a_test 'FIGURE ["proof one_flush", "61"]' FAILED
    log tests/docs/b_test 'FIGURE ["ticks pti=off cpus=1 all", "999"]' ${VERDICT:-PASSED}
    log tests/docs/c_test 'Traceback' FAILED
    log tests/proofs/new_test 'FIGURE ["proof no_such", "7"]' FAILED
    exit 3 ;;
  build)
    mkdir -p bazel-bin/fuzz
    printf '#!/bin/sh\\necho "  2999999 executions, 3 given up"\\n' >bazel-bin/fuzz/explore_bin
    mkdir -p bazel-bin/tests/ledger
    printf '#!/bin/sh\necho "switch: locked=9+9"\n' >bazel-bin/tests/ledger/ledger
    chmod +x bazel-bin/fuzz/explore_bin bazel-bin/tests/ledger/ledger ;;
esac
"""


class RefreshTest(unittest.TestCase):
    def setUp(self):
        self.root = Path(self.enterContext(tempfile.TemporaryDirectory()))
        for document in DOCUMENTS:
            (self.root / document).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(document, self.root / document)
        (self.root / "bin").mkdir()
        (self.root / "bin/bazel").write_text(BAZEL)
        (self.root / "bin/bazel").chmod(0o755)
        before = dict(os.environ)
        self.addCleanup(lambda: (os.environ.clear(), os.environ.update(before)))
        os.environ["PATH"] = f"{self.root}/bin:/usr/bin:/bin"
        os.environ["BUILD_WORKSPACE_DIRECTORY"] = str(self.root)

    def refresh(self, *arguments: str) -> tuple[int, str]:
        output = io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            status = refresh.main(list(arguments))
        return status, output.getvalue()

    def test_writes_what_was_measured(self):
        status, output = self.refresh()
        self.assertEqual(status, 0, output)
        self.assertIn("4 figures measured. Written: docs/proofs.md, kernel-glue/README.md, "
                      "tests/ledger/model.txt.", output)
        now = figures.tables(self.root)
        self.assertEqual(now["proof one_flush"], "61")
        self.assertEqual(now["proof three_cpus_switch_and_flush"], "2,999,999")
        self.assertEqual(now["ticks pti=off cpus=1 all"], "999")
        self.assertIn("say the same already", self.refresh()[1])

    def test_quick_leaves_out_what_takes_minutes(self):
        before = figures.tables(self.root)["proof three_cpus_switch_and_flush"]
        self.assertIn("3 figures measured", self.refresh("--quick")[1])
        self.assertEqual(figures.tables(self.root)["proof three_cpus_switch_and_flush"], before)

    def test_the_ledger_alone(self):
        self.refresh("--ledger")
        self.assertEqual((self.root / "asked").read_text(), refresh.TICKS + "\n")
        self.assertEqual((self.root / "tests/ledger/model.txt").read_text(), "switch: locked=9+9\n")
        self.refresh("--quick")
        self.assertEqual((self.root / "asked").read_text(), refresh.QUERY + "\n")

    def test_a_test_that_breaks_is_named(self):
        os.environ["BREAKS"] = "//tests/docs:c_test //tests/docs:d_test"
        status, output = self.refresh("--quick")
        self.assertEqual(status, 2)
        self.assertIn("//tests/docs:c_test failed, and not because of a figure", output)
        self.assertIn("//tests/docs:d_test failed, and not because of a figure", output)

    def test_a_proof_that_has_no_row_is_named(self):
        os.environ["BREAKS"] = "//tests/proofs:new_test"
        status, output = self.refresh("--quick")
        self.assertEqual(status, 2)
        self.assertIn("proof no_such: docs/proofs.md has no row for it", output)
        self.assertIn("Written: docs/proofs.md", output, "the other figures are")

    def test_a_log_of_another_time_is_not_read(self):
        os.environ["VERDICT"] = "NO_STATUS"
        self.assertEqual(self.refresh("--quick")[0], 2)
        self.assertNotEqual(figures.tables(self.root)["ticks pti=off cpus=1 all"], "999")

    def test_usage(self):
        self.assertEqual(self.refresh("--help")[0], 0)
        self.assertEqual(self.refresh("--nonsense")[0], 2)


if __name__ == "__main__":
    unittest.main()
