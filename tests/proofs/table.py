#!/usr/bin/python3
"""Explores all proofs on all mutants, and writes which proof finds which: the table of docs/proofs.md.

usage: bazel run //tests/proofs:table [-- [--executions N] [--jobs N] [--dry] [MUTANT]...]

Of each mutant the proof that finds it in the fewest executions is written. First each proof gets 300 executions, then
3,000, and at last N (default 60000), until one finds the mutant. With names of mutants only their rows are made anew.
--dry prints, and writes nothing.

exit status: 0 done, 2 it could not be done
"""

import argparse
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.proofs import rules

_STAGES = (300, 3000)
_BEHIND = {"R": 0, "M": 1, "I": 2}


def _order(row: rules.Row) -> tuple:
    """R1 to R13, M1 to M20, I1 to I7, and what has no number."""
    first = row.broken.split(", ")[0]
    numbered = first[0] in _BEHIND and first[1:].isdigit()
    return (_BEHIND[first[0]], int(first[1:])) if numbered else (9, 0), first, row.mutant


def best(root: Path, program: str, name: str, proofs: list[Path], most: int) -> rules.Row | None:
    """The proof that finds a mutant in the fewest executions, or nothing."""
    fitting = [proof for proof in proofs if rules.reorders(proof) == name.startswith("c")]
    for stage in [stage for stage in _STAGES if stage < most] + [most]:
        results = [(rules.explore(program, name, proof, stage), proof) for proof in fitting]
        found = sorted((result.executions, proof.stem, result.oracle) for result, proof in results if result.oracle)
        if found:
            _, proof, oracle = found[0]
            return rules.Row(rules.broken_by(root, name), name, proof, oracle)
    return None


def written(text: str, rows: list[rules.Row]) -> str:
    """The document with these rows in the place of its own."""
    lines = text.split("\n")
    begin = lines.index(rules.HEADER) + 2
    end = next(i for i in range(begin, len(lines)) if not lines[i].startswith("| "))
    return "\n".join(lines[:begin] + [row.text for row in sorted(rows, key=_order)] + lines[end:])


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="table")
    parser.add_argument("explore")
    parser.add_argument("--executions", type=int, default=60000)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--dry", action="store_true")
    parser.add_argument("mutants", nargs="*")
    options = parser.parse_intermixed_args(argv)
    root = Path(os.environ["BUILD_WORKSPACE_DIRECTORY"])
    all_mutants = sorted(path.stem for path in (root / rules.MUTANTS).glob("*.patch"))
    names = options.mutants or all_mutants
    if unknown := [name for name in names if name not in all_mutants]:
        print(f"table: tests/mutants has no {', '.join(unknown)}", file=sys.stderr)
        return 2
    proofs = sorted((root / rules.PROOFS).glob("*.txt"))
    program = str(Path(options.explore).resolve())
    document = root / rules.DOCUMENT
    rows = {row.mutant: row for row in rules.published(document.read_text())} if options.mutants else {}
    with ThreadPoolExecutor(options.jobs) as pool:
        results = pool.map(lambda name: best(root, program, name, proofs, options.executions), names)
        for name, row in zip(names, results):
            print(row.text if row else f"{name}: no proof finds it", flush=True)
            rows.pop(name, None)
            if row:
                rows[name] = row
    if not options.dry:
        document.write_text(written(document.read_text(), list(rows.values())))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
