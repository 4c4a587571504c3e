"""The campaign's command line."""

import argparse
import os
import random
import re
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from fuzz.campaign import leftovers
from fuzz.campaign.disk import is_full, probe
from fuzz.campaign.paths import program, user_path, workspace_directory
from fuzz.campaign.targets import TARGETS, Target

_EPILOG = """\
examples:
  bazel run //fuzz:campaign                                   one minute, both engines
  bazel run //fuzz:campaign -- --seconds 3600 --corpus ~/tlb  an hour, on a corpus that is kept
  bazel run //fuzz:campaign -- --engine libfuzzer --stop-on-first

Paths are relative to where you stand. Each engine uses one core for every job.
exit status: 0 nothing found, 1 something found, 2 nothing found because the campaign could not do its
work: bad usage, an engine that does not run or makes no execution, a full disk"""


_GROUPS = {"both": ["libfuzzer", "afl"], "all": ["libfuzzer", "afl", "random"]}


class UsageError(Exception):
    """Something the user can mend; the text says how."""


@dataclass(frozen=True)
class Options:
    """What the user asked for, checked."""

    target: Target
    target_name: str
    engines: list[str]
    programs: dict[str, Path]
    seconds: float
    executions: int | None
    corpus: Path | None
    crashes: Path
    stop_on_first: bool
    jobs: int
    seed: int
    max_len: int
    dictionary: Path | None
    reproduce: str | None
    status: Path | None
    report: Path | None


def _positive(kind: type):
    def convert(text: str):
        try:
            value = kind(text)
        except ValueError:
            value = 0
        if not 0 < value < 2**31:
            raise argparse.ArgumentTypeError(f"'{text}' is not a positive number")
        return value
    return convert


def _duration(text: str) -> float:
    """Seconds, or minutes, hours or days with m, h or d behind the number."""
    match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)(s|m|h|d|)", text, re.ASCII)
    if not match:
        raise argparse.ArgumentTypeError(f"'{text}' is not a positive number, or one with s, m, h or d behind it")
    return _positive(float)(str(float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; --help tells more")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="campaign", epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Fuzzes the flush core on the modelled machine and collects what fails.")
    add = parser.add_argument
    add("--target", choices=list(TARGETS), default="machine",
        help="what is fuzzed (default: machine, the core on the modelled machine). The others are the "
        "parsers of our text formats; they start from our own files and have no random search")
    add("--engine", choices=["libfuzzer", "afl", "random", "both", "all"], default="both",
        help="which fuzzing engine (default: both libfuzzer and afl, side by side). random is a "
        "search without feedback, and all is all three")
    add("--time", "--seconds", dest="seconds", type=_duration, default=60.0, metavar="N",
        help="how long: seconds, or 10m, 2h, 7d (default: 60)")
    add("--executions", type=_positive(int), metavar="N",
        help="end earlier, when each engine process has made this many executions")
    add("--corpus", metavar="DIR",
        help="inputs to start from; what the engines find interesting is added (default: start "
        "from nothing and keep nothing)")
    add("--crashes", metavar="DIR",
        help="where crash files go, with titles.txt (default: out/campaign/TIME in the workspace, "
        "made when something is found)")
    add("--stop-on-first", action="store_true", help="end at the first crash")
    add("--jobs", type=_positive(int), default=1, metavar="N",
        help="processes of each engine (default: 1)")
    add("--seed", type=_positive(int), metavar="N",
        help="random seed of the engines (default: a new one, which is printed)")
    add("--max-len", type=_positive(int), metavar="N",
        help="longest input in bytes (default: 776, the largest scenario; 4096 of text)")
    add("--dict", metavar="FILE",
        help="dictionary of tokens, in the form both engines read (default: that of a text format)")
    add("--binary-libfuzzer", metavar="FILE", help="another fuzz program for libFuzzer")
    add("--binary-afl", metavar="FILE", help="another fuzz program for AFL++")
    add("--binary-random", metavar="FILE", help="another program for the random search")
    add("--status", metavar="FILE",
        help="keep a file of JSON that says how far the campaign is and what it has found; where something is found "
        "there is one beside the crash files, too")
    add("--report", metavar="DIR",
        help="write report.html there at the end, with curves, and a timeline for each kind of failure (default: "
        "beside the crash files, where something is found)")
    add("--reproduce", metavar="COMMAND",
        help="what the summary shows in front of a crash file (default: what was seen to show it again, "
        "which is the reproducer of the same build or the fuzz program itself)")
    return parser


def parse(argv: list[str]) -> Options:
    """The checked options. Raises UsageError, or exits with status 0 for --help."""
    args = _parser().parse_args(argv)
    engines = _GROUPS.get(args.engine, [args.engine])
    target = TARGETS[args.target]
    if missing := [name for name in engines if name not in target.programs]:
        raise UsageError(f"--target {args.target} has no engine {missing[0]}. Use --engine both.")
    given = {"libfuzzer": args.binary_libfuzzer, "afl": args.binary_afl,
             "random": args.binary_random}
    if "afl" in engines and shutil.which("afl-fuzz") is None:
        raise UsageError("afl-fuzz is not installed. It is in the Debian package afl++; run "
                         "tools/setup, or use --engine libfuzzer.")
    default_crashes = workspace_directory() / "out/campaign" / time.strftime("%Y%m%d-%H%M%S")
    options = Options(
        target=target,
        target_name=args.target,
        engines=engines,
        programs={name: _program(name, target.programs[name], given[name]) for name in engines},
        seconds=args.seconds,
        executions=args.executions,
        corpus=_folder(user_path(args.corpus), "--corpus") if args.corpus else None,
        crashes=_future_folder(user_path(args.crashes) if args.crashes else default_crashes),
        stop_on_first=args.stop_on_first,
        jobs=args.jobs,
        seed=args.seed or random.SystemRandom().randrange(1, 2**31),
        max_len=args.max_len or target.max_len,
        dictionary=_file(user_path(args.dict), "--dict") if args.dict else target.dictionary_file(),
        reproduce=args.reproduce,
        status=_writable_file(user_path(args.status), "--status") if args.status else None,
        report=_folder(user_path(args.report), "--report") if args.report else None,
    )
    busy = len(engines) * options.jobs
    if busy > (os.cpu_count() or busy):
        print(f"campaign: {busy} engine processes share {os.cpu_count()} cores", file=sys.stderr)
    return options


def _program(engine: str, usual: str, given: str | None) -> Path:
    path = user_path(given) if given else program(usual)
    if not path.is_file():
        fix = f"Check --binary-{engine}." if given else "Use 'bazel run //fuzz:campaign'."
        raise UsageError(f"{path}: no such fuzz program. {fix}")
    if not os.access(path, os.X_OK):
        raise UsageError(f"{path} is not executable, so it is no fuzz program. "
                         f"Check --binary-{engine}.")
    return path


def _file(path: Path, option: str) -> Path:
    if not (path.is_file() and os.access(path, os.R_OK)):
        raise UsageError(f"{option}: {path} is not a readable file.")
    return path


def _writable_file(path: Path, option: str) -> Path:
    if path.is_dir() or not path.parent.is_dir():
        raise UsageError(f"{option}: {path} is no file in a folder that is there.")
    _writable(path.parent, option)
    return path


def _folder(path: Path, option: str) -> Path:
    """A folder that can be read and written; made if it is not there."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{option}: {path} cannot be made: {error.strerror}. Name a folder that "
                         "you may write to.") from error
    if not os.access(path, os.R_OK | os.X_OK):
        raise UsageError(f"{option}: no permission to read {path}. Name another folder.")
    _writable(path, option)
    return path


def _writable(path: Path, option: str) -> None:
    try:
        probe(path)
    except OSError as error:
        raise UsageError(f"{option}: cannot write to {path}: {error.strerror}. Name another "
                         "folder, or make room.") from error


def _future_folder(path: Path) -> Path:
    """A folder that can be made when it is needed, which is the moment not to be surprised."""
    existing = path
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir():
        raise UsageError(f"--crashes: {existing} is not a folder.")
    _writable(existing, "--crashes")
    return path


def make_work_folder() -> Path:
    """The folder of the campaign's own files, where TMPDIR says and nowhere else."""
    # Without a word Python takes another folder if this one cannot be written to.
    parent = Path(os.environ.get("TMPDIR") or tempfile.gettempdir())
    try:
        work = Path(tempfile.mkdtemp(prefix=leftovers.PREFIX, dir=parent))
    except OSError as error:
        raise UsageError(f"TMPDIR: cannot make a folder in {parent}: {error.strerror}. Set TMPDIR to "
                         "another folder, or make room.") from error
    if is_full(work):
        work.rmdir()
        raise UsageError(f"TMPDIR: {parent} is full. Set TMPDIR to another folder, or make room.")
    return work
