#!/usr/bin/python3
"""Shows the whole product in a few minutes: fuzzing, a bug found and explained, a kernel booted.

./run calls it after the set-up.
"""

import argparse
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).absolute().parents[1]
MUTANT = "m27_bump_after_ipi"
# Bazel says nothing about itself while it runs a program, unless something is wrong.
QUIET = ["--noshow_progress", "--ui_event_filters=-info,-stdout,-stderr"]
TARGETS = [
    "//fuzz:campaign",
    "//fuzz:reproduce",
    f"//tests/mutants:{MUTANT}_search",
    f"//tests/mutants:{MUTANT}_reproduce",
    "//kernel-glue:bochs",
]


class DemoError(Exception):
    """The demonstration did not go as it should; the text says what to look at."""


@dataclass(frozen=True)
class Options:
    """How long, and where the results go."""

    out: Path
    seconds: int
    mutant_seconds: int
    cpus: int


def heading(number: int, text: str) -> None:
    print(f"\n\033[1m{number}. {text}\033[0m" if sys.stdout.isatty() else f"\n{number}. {text}")
    print("-" * (len(text) + 3))


def shown(path: Path) -> str:
    """A path as seen from the top of the tree, where the commands are run."""
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def explain(text: str) -> None:
    print(text.strip() + "\n", flush=True)


def call(command: list[str]) -> int:
    """Runs a command at the top of the tree and returns its exit status."""
    with subprocess.Popen(command, cwd=ROOT) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            # Ctrl-C reaches the program as well, which cleans up and has a last word.
            process.send_signal(signal.SIGTERM)
            process.wait()
            raise


def bazel_run(target: str, arguments: list[str], expected: int, otherwise: str) -> None:
    """Runs a program of the workspace as a user would, and checks its exit status."""
    print("$ " + shlex.join(["bazel", "run", target, "--", *arguments]), flush=True)
    status = call(["bazel", "run", *QUIET, target, "--", *arguments])
    if status != expected:
        raise DemoError(f"{target} ended with exit status {status}, expected was {expected}. "
                        + otherwise)


def build() -> None:
    heading(1, "Build")
    explain("""
The flush core, the modelled machine, two fuzzers, a mutant and the test kernel. On two cores this
takes a minute or two the first time.""")
    status = call(["bazel", "build", *TARGETS])
    if status != 0:
        raise DemoError("The build failed; Bazel's message above names the file.")


def fuzz_clean(options: Options) -> None:
    heading(2, "Fuzz the flush core")
    explain(f"""
libFuzzer and AFL++ choose what each CPU of the modelled machine does, and in which order every
single memory access, interrupt and TLB fill happens. Oracles watch every step. The core should
keep its promises, so {options.seconds} seconds of this should report nothing.""")
    bazel_run("//fuzz:campaign", ["--seconds", str(options.seconds), "--crashes",
                                  shown(options.out / "clean")], 0,
              f"The fuzzers found something in the clean core. The crash files are in "
              f"{shown(options.out / 'clean')}; the lines above say how to reproduce them.")


def fuzz_mutant(options: Options) -> None:
    heading(3, "Put a real bug back, and find it")
    explain("""
FreeBSD had it in 2020: to flush remote and local TLBs at the same time, the local work moved behind
the interrupts, and the bookkeeping for the other CPUs moved along with it. The same mistake, as a
patch of the core, is in tests/mutants. The random search has to find it: it gets no feedback, but
makes several times as many executions a second as the fuzzers.""")
    programs = f"bazel-bin/tests/mutants/{MUTANT}"
    bazel_run("//fuzz:campaign", [
        "--engine", "random", "--binary-random", f"{programs}_search", "--stop-on-first",
        "--seconds", str(options.mutant_seconds), "--crashes",
        shown(options.out / "mutant"),
    ], 1, "The search should have found the mutant. If it found nothing, try "
          "'./run --mutant-seconds 300': this machine may be slow or busy.")


def tell_story(options: Options) -> Path:
    heading(4, "The crash file as a story")
    explain("""
A crash file is a few bytes. Replaying it always gives the same run; here it is shrunk to what
matters first. One column for each CPU, one line for each visible operation.""")
    index = (options.out / "mutant/titles.txt").read_text().splitlines()
    crash = options.out / "mutant" / index[1].split("\t")[0]
    bazel_run("//fuzz:reproduce", [
        "--binary", f"bazel-bin/tests/mutants/{MUTANT}_reproduce", "--minimise", shown(crash),
    ], 1, "The crash file should have failed again.")
    return crash


def boot(options: Options) -> None:
    heading(5, "Boot a kernel with the same core")
    explain(f"""
The test kernel boots in the emulator Bochs with {options.cpus} CPUs and runs the same flush core on real
instructions, page tables and interrupts. Each self-test makes stale TLB entries and checks that a
flush removes them; with the shootdown switched off they must show.""")
    bazel_run("//kernel-glue:bochs", ["--cpus", str(options.cpus)], 0,
              "The kernel should have passed its self-tests; its log is above.")


def closing(options: Options, crash: Path, seconds: float) -> None:
    heading(6, "Where things are, and what to try next")
    explain(f"""
the crash file         {shown(crash)}
the bug it found       tests/mutants/{MUTANT}.patch
the core               core/README.md has the reading order

bazel run //fuzz:campaign -- --seconds 600 --corpus out/corpus   fuzz longer, keep the inputs
bazel run //fuzz:campaign -- --help
bazel run //fuzz:reproduce -- --text FILE                        a crash file as text, to edit it
bazel run //kernel-glue:bochs -- --cpus 8
./test                                                           every test

The demonstration took {seconds:.0f} seconds, and everything went as it should.""")


def run(options: Options) -> None:
    begin = time.monotonic()
    build()
    for folder in ("clean", "mutant"):
        shutil.rmtree(options.out / folder, ignore_errors=True)
    fuzz_clean(options)
    fuzz_mutant(options)
    crash = tell_story(options)
    boot(options)
    closing(options, crash, time.monotonic() - begin)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=30, help="fuzzing of the clean core")
    parser.add_argument("--mutant-seconds", type=int, default=60, help="fuzzing of the mutant")
    parser.add_argument("--cpus", type=int, default=4, help="CPUs of the kernel")
    parser.add_argument("--out", type=Path, default=ROOT / "out/demo", help="folder of the results")
    args = parser.parse_args(argv)
    if shutil.which("bazel") is None:
        print("demo: bazel is not installed. Run tools/setup, or ./run, which does.",
              file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        run(Options(args.out.absolute(), args.seconds, args.mutant_seconds, args.cpus))
    except DemoError as error:
        print(f"\nThe demonstration stopped. {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
