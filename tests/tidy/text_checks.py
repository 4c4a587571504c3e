"""Checks of single files: layout and words."""

import re

from tests.tidy import tree

MAX_COLUMNS = 120
# Far above what a file with one meaning needs: files are divided by what they say, not to pass here.
MAX_LINES = 800


def line_length(source):
    """No line of code has more than 120 columns."""
    for file in source.files:
        if file.is_code():
            for number, line in enumerate(file.lines, 1):
                if len(line) > MAX_COLUMNS:
                    yield file.path, number, f"{len(line)} columns, at most {MAX_COLUMNS} are allowed"


def file_length(source):
    """No file of code is longer than anything that one reads at a time."""
    for file in source.files:
        lines = file.text.count("\n")
        if file.is_code() and lines > MAX_LINES:
            yield file.path, lines, f"{lines} lines, at most {MAX_LINES} are allowed"


def loose_ends(source):
    """No file says that something is left to do."""
    # The brackets keep this line from finding itself.
    pattern = re.compile(r"\b(TO[D]O|FIX[M]E|X[X]X)\b")
    for file in source.files:
        if file.is_code() or file.is_a(tree.PROSE):
            yield from _matches(file, pattern, "a loose end")


def machine_paths(source):
    """No file names a folder that exists on one machine only."""
    pattern = re.compile(r"(?<![\w.*}])/(work|home|root)/")
    for file in source.files:
        yield from _matches(file, pattern, "a path of one machine")


def white_space(source):
    """No tabs in C++, no space at the end of a line, and a newline at the end of the file."""
    for file in source.files:
        if not file.is_code():
            continue
        if file.is_a(tree.CPP):
            yield from _matches(file, re.compile(r"\t"), "a tab")
        yield from _matches(file, re.compile(r"[ \t\r]+$"), "white space at the end of the line")
        if file.text and not file.text.endswith("\n"):
            yield file.path, len(file.lines), "no newline at the end"


def interpreters(source):
    """Python scripts name Debian's interpreter: the first python3 of a user may be anything."""
    for file in source.files:
        if file.is_a(tree.PYTHON) and file.lines[0].startswith("#!"):
            if file.lines[0] != "#!/usr/bin/python3":
                yield file.path, 1, "the interpreter is not /usr/bin/python3"


def pragma_once(source):
    """Each header begins, after its comment, with #pragma once."""
    for file in source.files:
        if file.is_a(tree.HEADER):
            # Headers that C includes, too, have its comments.
            code = (line for line in file.lines if line.strip() and not line.startswith(("//", "/*", " *")))
            if next(code, "") != "#pragma once":
                yield file.path, 1, "#pragma once is not the first line of code"


def _matches(file, pattern, what):
    for number, line in enumerate(file.lines, 1):
        match = pattern.search(line)
        if match:
            yield file.path, number, f"{what}: {match.group(0)!r}"


def file_endings(source):
    """C++ is in .h, .cc and .inc, C in .c, assembler in .S: what is called otherwise would pass the checks unread."""
    for file in source.files:
        if file.is_a(tree.OTHER_CPP):
            yield file.path, 0, "C++ files end in .h or .cc, parts of one in .inc, C in .c, assembler files in .S"
