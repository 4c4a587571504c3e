"""Reads the source tree and lists what breaks the project's rules.

usage: python3 -m tests.tidy.tidy [ROOT]
"""

import sys

from tests.tidy import format_checks
from tests.tidy import layers
from tests.tidy import order_checks
from tests.tidy import room_checks
from tests.tidy import text_checks
from tests.tidy import tree
from tests.tidy import words

CHECKS = [
    text_checks.line_length,
    text_checks.file_length,
    text_checks.loose_ends,
    text_checks.machine_paths,
    text_checks.white_space,
    text_checks.interpreters,
    text_checks.pragma_once,
    text_checks.file_endings,
    room_checks.room_readme,
    layers.layers,
    layers.linked_layers,
    room_checks.include_paths,
    room_checks.reading_order,
    room_checks.source_includes,
    room_checks.plain_includes,
    room_checks.freestanding_includes,
    room_checks.label_layers,
    room_checks.visibility,
    room_checks.compatibility,
    words.old_names,
    words.pronouns,
    order_checks.ordering_reason,
    format_checks.clang_format,
]


def findings(root):
    """Yields (check, path, line, message) for each place that breaks a rule."""
    source = tree.Tree(root)
    for check in CHECKS:
        for path, line, message in check(source):
            yield check.__name__, path, line, message


def main():
    found = list(findings(sys.argv[1] if len(sys.argv) > 1 else "."))
    for check, path, line, message in found:
        print(f"{path}:{line}: {message} [{check}]")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
