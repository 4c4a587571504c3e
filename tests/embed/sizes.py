#!/usr/bin/python3
"""Writes kernel-glue/embed/sizes.h: how large the types of shootdown.h are, for each number of CPUs.

--check only compares. Exit status: 0 done, or nothing to do; 1 the file is out of date; 2 a tool failed.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from fuzz.campaign.paths import workspace_directory

_COMPILER = "clang++-19"
_NUMBERS = (8, 16, 64, 256, 1024, 4096)
_TYPES = ("SYSTEM", "MM", "BATCH", "PENDING", "TEMPORARY", "ENTRY_BLOCK")
_FREESTANDING = ["-ffreestanding", "-fno-exceptions", "-fno-rtti", "-mno-red-zone", "-mno-sse", "-mno-mmx"]
_HEAD = """\
/* How large the types of shootdown.h are, the same for every compiler. Written by
 * `bazel run //tests/embed:sizes`; the library does not compile where it is wrong. */
#pragma once
"""


class SizesError(Exception):
    """A tool is missing or has failed; the text says which."""


def _call(argv: list[str], cwd: Path | None = None) -> str:
    try:
        run = subprocess.run(argv, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    except FileNotFoundError as error:
        raise SizesError(f"{argv[0]} is not installed; run tools/setup") from error
    if run.returncode != 0:
        raise SizesError(f"{argv[0]} failed:\n{run.stderr.strip()[-2000:]}")
    return run.stdout


def measure(root: Path, flags: list[str]) -> dict[str, int]:
    """The bytes of each type in a build with these flags."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "sizes.o"
        _call([_COMPILER, "-std=c++20", "-O1", "-I.", "-DSD_SIZES_ARE_ASKED", *flags, "-c",
               "tests/embed/sizes.cc", "-o", str(file)], root)
        table = _call(["llvm-nm-19", "--print-size", str(file)])
    rows = re.findall(r"^\S+ (\S+) \w sd_size_of_(\w+)$", table, re.MULTILINE)
    found = {name.upper(): int(size, 16) for size, name in rows}
    return {name: found[name] for name in _TYPES}


def block(condition: str, sizes: dict[str, int]) -> str:
    """The lines for one kind of build."""
    lines = [f"#define SD_{name}_BYTES{'_' * (name == 'SYSTEM')} {sizes[name]}\n" for name in _TYPES]
    return f"{condition}\n" + "".join(lines)


def text(root: Path) -> str:
    """The file as it should be."""
    asked = {name: 64 for name in _TYPES}
    blocks = [block("#if defined(SD_SIZES_ARE_ASKED) /* by sizes.py */", asked),
              block("#elif defined(SD_ON_MODEL) /* the modelled machine */", measure(root, ["-DSD_ON_MODEL"]))]
    for cpus in _NUMBERS:
        kernel = measure(root, [*_FREESTANDING, f"-DSD_MAX_CPUS={cpus}"])
        debug = measure(root, [*_FREESTANDING, f"-DSD_MAX_CPUS={cpus}", "-DSD_DEBUG"])
        blocks.append(block(f"#elif SD_MAX_CPUS == {cpus}", kernel))
        numbers = debug["SYSTEM"] - kernel["SYSTEM"]
    last = ("#else\n"
            f"#error \"SD_MAX_CPUS is {', '.join(map(str, _NUMBERS[:-1]))} or {_NUMBERS[-1]}\"\n#endif\n")
    system = ("#ifdef SD_DEBUG /* and the numbers of tokens */\n"
              f"#define SD_SYSTEM_BYTES (SD_SYSTEM_BYTES_ + {numbers})\n"
              "#else\n#define SD_SYSTEM_BYTES SD_SYSTEM_BYTES_\n#endif\n")
    return "\n".join([_HEAD, "".join(blocks) + last, system])


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="sizes", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    args = parser.parse_args(argv)
    root = workspace_directory()
    file = root / "kernel-glue/embed/sizes.h"
    try:
        wanted = text(root)
        if wanted == file.read_text():
            return 0
        if args.check:
            print(f"{file.name} is out of date: bazel run //tests/embed:sizes", file=sys.stderr)
            return 1
        file.write_text(wanted)
    except (SizesError, OSError) as error:
        print(f"sizes: {error}", file=sys.stderr)
        return 2
    print(f"written: {file.relative_to(root)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
