"""Words that the project has given up: old names, and pronouns that hide which thing acts.

Both tables are here and nowhere else. A mass rename adds its old names; a folder whose sentences are mended is
added to PLAIN_FOLDERS.
"""

import re

from tests.tidy import tree

# A name that is refused, as a whole word, and what stands in its place.
OLD_NAMES = {}

# Where an old name has to be: the parser's aliases for old texts, and what is quoted. Path, then names.
OLD_NAMES_ALLOWED = {
    "tests/tidy/words.py": set(OLD_NAMES),
}

PRONOUNS = ["somebody", "nobody", "everybody", "whoever", "whatever"]

# Folders and files in which every sentence names the initiator, the target, the walker, the oracle.
PLAIN_FOLDERS = [
    "fuzz/README.md", "fuzz/campaign", "fuzz/events", "fuzz/proofs", "fuzz/run", "fuzz/scenario", "fuzz/schedule",
    "hal", "kernel-glue", "litmus", "tests/agreement", "tests/build", "tests/core", "tests/fuzz", "tests/host",
    "tests/litmus", "tests/mm", "tests/proofs", "tests/threads", "tests/x86_64", "tools",
]


def old_names(source):
    """No file has a name that was replaced."""
    if not OLD_NAMES:
        return
    pattern = re.compile(r"\b(" + "|".join(map(re.escape, OLD_NAMES)) + r")\b")
    for file in source.files:
        allowed = OLD_NAMES_ALLOWED.get(file.path, ())
        for number, line in enumerate(file.lines, 1):
            for name in pattern.findall(line):
                if name not in allowed:
                    yield file.path, number, f"{name} is now {OLD_NAMES[name]}"


def pronouns(source):
    """A sentence has a thing for its subject."""
    pattern = re.compile(r"\b(" + "|".join(PRONOUNS) + r")\b", re.IGNORECASE)
    for file in source.files:
        plain = any(file.path == folder or file.path.startswith(folder + "/") for folder in PLAIN_FOLDERS)
        if plain and (file.is_code() or file.is_a(tree.PROSE)):
            for number, line in enumerate(file.lines, 1):
                for word in pattern.findall(line):
                    yield file.path, number, f"{word!r}: say which CPU, walker, oracle or caller"
