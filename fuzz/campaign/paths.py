"""Where the user stands, and where the programs of this workspace are."""

import os
import subprocess
from pathlib import Path


def user_directory() -> Path:
    """The folder in which the user typed the command. `bazel run` moves elsewhere first."""
    return Path(os.environ.get("BUILD_WORKING_DIRECTORY") or os.getcwd())


def user_path(text: str) -> Path:
    """A path as the user means it: relative to where the user stands."""
    return Path(os.path.normpath(user_directory() / Path(text).expanduser()))


def output_path(text: str) -> Path:
    """As `user_path`, of a file to write; "-" is standard output (disk.py)."""
    return Path(text) if text == "-" else user_path(text)


def workspace_directory() -> Path:
    """The source tree under `bazel run`, and the user's folder otherwise."""
    root = os.environ.get("BUILD_WORKSPACE_DIRECTORY")
    return Path(root) if root else user_directory()


def shown(path: Path) -> str:
    """A path as the user would type it."""
    try:
        return str(path.relative_to(user_directory()))
    except ValueError:
        return str(path)


def program(path: str) -> Path:
    """A program of this workspace, by its path in it. Bazel puts it beside this file's tree."""
    return Path(__file__).absolute().parents[2] / path


def is_program(path: Path, name: str) -> bool:
    """Whether it is a build of this program: one that is none may do nothing, and end as if all were well."""
    if not path.is_file() or not os.access(path, os.X_OK):
        return False
    try:
        run = subprocess.run([str(path), "--help"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return run.stdout.startswith(f"usage: {name} ".encode())
