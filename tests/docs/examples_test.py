"""Runs the examples of README.md, and compares what they print with what it says.

usage: examples_test.py EXPLORE PROOF REPRODUCE SCENARIO
"""

import subprocess
import sys
from pathlib import Path

from tests.docs import figures


def output(*words: str) -> str:
    run = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False)
    return run.stdout.strip()


def main(argv: list[str]) -> int:
    explore, proof, reproduce, scenario = argv
    found = {"example explore": output(explore, proof), "example reproduce": output(reproduce, scenario)}
    figures.tell(found)
    wrong = figures.differences(Path("."), found)
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
