#!/usr/bin/python3
"""Writes the figures that the documents publish, as the tests of this tree measure them now.

usage: bazel run //tests/docs:refresh [-- --quick | --ledger]

Runs the proofs, the searches for mutants, the boots of the benchmark, the examples of README.md, the ledger and the
modelled time, which are tests that compare their figures with README.md, docs/*.md, kernel-glue/README.md and
tests/ledger, and writes what differs. A search that has no row in docs/executions.md gets one; a proof that has none
in docs/proofs.md is named, because its row says what the proof guarantees. --quick leaves out the one proof that is
too large for a test, which takes five minutes. --ledger runs the ledger, the boots of the benchmark and the modelled
time and nothing else, which takes two.

exit status: 0 written, 2 a proof has no row, or a run failed for another reason than a figure; it is named, and its
figures stay
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.docs import figures
from tools import run_tests

MODELLED_TIME = "//tests/timed:document_test"
TICKS = f'filter("ticks_", tests(//tests/docs/...)) + {MODELLED_TIME}'
QUERY = (f'tests(//tests/proofs/...) + tests(//tests/docs/...) + {MODELLED_TIME} + '
         'filter("_search_test$", tests(//tests/mutants/...))')
# Explored without a bound, for the table alone.
_LARGE = ["three_cpus_switch_and_flush"]


def _labels(root: Path, which: str) -> list[str]:
    query = subprocess.run(["bazel", "query", which], cwd=root, stdout=subprocess.PIPE, text=True, check=True)
    return query.stdout.split()


def _from_tests(root: Path, which: str) -> tuple[dict[str, str], list[str]]:
    """The figures that the tests measured, and the tests that failed without measuring anything."""
    labels = _labels(root, which)
    with tempfile.NamedTemporaryFile(suffix=".json") as events:
        subprocess.run(["bazel", "test", "--keep_going", "--test_output=summary",
                        f"--build_event_json_file={events.name}", *labels], cwd=root, check=False)
        results = run_tests.read_events(events.name)
    measured: dict[str, str] = {}
    failed = []
    for label in labels:
        # The log of a test that was not run is an old one.
        ran = label in results.passed or results.failed.get(label) == "failed"
        log = root / "bazel-testlogs" / label.removeprefix("//").replace(":", "/") / "test.log"
        found = figures.heard(log.read_text(errors="replace")) if ran else {}
        measured |= found
        if label not in results.passed and not found:
            failed.append(label)
    return measured, failed


def _from_large_proofs(root: Path) -> dict[str, str]:
    measured = {}
    subprocess.run(["bazel", "build", "//fuzz:explore_bin"], cwd=root, check=True)
    for proof in _LARGE:
        print(f"Exploring {proof} without a bound, which takes minutes.", flush=True)
        run = subprocess.run([root / "bazel-bin/fuzz/explore_bin", "--samples", "0",
                              root / f"fuzz/proofs/{proof}.txt"], stdout=subprocess.PIPE, text=True, check=False)
        print(run.stdout, flush=True)
        executions = re.search(r"^  (\d+) executions, ", run.stdout, re.MULTILINE)
        if run.returncode == 0 and executions:
            measured[f"proof {proof}"] = f"{int(executions[1]):,}"
    return measured


def _from_ledger(root: Path) -> dict[str, str]:
    subprocess.run(["bazel", "build", "//tests/ledger"], cwd=root, check=True)
    run = subprocess.run([root / "bazel-bin/tests/ledger/ledger"], stdout=subprocess.PIPE, text=True, check=True)
    return {figures.LEDGER: run.stdout}


def main(argv: list[str]) -> int:
    if argv not in ([], ["--quick"], ["--ledger"]):
        print(__doc__.strip())
        return 0 if argv in (["--help"], ["-h"]) else 2
    root = Path(os.environ.get("BUILD_WORKSPACE_DIRECTORY", "."))
    measured, failed = _from_tests(root, TICKS if argv == ["--ledger"] else QUERY)
    measured |= _from_ledger(root)
    if not argv:
        measured |= _from_large_proofs(root)
    changed = figures.publish(root, measured)
    print(f"{len(measured)} figures measured. " + (
        f"Written: {', '.join(changed)}." if changed else "The documents say the same already."))
    unwritten = figures.unwritten(root, measured)
    for line in [*unwritten, *(f"{label} failed, and not because of a figure" for label in failed)]:
        print(line, file=sys.stderr)
    return 2 if unwritten or failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
