#!/usr/bin/python3
"""Boots the test kernel with a mutant inside. Passes if the self-test TEST notices it.

It fails, or the kernel stops in it: a rule of the core is broken, an instruction faults, or a CPU does
not answer.

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
    noticed = test in console.failed() or console.fatal.endswith(f" [{test}]")
    if status == cli.FAIL and noticed:
        return 0
    print(f"FAIL: the mutant passes '{test}' (status {status}, failed: {console.failed()}, "
          f"fatal: '{console.fatal}')")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
