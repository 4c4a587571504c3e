#!/usr/bin/python3
"""Boots the test kernel with a mutant inside. Passes if the self-test TEST notices it.

It fails, or the kernel stops in it: a rule of the core is broken, an instruction faults, or a CPU does
not answer.

Where there is no QEMU, a test that needs it is skipped, and says so.

usage: boot_mutant_test.py IMAGE MUTANT TEST [OPTION OF THE RUNNER]...
"""

import contextlib
import io
import shutil
import sys
import tempfile
from pathlib import Path

from bochs_runner import cli, emulator, verdict

from tests.mutants import joint


def main(argv: list[str]) -> int:
    image, name, test, *options = argv
    if "qemu" in options and shutil.which(emulator.DEFAULT_QEMU) is None:
        print(f"SKIPPED: {emulator.DEFAULT_QEMU} is missing; tools/setup installs it")
        return 0
    output = io.StringIO()
    with tempfile.TemporaryDirectory() as folder:
        chosen = Path(folder) / "kernel.iso"
        chosen.write_bytes(joint.choose_in(Path(image).read_bytes(), name))
        with contextlib.redirect_stdout(output):
            status = cli.main(["--image", str(chosen), *options, "--timeout", "200"])
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
