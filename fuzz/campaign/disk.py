"""Files on a disk that may be full, or shared with another campaign."""

import contextlib
import fcntl
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

# The engines write until the disk is full, and libFuzzer does not notice when it is. Below this much
# of free space it counts as full, while there is still room for what was found.
_RESERVE_BYTES = 256 * 1024
_RESERVE_FILES = 32


def reason(error: OSError) -> str:
    """What went wrong, with the file, on one line."""
    file = error.filename2 or error.filename
    return f"{file}: {error.strerror}" if file else str(error.strerror or error)


# An output file of this name is standard output. A file that is named so has a folder in front: `user_path` adds it.
STANDARD_OUTPUT = Path("-")


def is_standard_output(target: Path) -> bool:
    """Whether what is written to the file goes where standard output goes, as with /dev/stdout."""
    try:
        return target == STANDARD_OUTPUT or os.path.samestat(target.stat(), os.fstat(1))
    except OSError:
        return False


def _is_written_through(target: Path) -> bool:
    """Whether the name leads to what is no regular file, such as a device or a FIFO, and must stay."""
    try:
        return not stat.S_ISREG(target.stat().st_mode)
    except FileNotFoundError:
        return False


def write_whole(target: Path, data: bytes) -> None:
    """Writes all of a file or none of it. Raises OSError with the name of the file.

    Only a regular file or a new one is replaced: a symbolic link goes on to lead to its file, and a device, a FIFO and
    standard output are written to.
    """
    if is_standard_output(target):
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    try:
        if _is_written_through(target):
            with target.open("wb") as stream:
                stream.write(data)
            return
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(target)) from error
    file = Path(os.path.realpath(target))
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        temporary.write_bytes(data)
        temporary.replace(file)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(target)) from error


def probe(folder: Path) -> None:
    """Raises OSError if no file can be written to the folder: full, read-only, no permission."""
    file = folder / ".probe"
    write_whole(file, bytes(4096))
    file.unlink(missing_ok=True)


def copy_files(source: Path, target: Path) -> int:
    """Copies the files of a folder, not those of folders below. Returns their number.

    A file that another campaign or an engine takes away meanwhile is left out, and so is one that is
    not complete yet, whose name begins with a dot.
    """
    count = 0
    for path in sorted(source.iterdir()):
        if path.is_file() and not path.name.startswith("."):
            try:
                write_whole(target / path.name, path.read_bytes())
            except FileNotFoundError:
                continue
            count += 1
    return count


def is_full(folder: Path) -> bool:
    """Whether there is so little room that the engines can no longer do their work."""
    disk = os.statvfs(folder)
    # Some file systems do not say how large they are.
    free = disk.f_bfree if os.geteuid() == 0 else disk.f_bavail
    return (disk.f_blocks != 0 and free * disk.f_frsize < _RESERVE_BYTES) or (
        disk.f_files != 0 and disk.f_favail < _RESERVE_FILES)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps other campaigns away from the folder's index meanwhile."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
