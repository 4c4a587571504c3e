"""Checks that the sources say why their memory is ordered as it is."""

import re

from tests.tidy import rooms
from tests.tidy import tree

# What orders accesses. The declarations of these words in the HAL's contract count as well.
_ORDERED = re.compile(r"\bmemory_order_(?:acquire|release|acq_rel|seq_cst)\b"
                      r"|\bfull_fence\(\)|\border_stores_before_ipi\(\)")
# What a comment has to name: a rule, an ordering of docs/protocol.md, or what orders.
_REASON = re.compile(r"\b[RM]\d+\b|\b(?:acquire|release|seq_cst|fence|barrier|orders?|locked)\b", re.IGNORECASE)
# So many lines of code may stand between the comment and what it explains, as in a short function.
_REACH = 16


def ordering_reason(source):
    """An access that is not relaxed, and a fence, has a comment that names its rule or says what it orders.

    It stands on the same line, or in the nearest comment above, in the same paragraph.
    """
    for file in source.files:
        if rooms.room_of(file.path) not in rooms.ORDERS_ARE_EXPLAINED or not file.is_a(tree.CPP):
            continue
        for number, line in enumerate(file.lines, 1):
            code = line.split("//")[0]
            if _ORDERED.search(code) and not _REASON.search(_comment_for(file.lines, number)):
                yield file.path, number, "no comment says which rule asks for this order, or what it orders"


def _comment_for(lines, number):
    """The comment on line `number` and the nearest block of comments above it, in the same paragraph."""
    said = lines[number - 1].partition("//")[2]
    above = number - 2
    while above >= max(0, number - 2 - _REACH) and lines[above].strip() and not _is_comment(lines[above]):
        said += lines[above].partition("//")[2]
        above -= 1
    while above >= 0 and _is_comment(lines[above]):
        said += lines[above]
        above -= 1
    return said


def _is_comment(line):
    return line.lstrip().startswith("//")
