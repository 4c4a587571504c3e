#!/usr/bin/python3
"""Copies files to another folder and applies a patch there. The build makes mutants with it."""

import argparse
import shutil
import sys
from pathlib import Path

from tests.mutants import mutant


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patch", required=True, type=Path)
    parser.add_argument("--tree", required=True, type=Path, help="folder that takes the copies")
    parser.add_argument("--files", required=True, nargs="+", metavar="FROM=TO", help="TO is relative to the tree")
    args = parser.parse_args(argv)
    for pair in args.files:
        source, _, target = pair.partition("=")
        (args.tree / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, args.tree / target)
        (args.tree / target).chmod(0o644)
    try:
        mutant.apply(args.patch, args.tree)
    except mutant.MutantError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
