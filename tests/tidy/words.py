"""Words that the project has given up: old names, and pronouns that hide which thing acts.

Both tables are here and nowhere else. A mass rename adds its old names; a folder whose sentences are mended is
added to PLAIN_FOLDERS.
"""

import re

from tests.tidy import tree

# A name that is refused, as a whole word, and what stands in its place.
OLD_NAMES = {
    "by_hand": "needs_ipi_handler",
    "by_loaded_space": "by_loaded_mm",
    "cross_call": "smp_call",
    "CrossCall": "SmpCall",
    "CallRecord": "CallData",
    "find_stragglers": "find_cpus_on_local_asid",
    "forget_debts": "clear_pending_user_flushes",
    "global_slot": "global_asid",
    "in_transition": "asid_transition",
    "kHubOps": "kUvBauOps",
    "kSlots": "kDynamicAsids",
    "loaded_slot": "loaded_asid",
    "mark_user_half": "mark_user_pcid",
    "owes_answered_flush": "early_acked_flush_pending",
    "patience": "stall_limit",
    "SlotState": "AsidState",
    "SpaceRetired": "MmRetired",
    "stragglers": "CPUs on a local ASID",
    "user_flush": "user_pcid_flush_mask",
    "GuestMemory": "SimMemory",
    "GuestMm": "SimMm",
    "LabOptions": "Setup",
    "MemoryBench": "MemoryFixture",
    "Diary": "CpuLog",
    "Loot": "TlbSnapshot",
    "Town": "ThreadKernel",
}

# Where an old name has to be: the parser's aliases for old texts, and what is quoted. Path, then names.
OLD_NAMES_ALLOWED = {
    "tests/tidy/words.py": set(OLD_NAMES),
    "fuzz/scenario/kinds.h": {"by_loaded_space"},
    "fuzz/scenario/FORMAT.md": {"by_loaded_space"},
    "tests/fuzz/scenario_text_test.cc": {"by_loaded_space"},
}

PRONOUNS = ["somebody", "nobody", "everybody", "whoever", "whatever"]

# Folders and files in which every sentence names the initiator, the target, the walker, the oracle.
PLAIN_FOLDERS = [
    "core", "fuzz", "hal", "kernel-glue", "litmus", "tests/agreement", "tests/build", "tests/core", "tests/fuzz",
    "tests/host", "tests/litmus", "tests/mm", "tests/proofs", "tests/threads", "tests/x86_64", "tools",
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
