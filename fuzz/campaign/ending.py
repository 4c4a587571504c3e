"""The end of a program for people: what cannot be printed was not told; what was not foreseen is told in one line."""

import fcntl
import os
import sys
import traceback
from collections.abc import Callable


def _open_streams() -> bool:
    """Gives closed standard streams a place, which a file would take else. Returns whether there is an output."""
    is_there = sys.stdout is not None
    while (handle := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(handle, True)
    os.close(handle)
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8")
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8")
    # Where it is closed, the interpreter may have taken its place for a file that it reads.
    if sys.stderr is None or fcntl.fcntl(2, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")
    return is_there


def _unforeseen(error: Exception) -> str:
    """The error, and where it came up."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    said = " ".join(str(error).split())
    return f"internal error: {type(error).__name__}: {said} ({os.path.basename(frame.filename)}:{frame.lineno})"


def run(name: str, main: Callable[[list[str]], int]) -> None:
    """Ends the process with the status of `main`, or with 2 if it fails or standard output cannot be written."""
    if not _open_streams():
        print(f"{name}: the output cannot be written: standard output is closed", file=sys.stderr)
        sys.exit(2)
    # Else, where the environment wants it unbuffered, argparse would swallow what goes wrong. A name of a file that
    # is no UTF-8 is told as it is.
    sys.stdout.reconfigure(write_through=False, errors="surrogateescape")
    failed = None
    try:
        status = main(sys.argv[1:])
    except SystemExit as end:
        status = end.code
    except Exception as error:  # pylint: disable=broad-exception-caught
        failed, status = error, 2
    try:
        sys.stdout.flush()
        if failed:
            print(f"{name}: {_unforeseen(failed)}", file=sys.stderr)
    except OSError as error:
        print(f"{name}: the output cannot be written: {error.strerror}", file=sys.stderr)
        # The interpreter would try again, and complain at length.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 2
    sys.exit(status)
