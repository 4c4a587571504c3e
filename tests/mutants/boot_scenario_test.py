#!/usr/bin/python3
"""Runs scenarios that the fuzzers have found on the test kernel in Bochs: it fails with the mutant, and passes without.

usage: boot_scenario_test.py IMAGE CLEAN_IMAGE MUTANT SCENARIO [MUTANT SCENARIO]...
"""

import contextlib
import io
import sys
import tempfile
from pathlib import Path

from bochs_runner import cli

from tests.mutants import joint


def run(image: Path, scenario: str) -> int:
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        status = cli.main(["--image", str(image), "--scenario", scenario, "--timeout", "100"])
    print(output.getvalue())
    return status


def main(argv: list[str]) -> int:
    image, clean, *rest = argv
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        chosen = Path(folder) / "kernel.iso"
        for name, scenario in zip(rest[::2], rest[1::2]):
            chosen.write_bytes(joint.choose_in(Path(image).read_bytes(), name))
            if run(chosen, str(Path(scenario).resolve())) != cli.FAIL:
                wrong.append(f"{name} passes its scenario")
            if run(Path(clean).resolve(), str(Path(scenario).resolve())) != cli.PASS:
                wrong.append(f"the clean kernel fails the scenario of {name}")
    print("\n".join(wrong))
    return 1 if wrong or not rest else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
