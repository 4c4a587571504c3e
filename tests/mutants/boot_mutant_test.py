#!/usr/bin/python3
"""Boots the test kernel with a mutant inside. Passes if the kernel's self-tests notice it.

usage: boot_mutant_test.py IMAGE TEST [OPTION OF THE RUNNER]...
"""

import contextlib
import io
import sys

from bochs_runner import cli, verdict


def main(argv: list[str]) -> int:
    image, test, *options = argv
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        status = cli.main(["--image", image, *options, "--timeout", "200"])
    print(output.getvalue())
    console = verdict.parse(output.getvalue().split("--- the end of")[0])
    if status == cli.FAIL and test in console.failed():
        return 0
    print(f"FAIL: the mutant passes '{test}' (status {status}, failed: {console.failed()})")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
