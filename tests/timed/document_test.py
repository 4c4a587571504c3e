"""Compares the tables and plots of docs/modelled-time.md with what the simulation gives now."""

import sys
from pathlib import Path

from hal.timed import document, runs
from tests.docs import figures


def main() -> int:
    measured = document.measured(Path("."), runs.Simulator())
    figures.tell(measured)
    wrong = figures.differences(Path("."), measured)
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
