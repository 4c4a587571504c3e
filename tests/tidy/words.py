"""Words that the project has given up: old names, and pronouns that hide which thing acts.

Both tables are here and nowhere else. A mass rename adds its old names; a folder whose sentences are mended is
added to PLAIN_FOLDERS.
"""

import functools
import os
import re

from tests.tidy import tree

# A name that is refused, as a whole word, and what stands in its place.
OLD_NAMES = {
    "by_hand": "needs_ipi_handler",
    "by_loaded_space": "by_loaded_mm",
    "cross_call": "smp_call",
    "CrossCall": "SmpCall",
    "CallData": "CallPost",
    "CallQueue": "PendingSenders",
    "CallRecord": "CallPost",
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
    "kernel-glue/bochs_runner/scenario.py": {"by_loaded_space"},
    "tests/fuzz/scenario_text_test.cc": {"by_loaded_space"},
}

# Names whose words stand together in new names as well.
ONLY_WHOLE = {"by_hand", "in_transition", "user_flush", "Town"}

PRONOUNS = [
    "anybody", "anyone", "everybody", "everyone", "nobody", "no one", "somebody", "someone", "whatever", "whoever",
]

# Folders and files in which every sentence names the initiator, the target, the walker, the oracle.
PLAIN_FOLDERS = [
    "core", "fuzz", "hal", "kernel-glue", "litmus", "tests/agreement", "tests/build", "tests/core", "tests/fuzz",
    "tests/host", "tests/litmus", "tests/mm", "tests/proofs", "tests/threads", "tests/x86_64", "tools",
]


def old_names(source):
    """Neither a file's name nor a name in it is one that was replaced, nor has one as a part of it."""
    for file in source.files:
        allowed = OLD_NAMES_ALLOWED.get(file.path, ())
        places = [(0, os.path.basename(file.path))] + list(enumerate(file.lines, 1))
        for number, line in places:
            for identifier in re.findall(r"[A-Za-z_]\w*", line):
                old = _old_name_in(identifier, tuple(OLD_NAMES))
                if old is not None and old not in allowed:
                    yield file.path, number, f"{old} in {identifier} is now {OLD_NAMES[old]}"


@functools.lru_cache(maxsize=None)
def _old_name_in(identifier, names):
    """The old name that is the identifier, or a run of its words, the last one in the plural or not."""
    words = _words_of(identifier)
    for name in names:
        if name == identifier:
            return name
        old = _words_of(name)
        runs = (words[at:at + len(old)] for at in range(len(words) - len(old) + 1))
        if name not in ONLY_WHOLE and any(run[:-1] == old[:-1] and run[-1] in (old[-1], old[-1] + "s") for run in runs):
            return name
    return None


def _words_of(identifier):
    """loaded_slot, LoadedSlot, kLoadedSlot and LOADED_SLOT as ["loaded", "slot"], the k as a word before it."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", identifier)]


def pronouns(source):
    """A sentence has a thing for its subject."""
    pattern = re.compile(r"\b(" + "|".join(PRONOUNS) + r")\b", re.IGNORECASE)
    for file in source.files:
        plain = any(file.path == folder or file.path.startswith(folder + "/") for folder in PLAIN_FOLDERS)
        if plain and (file.is_code() or file.is_a(tree.PROSE)):
            for number, line in enumerate(file.lines, 1):
                for word in pattern.findall(line):
                    yield file.path, number, f"{word!r}: say which CPU, walker, oracle or caller"
