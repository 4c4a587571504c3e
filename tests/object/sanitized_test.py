#!/usr/bin/python3
"""In the fuzzers' builds the core and the memory manager are compiled with sanitizers, and what judges them is not.

usage: sanitized_test.py FUZZED JUDGE...

FUZZED is the archive in which the templates of the core and of the memory manager are instantiated, each JUDGE one
that is compiled without. The linker keeps one copy of a function that both have, and it must not be the judge's.
"""

import re
import subprocess
import sys
import unittest

_HOOK = re.compile(r"__asan_report_|__ubsan_handle_|__sanitizer_cov_")
# Functions of the core, and of the memory manager, which is in `vm`.
_OURS = re.compile(r"_ZN?K?9shootdown(?!4host|4fuzz)")


def symbols(archive):
    """(kind, name) of each symbol, as llvm-nm tells: U undefined, W one copy of several is kept."""
    done = subprocess.run(["/usr/bin/llvm-nm-19", archive], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, check=True)
    return {tuple(line.split()[-2:]) for line in done.stdout.splitlines() if len(line.split()) > 1}


def hooks(archive):
    return {name for kind, name in symbols(archive) if kind == "U" and _HOOK.match(name)}


def copies(archive):
    return {name for kind, name in symbols(archive) if kind in "WV" and _OURS.match(name)}


class SanitizedTest(unittest.TestCase):

    def test_the_core_has_sanitizers_and_coverage(self):
        self.assertGreater(len(copies(FUZZED)), 20)
        found = hooks(FUZZED)
        for hook in ("__asan_report_store8", "__asan_report_load8", "__ubsan_handle_out_of_bounds_abort"):
            self.assertIn(hook, found)
        self.assertTrue(any(hook.startswith("__sanitizer_cov_") for hook in found), found)

    def test_judges_have_neither(self):
        for judge in JUDGES:
            with self.subTest(judge):
                self.assertIn("T", {kind for kind, _ in symbols(judge)})
                self.assertEqual(hooks(judge), set())

    def test_no_function_of_the_core_is_a_judges_copy(self):
        fuzzed = copies(FUZZED)
        for judge in JUDGES:
            with self.subTest(judge):
                self.assertEqual(fuzzed & copies(judge), set())


if __name__ == "__main__":
    separator = next((i for i, word in enumerate(sys.argv) if word.endswith(".a")), len(sys.argv))
    FUZZED, *JUDGES = sys.argv[separator:]
    unittest.main(argv=sys.argv[:separator])
