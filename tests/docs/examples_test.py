"""Runs the examples of README.md and docs/first-change.md, and compares what they print with what these say.

usage: examples_test.py EXPLORE PROOF REPRODUCE SCENARIO EXPLORE PROOF REPRODUCE SCENARIO

The first four are of README.md, the others of the core without the barrier that docs/first-change.md takes out.
"""

import subprocess
import sys
from pathlib import Path

from tests.docs import figures


def output(*words: str) -> str:
    run = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False)
    return run.stdout.strip()


def main(argv: list[str]) -> int:
    explore, proof, reproduce, scenario = argv[:4]
    found = {"example explore": output(explore, proof), "example reproduce": output(reproduce, scenario)}
    explore, proof, reproduce, scenario = argv[4:]
    found |= {"example barrier proof": output(explore, proof), "example barrier report": output(reproduce, scenario)}
    figures.tell(found)
    wrong = figures.differences(Path("."), found)
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
