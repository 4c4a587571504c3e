"""The trees of Linux that are installed here, and what a test says where there is none."""

import unittest
from pathlib import Path

VERSIONS = ("6.12", "6.1")


def tree_of(version: str) -> Path | None:
    """The tree that tools/setup --linux unpacks, if it is there."""
    path = Path(f"/usr/src/linux-source-{version}")
    return path if (path / "arch/x86/mm/tlb.c").is_file() else None


def need(version: str) -> Path:
    """The tree, or the test is skipped, which tools/run_tests.py counts."""
    path = tree_of(version)
    if path is None:
        print(f"SKIPPED: linux-source-{version} is not installed: tools/setup --linux", flush=True)
        raise unittest.SkipTest(f"linux-source-{version}")
    return path
