#!/usr/bin/python3
"""Boots the test kernel in an emulator and judges it; --help says more."""

import sys

from bochs_runner import cli

if __name__ == "__main__":
    sys.exit(cli.main(sys.argv[1:]))
