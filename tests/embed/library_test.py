"""libshootdown.a under every compiler: compiled without a warning, linked with a kernel in C, and nothing left open but
the seven hooks.

The cells and the compilers are those of tests/freestanding.
"""

import concurrent.futures
import os
import re
import tempfile
import unittest

from tests.freestanding import elf_symbols
from tests.freestanding import matrix_test as matrix

HEADER = "kernel-glue/embed/shootdown.h"
LIBRARY = "kernel-glue/embed/library.cc"
USER = "tests/embed/user.c"
PORT = "tests/embed/port.cc"
CPUS = (8, 16, 64, 256, 1024, 4096)

# As a kernel's own makefile has it, in the place of what the core asks of its users.
C_WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wsign-conversion", "-Werror"]


def header():
    with open(os.path.join(matrix.ROOT, HEADER), encoding="utf-8") as file:
        return file.read()


def functions(hooks):
    names = set(re.findall(r"\b(sd_\w+)\(", header()))
    names -= set(re.findall(r"^.*static inline \w+ (sd_\w+)\(", header(), re.MULTILINE))
    return {name for name in names if name.startswith("sd_hook_") == hooks}


def undefined(file):
    return {symbol.name for symbol in file.symbols if symbol.section is None and symbol.name}


def defined(file):
    return {symbol.name for symbol in file.symbols if symbol.section is not None}


def compile_user(compiler, cell, folder, options, as_cxx):
    name = os.path.join(folder, "user.o")
    language = ["-x", "c++", "-std=c++11"] if as_cxx else ["-std=c99"]
    own = [option for option in matrix.compile_options(compiler, cell) if option != "-flto"]
    tool = compiler if as_cxx else matrix.c_compiler(compiler)
    matrix.run(tool, *language, *own, *C_WARNINGS, "-I.", *options, "-c", USER, "-o", name)
    return name


def judge(compiler, cell, options=(), as_cxx=False):
    """All faults of one cell."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            library = matrix.compile_port(compiler, cell, folder, options, LIBRARY)
            if not cell.lto:
                file = elf_symbols.read(library)
                faults = list(matrix.faults_of(file))
                hooks = undefined(file) - matrix.COMPILERS - matrix.LINKERS
                faults += [f"undefined {name}" for name in sorted(hooks - functions(hooks=True))]
                faults += [f"hook {name} is not used" for name in sorted(functions(hooks=True) - hooks)]
                faults += [f"not in the library: {name}" for name in sorted(functions(hooks=False) - defined(file))]
                if faults:
                    return faults
            user = compile_user(compiler, cell, folder, options, as_cxx)
            program = elf_symbols.read(matrix.link(compiler, cell, folder, library, user))
            return [f"undefined {name}" for name in sorted(undefined(program))]
        except matrix.Failed as failed:
            return [str(failed)]


class LibraryTest(unittest.TestCase):

    def judge_all(self, jobs):
        with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            for job, faults in zip(jobs, pool.map(lambda job: judge(*job), jobs)):
                with self.subTest(job=str(job)):
                    self.assertFalse(faults, "\n".join(faults))

    def test_every_compiler(self):
        # Where the library is linked, and how it is optimised; tests/freestanding has all cells.
        cells = [matrix.CELLS[number] for number in (0, 1, 3, 6, 8)]
        self.judge_all([(compiler, cell) for compiler in matrix.installed() for cell in cells
                        if matrix.can_link(compiler, cell)])

    def test_every_number_of_cpus(self):
        """sizes.h is right, or the library does not compile."""
        self.judge_all([("g++-12", matrix.CELLS[0], (f"-DSD_MAX_CPUS={cpus}", *debug))
                        for cpus in CPUS for debug in ((), ("-DSD_DEBUG",))])

    def test_header_for_cxx(self):
        self.judge_all([(compiler, matrix.CELLS[3], (), True) for compiler in matrix.REQUIRED])

    def test_another_number_of_cpus_is_refused(self):
        faults = judge("g++-12", matrix.CELLS[3], ("-DSD_MAX_CPUS=7",))
        self.assertTrue(any("SD_MAX_CPUS is 8, 16, 64, 256, 1024 or 4096" in fault for fault in faults), faults)

    def test_user_uses_every_function(self):
        self.assertGreater(len(functions(hooks=False)), 30)
        self.assertEqual(len(functions(hooks=True)), 7)
        with tempfile.TemporaryDirectory() as folder:
            user = elf_symbols.read(compile_user("g++-12", matrix.CELLS[0], folder, (), False))
        self.assertEqual(functions(hooks=False) - undefined(user), set())
        self.assertEqual(functions(hooks=True) - defined(user), set())


class ArchiveTest(unittest.TestCase):
    """What `bazel build //kernel-glue/embed:library` makes."""

    def test_only_the_hooks_are_undefined(self):
        archive = os.path.join(matrix.ROOT, os.environ["LIBRARY"])
        self.assertEqual(os.path.basename(archive), "libshootdown.a")
        with tempfile.TemporaryDirectory() as folder:
            matrix.run("ar", "x", "--output", folder, archive)
            objects = [elf_symbols.read(os.path.join(folder, name)) for name in os.listdir(folder)]
        self.assertEqual(len(objects), 1)
        self.assertEqual(undefined(objects[0]), functions(hooks=True))
        self.assertEqual(functions(hooks=False) - defined(objects[0]), set())
        self.assertEqual(list(matrix.faults_of(objects[0])), [])
        contents = [section.name for section in objects[0].sections
                    if section.name.startswith(".data") and section.size and not section.takes_no_room]
        self.assertEqual(contents, [], "all that the library keeps is zero at first")


class PortTest(unittest.TestCase):
    """HalFor over a kernel in C++, and over one that lacks a member."""

    MEMBERS = ["kMaxCpus", "this_cpu", "disable_preemption", "in_interrupt", "send_call_function_ipi",
               "report_unanswered", "fail"]

    def test_whole_port(self):
        for compiler in matrix.REQUIRED:
            with self.subTest(compiler=compiler), tempfile.TemporaryDirectory() as folder:
                matrix.compile_port(compiler, matrix.CELLS[3], folder, source=PORT)

    def test_what_is_missing_is_told_first(self):
        for compiler in matrix.REQUIRED:
            for member in self.MEMBERS:
                with self.subTest(compiler=compiler, member=member), tempfile.TemporaryDirectory() as folder:
                    with self.assertRaises(matrix.Failed) as told:
                        matrix.compile_port(compiler, matrix.CELLS[3], folder, (f"-DWITHOUT_{member}",), PORT)
                    start = "\n".join(str(told.exception).splitlines()[:15])
                    self.assertRegex(start, rf"this kernel needs `[^`]*\b{member}\b")


class ControlTest(unittest.TestCase):
    """What the test must see."""

    def test_results_must_be_used(self):
        with tempfile.TemporaryDirectory() as folder:
            source = os.path.join(folder, "careless.c")
            with open(source, "w", encoding="utf-8") as file:
                file.write('#include "kernel-glue/embed/shootdown.h"\n'
                           "void f(sd_system* s, sd_mm* m);\nvoid f(sd_system* s, sd_mm* m) { sd_flush_mm(s, m); }\n")
            with self.assertRaisesRegex(matrix.Failed, "unused.result"):
                matrix.run("gcc-12", "-std=c99", *C_WARNINGS, "-I.", "-c", source, "-o", os.path.join(folder, "o"))

    def test_undefined_symbol(self):
        faults = judge("g++-12", matrix.CELLS[3], ("-Dsd_hook_fail=some_other_name",))
        self.assertTrue(any("undefined some_other_name" in fault for fault in faults), faults)


if __name__ == "__main__":
    unittest.main(verbosity=2)
