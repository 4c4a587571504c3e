#!/usr/bin/python3
"""Fails unless each binary was really built in the variant whose name it has.

A transition that quietly does nothing, or a toolchain that is not chosen, would leave every test
green and every sanitizer off. So the binaries are asked what the linker put into them.
"""

import os
import re
import subprocess
import sys
import unittest

# What the instrumentation of one kind leaves in the machine code of a function.
MARKS = {
    "asan": r"__asan_report_",
    "ubsan": r"__ubsan_handle_add_overflow_abort",
    "tsan": r"__tsan_read",
    "counters": r"__sancov_gen_|__start___sancov_cntrs",
    "guards": r"__sanitizer_cov_trace_pc_guard",
    "compares": r"__sanitizer_cov_trace_(const_)?cmp",
    "profile": r"__start___llvm_prf_cnts|__profc_",
}

EXPECTED = {
    "plain": set(),
    "asan": {"asan", "ubsan"},
    "tsan": {"tsan"},
    "libfuzzer": {"asan", "ubsan", "counters"},
    "afl": {"asan", "ubsan", "guards"},
    "cov": {"profile"},
    "kernel": set(),
}

binaries = {}


def disassembly(path, *options):
    command = ["/usr/bin/llvm-objdump-19", "-d", *options, path]
    return subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.decode()


class VariantsTest(unittest.TestCase):

    def test_every_variant_was_given(self):
        self.assertEqual(set(binaries), set(EXPECTED))

    def test_each_binary_has_the_marks_of_its_variant(self):
        for variant, path in sorted(binaries.items()):
            with self.subTest(variant=variant):
                code = disassembly(path, "--disassemble-symbols=probe_body")
                self.assertIn("<probe_body>:", code)
                found = {mark for mark, pattern in MARKS.items() if re.search(pattern, code)}
                self.assertEqual(found, EXPECTED[variant])

    def test_kernel_binary_uses_no_vector_registers(self):
        code = disassembly(binaries["kernel"])
        self.assertIn("<_start>:", code)
        self.assertNotRegex(code, r"%[xyz]?mm\d")

    def test_no_binary_names_the_folder_it_was_built_in(self):
        for variant, path in sorted(binaries.items()):
            with self.subTest(variant=variant):
                with open(path, "rb") as file:
                    self.assertNotIn(b"/execroot/", file.read())


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        name, _, file_name = argument.partition("=")
        binaries[name] = os.path.realpath(file_name)
    unittest.main(argv=sys.argv[:1], verbosity=2)
