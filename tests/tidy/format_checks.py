"""The check that clang-format has nothing to change."""

import re
import subprocess

from tests.tidy import tree

CLANG_FORMAT = "/usr/bin/clang-format-19"


def clang_format(source):
    """Each C++ file is formatted as .clang-format says."""
    paths = [file.path for file in source.files if file.is_a(tree.CPP)]
    if not paths:
        return
    command = [CLANG_FORMAT, "--style=file", "--fallback-style=none", "--dry-run", "-Werror", *paths]
    done = subprocess.run(command, cwd=source.root, stderr=subprocess.PIPE, check=False)
    if done.returncode == 0:
        return
    findings = re.findall(r"^(\S+?):(\d+):\d+: error: code should be clang-formatted",
                          done.stderr.decode(errors="replace"), re.MULTILINE)
    # One finding a file is enough: the remedy is the same command for all of them.
    first = {}
    for path, line in findings:
        first.setdefault(path, int(line))
    if not first:
        yield ".clang-format", 0, done.stderr.decode(errors="replace").strip()
    for path, line in sorted(first.items()):
        yield path, line, f"not formatted, run: clang-format-19 -i {path}"
