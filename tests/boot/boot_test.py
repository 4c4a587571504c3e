"""Boots the test kernel in Bochs with the options of the command line. Passes if the runner does."""

import sys

from bochs_runner import cli

if __name__ == "__main__":
    sys.exit(cli.main(sys.argv[1:]))
