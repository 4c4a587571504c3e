"""Counts what the entry points of the core cost on the model, and compares it with the ledger, model.txt.

usage: ledger_test.py LEDGER
"""

import subprocess
import sys
from pathlib import Path

from tests.docs import figures


def main(argv: list[str]) -> int:
    run = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=False)
    if run.returncode != 0:
        return run.returncode
    wrong = figures.differences(Path("."), {figures.LEDGER: run.stdout})
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
