"""Boots the test kernel with the options of the command line. Passes if the runner does.

Where there is no QEMU, a test that needs it is skipped, and says so.
"""

import shutil
import sys

from bochs_runner import cli, emulator

if __name__ == "__main__":
    if "qemu" in sys.argv and shutil.which(emulator.DEFAULT_QEMU) is None:
        print(f"SKIPPED: {emulator.DEFAULT_QEMU} is missing; tools/setup installs it")
        sys.exit(0)
    sys.exit(cli.main(sys.argv[1:]))
