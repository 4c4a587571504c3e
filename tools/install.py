#!/usr/bin/python3
"""Installs the tools that need no source tree below a folder.

usage: bazel run //:install -- PREFIX

PREFIX/bin/shootdown            the door to them, which works from any folder
PREFIX/lib/shootdown            programs, their Python, proofs and seeds
PREFIX/share/bash-completion    completion for bash

A folder of an earlier installation is replaced.
exit status: 0 installed, 2 it could not be done
"""

import os
import shutil
import sys
from pathlib import Path

from fuzz.campaign.paths import user_path
from tools import shootdown

_DOOR = """\
#!/bin/sh
exec python3 "$(dirname "$(readlink -f "$0")")/../lib/shootdown/tools/shootdown.py" "$@"
"""
_RUNFILES = Path(os.path.abspath(__file__)).parents[1]
# Folders of the tree of which files are taken, and those that are not for users.
_PARTS = ("fuzz", "litmus", "tools")
_LEFT_OUT = ("_test.py", "_fixture.py")


def files() -> list[Path]:
    """What is installed, relative to the tree, as Bazel has put it beside this file."""
    found = []
    for part in _PARTS:
        for folder, _, names in os.walk(_RUNFILES / part, followlinks=True):
            if "testdata" in folder or "__pycache__" in folder:
                continue
            found += [Path(folder, name).relative_to(_RUNFILES) for name in names
                      if not name.endswith(_LEFT_OUT) and not name.startswith("install")]
    return sorted(found)


def completion() -> str:
    """A script for bash: the tools, and behind one the options that its help names."""
    return f"""\
# Completion of shootdown for bash.
_shootdown() {{
  local word=${{COMP_WORDS[COMP_CWORD]}}
  if [ "$COMP_CWORD" = 1 ]; then
    mapfile -t COMPREPLY < <(compgen -W "{' '.join(shootdown.TOOLS)} help" -- "$word")
  elif [[ $word == -* ]]; then
    local options
    options=$("${{COMP_WORDS[0]}}" "${{COMP_WORDS[1]}}" --help 2>/dev/null | grep -oE -- '(^|[ ,[])--?[a-z][a-z-]*' |
      tr -d ' ,[' | sort -u)
    mapfile -t COMPREPLY < <(compgen -W "$options" -- "$word")
  else
    mapfile -t COMPREPLY < <(compgen -f -- "$word")
  fi
}}
complete -o filenames -F _shootdown shootdown
"""


def install(prefix: Path) -> None:
    """Writes everything. Raises OSError."""
    library = prefix / "lib/shootdown"
    aside = prefix / f"lib/.shootdown.{os.getpid()}"
    try:
        for file in files():
            target = aside / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(os.path.realpath(_RUNFILES / file), target)
            # Bazel's files cannot be written, not even by the next installation.
            target.chmod(target.stat().st_mode | 0o200)
        shutil.rmtree(library, ignore_errors=True)
        aside.replace(library)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    door = prefix / "bin/shootdown"
    door.parent.mkdir(parents=True, exist_ok=True)
    door.write_text(_DOOR, encoding="utf-8")
    door.chmod(0o755)
    script = prefix / "share/bash-completion/completions/shootdown"
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(completion(), encoding="utf-8")


def main(argv: list[str]) -> int:
    if len(argv) != 1 or argv[0].startswith("-"):
        asked = argv in (["--help"], ["-h"])
        print(__doc__.strip() if asked else "install: one folder is needed, such as ~/.local; --help tells more",
              file=sys.stdout if asked else sys.stderr)
        return 0 if asked else 2
    prefix = user_path(argv[0])
    try:
        install(prefix)
    except OSError as error:
        print(f"install: {error.filename or prefix}: {error.strerror}", file=sys.stderr)
        return 2
    print(f"{prefix}/bin/shootdown; for completion: source {prefix}/share/bash-completion/completions/shootdown")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
