"""The end of a program for people: what cannot be printed was not told."""

import os
import sys
from collections.abc import Callable


def run(name: str, main: Callable[[list[str]], int]) -> None:
    """Ends the process with the status of `main`, or with 2 if standard output cannot be written."""
    # Else, where the environment wants it unbuffered, argparse would swallow what goes wrong.
    sys.stdout.reconfigure(write_through=False)
    try:
        status = main(sys.argv[1:])
    except SystemExit as end:
        status = end.code
    try:
        sys.stdout.flush()
    except OSError as error:
        print(f"{name}: the output cannot be written: {error.strerror}", file=sys.stderr)
        # The interpreter would try again, and complain at length.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 2
    sys.exit(status)
