"""The exploration ends, clean; or, with --expect, finds what it names. Its counts are as published.

usage: proof_test.py [--mutant NAME] EXPLORE FILE [OPTION of explore]...
"""

import re
import subprocess
import sys
from pathlib import Path

from tests.docs import figures


def measured(output: str, proof: str, mutant: str | None, options: list[str]) -> dict[str, str]:
    """The figures of one exploration."""
    counted = re.search(r"^  (\d+) executions, ", output, re.MULTILINE)
    executions = f"{int(counted[1]):,}"
    if mutant is None:
        bounded = ", bounded" if "--deviations" in options else ""
        found = {f"proof {proof}{bounded}": executions}
        if plain := re.search(r"plain enumeration: about 1e(\d+)", output):
            found[f"plain {proof}"] = plain[1]
        return found
    memory = next((word[2:] for word in options if word in ("--sc", "--tso", "--cxx")), "tso")
    key = f"found {figures.museum_number(mutant)} {proof} {memory}"
    if oracle := re.search(r"^  FOUND (\w+) ", output, re.MULTILINE):
        return {key: f"{oracle[1]} in execution {executions}"}
    return {key: "absent"}


def main(argv: list[str]) -> int:
    mutant = None
    if argv[0] == "--mutant":
        mutant, argv = argv[1], argv[2:]
    explore, file, *options = argv
    run = subprocess.run([explore, *options, file], stdout=subprocess.PIPE, text=True, check=False)
    print(run.stdout, flush=True)
    if run.returncode != 0:
        return run.returncode
    found = measured(run.stdout, Path(file).stem, mutant, options)
    figures.tell(found)
    wrong = figures.differences(Path("."), found)
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
