#!/usr/bin/python3
"""Stands in for Bochs, and for QEMU, in the runner's own tests.

Knows the CPUs model_a and model_b. Reads the console's device from "bochsrc", as Bochs does, or
from the option -serial, as QEMU does, writes what FAKE_CONSOLE holds to it, and ends as FAKE_END
says: with that exit status, or never if it is "hang". Its process number goes to the file FAKE_PID, if that is set.
"""

import os
import re
import sys
import time


def _console():
    """The console's device."""
    if "-serial" in sys.argv:
        return sys.argv[sys.argv.index("-serial") + 1].removeprefix("file:")
    with open("bochsrc", encoding="ascii") as file:
        return re.search(r"^com1: .*dev=(\S+)$", file.read(), re.MULTILINE)[1]


def main():
    if sys.argv[1:] == ["--help", "cpu"]:
        print("0i[      ] a line of the log\nSupported CPU models:\n\nmodel_a\nmodel_b\n\n0i[SIM   ] quit_sim")
        return
    with open(_console(), "w", encoding="ascii") as console:
        console.write(os.environ["FAKE_CONSOLE"])
    with open("bochs.log", "w", encoding="ascii") as log:
        log.write("a line of the emulator's log\n")
    if "FAKE_PID" in os.environ:
        with open(os.environ["FAKE_PID"], "w", encoding="ascii") as file:
            file.write(str(os.getpid()))
    if os.environ["FAKE_END"] != "hang":
        sys.exit(int(os.environ["FAKE_END"]))
    while True:
        time.sleep(60)


if __name__ == "__main__":
    main()
