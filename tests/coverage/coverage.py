#!/usr/bin/python3
"""Measures which lines of the core and of the reference memory manager are executed."""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.coverage import lcov
from tests.coverage.lcov import Lines

_EPILOG = """\
examples:
  bazel run //tests:coverage                          tests and a fixed random search; HTML in out/coverage
  bazel run //tests:coverage -- --corpus out/campaign/latest/corpus

Inputs are the unit tests, random scenarios from fixed seeds, and any corpus that you name. Every line of the
rooms measured must be executed or stand in tests/coverage/exceptions.txt with a reason.
exit status: 0 so it is, 1 it is not, 2 bad usage, a missing tool or a program that failed"""

ROOMS = ("core/", "kernel-glue/mm/")
_TREE = Path(__file__).absolute().parents[2]
_HERE = _TREE / "tests/coverage"
# The inputs: counted and from fixed seeds, so that the same lines are executed each time.
_SEARCHES = (["--seed", "1", "--executions", "40000"],
             ["--seed", "1000000000", "--executions", "20000", "--cpus", "8", "--ops", "16"])


class CoverageError(Exception):
    """Something that kept the measurement from being made; the text says what to do."""


def read_exceptions(text: str) -> dict[tuple[str, str], str]:
    """(file, code of the line, or * for a file without code) -> reason."""
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        parts = [part.strip() for part in line.split(" | ")]
        if len(parts) != 3 or not all(parts):
            raise CoverageError(f"exceptions.txt, line {number}: expected FILE | CODE | REASON")
        found[parts[0], parts[1]] = parts[2]
    return found


def judge(files: dict[str, Lines], sources: dict[str, list[str]],
          exceptions: dict[tuple[str, str], str]) -> list[str]:
    """What is wrong: lines that nothing executes, and exceptions that are none any more."""
    wrong = []
    used = set()
    for name, code in sorted(sources.items()):
        if name not in files:
            missed = [(0, "*")]
        else:
            missed = [(line, code[line - 1].strip()) for line in files[name].missed]
        for line, text in missed:
            if (name, text) in exceptions:
                used.add((name, text))
            elif line == 0:
                wrong.append(f"{name}: nothing of it is in any program measured")
            else:
                wrong.append(f"{name}:{line}: never executed: {text}")
    wrong += [f"exceptions.txt: '{name} | {text}' is executed, or gone"
              for name, text in sorted(exceptions.keys() - used)]
    return wrong


def _call(argv: list[str], **kwargs) -> subprocess.CompletedProcess:
    try:
        return subprocess.run(argv, check=False, **kwargs)
    except FileNotFoundError as error:
        raise CoverageError(f"{argv[0]} is not installed; run tools/setup") from error


def _execute(program: Path, arguments: list[str], folder: Path) -> None:
    name = " ".join([program.name, *arguments])
    # Tests find their data from here.
    run = _call([str(program), *arguments], cwd=_TREE, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={**os.environ, "LLVM_PROFILE_FILE": f"{folder}/%m.profraw"})
    if run.returncode != 0:
        raise CoverageError(f"{name} failed:\n{run.stdout.decode(errors='replace')[-2000:]}")


def _programs() -> list[Path]:
    return sorted(_HERE.glob("*_cov"))


def measure(folder: Path, corpora: list[Path], tell) -> Path:
    """Runs everything; returns the profile."""
    programs = {program.name: program for program in _programs()}
    for name, program in programs.items():
        if name.endswith("_test_cov"):
            tell(f"tests: {name.removesuffix('_cov')}")
            _execute(program, [], folder)
    for options in _SEARCHES:
        tell("random search: " + " ".join(options))
        _execute(programs["search_cov"], options, folder)
    for corpus in corpora:
        inputs = [path for path in sorted(corpus.rglob("*")) if path.is_file()]
        tell(f"corpus: {len(inputs)} files of {corpus}")
        for path in inputs:
            _execute(programs["reproduce_cov"], ["--bytes", "--title", str(path)], folder)
    profile = folder / "profile"
    lcov.merge(folder.glob("*.profraw"), profile)
    return profile


def _sources() -> dict[str, list[str]]:
    paths = [path for room in ROOMS for path in sorted((_TREE / room).glob("**/*.h"))]
    return {str(path.relative_to(_TREE)): path.read_text().splitlines() for path in paths}


def table(files: dict[str, Lines], sources: dict[str, list[str]]) -> str:
    rows = []
    for name in sorted(sources):
        counts = files[name].counts if name in files else {}
        executed = sum(count > 0 for count in counts.values())
        rows.append(f"{name:40} {executed:5} of {len(counts):5} lines")
    return "\n".join(rows)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="coverage", description=__doc__, epilog=_EPILOG,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--html", metavar="DIR", help="where the report goes; default: out/coverage")
    parser.add_argument("--no-html", action="store_true", help="check only")
    parser.add_argument("--corpus", metavar="DIR", action="append", default=[],
                        help="a folder of inputs to replay as well; may be given several times")
    return parser


def _user_path(text: str) -> Path:
    return Path(os.environ.get("BUILD_WORKING_DIRECTORY", "."), text).absolute()


def _run(args: argparse.Namespace) -> int:
    corpora = [_user_path(corpus) for corpus in args.corpus]
    for corpus in corpora:
        if not corpus.is_dir():
            raise CoverageError(f"--corpus {corpus}: no such folder")
    with tempfile.TemporaryDirectory() as folder:
        profile = measure(Path(folder), corpora, lambda line: print(line, flush=True))
        files = lcov.lines_of(profile, _programs(), cwd=_TREE)
        sources = _sources()
        print(table(files, sources))
        if not args.no_html:
            root = os.environ.get("BUILD_WORKSPACE_DIRECTORY", ".")
            html = _user_path(args.html) if args.html else Path(root).absolute() / "out/coverage"
            lcov.llvm_cov("show", profile, _programs(), "-format=html", f"-output-dir={html}",
                          "-show-line-counts-or-regions", *(f for f in sources if f in files), cwd=_TREE)
            print(f"report: {html}/index.html")
    wrong = judge(files, sources, read_exceptions((_HERE / "exceptions.txt").read_text()))
    print("\n".join(wrong) if wrong else "every line is executed, or has a reason not to be")
    return 1 if wrong else 0


def main(argv: list[str]) -> int:
    args = _parser().parse_args(argv)
    try:
        return _run(args)
    except (CoverageError, lcov.LcovError, OSError) as error:
        print(f"coverage: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
