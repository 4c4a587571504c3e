"""The core compiles without a warning and links without a library, under every compiler and flag that kernels use.

Each cell compiles a port that uses every entry point (port.cc), and the kernel behind it (kernel.c), and links
the two to a whole program. README.md has the cells, which a test compares. A compiler that is not installed is left
out and named, but for the ones that tools/setup installs: these must be there.
"""

import concurrent.futures
import dataclasses
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

from tests.freestanding import elf_symbols

ROOT = os.environ.get("TEST_SRCDIR") and os.path.join(os.environ["TEST_SRCDIR"], os.environ["TEST_WORKSPACE"]) or "."
HERE = "tests/freestanding"

# What tools/setup installs.
REQUIRED = ["g++-12", "clang++-14", "clang++-19"]
OPTIONAL = ["g++-11", "g++-13", "g++-14"]
OPTIONAL += ["clang++-13", "clang++-15", "clang++-16", "clang++-17", "clang++-18", "clang++-20"]

# What the port leaves to its kernel, and nothing else.
HOOKS = {
    "port_disable_preemption",
    "port_enable_preemption",
    "port_fail",
    "port_hypercall",
    "port_in_interrupt",
    "port_report_unanswered",
    "port_send_interrupt",
    "port_this_cpu",
}

# What a compiler may call on its own account, also in freestanding code; each kernel has them.
COMPILERS = {"memcmp", "memcpy", "memmove", "memset"}

# What the HAL with per-CPU data behind GS leaves open, beside platform_* (hal/x86_64/platform.h): the ends of a
# section, and the page of hypercall_page.S.
X86_HOOKS = {"__start_shootdown_keys", "__stop_shootdown_keys", "shootdown_hypercall_page"}

# What the linker defines.
LINKERS = {"_GLOBAL_OFFSET_TABLE_"}

# Macros' names that a HAL has as well.
MEMBERS = {"fail", "pause", "trace"}

# What a kernel has in memory that it clears.
SYSTEMS = {"_ZN4port12plain_systemE", "_ZN4port11full_systemE"}

WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wsign-conversion", "-Werror"]
COMMON = ["-ffreestanding", "-fno-stack-protector", "-mno-red-zone"]
CXX = ["-fno-exceptions", "-fno-rtti", "-I."]

# Headers: `own` is the folder freestanding/include and no other; `compiler's` are those that come with the compiler.
HEADERS = {
    "own": ["-nostdinc", "-nostdinc++", "-isystem", "freestanding/include"],
    "compiler's": [],
}

REGISTERS = {
    "no SSE": ["-mno-mmx", "-mno-sse"],
    "no SSE, no x87": ["-mno-mmx", "-mno-sse", "-mno-80387"],
    "general": ["-mgeneral-regs-only"],
}

# Where the whole is linked: options of the compiler, of the linker, and the address.
PLACES = {
    "kernel": (["-fno-pic", "-mcmodel=kernel"], ["-static", "-no-pie"], "0xffffffff80000000"),
    "large": (["-fno-pic", "-mcmodel=large"], ["-static", "-no-pie"], "0xffff800000000000"),
    "low": (["-fno-pic"], ["-static", "-no-pie"], "0x400000"),
    "PIE": (["-fPIE"], ["-static-pie", "-Wl,--no-dynamic-linker"], None),
}


@dataclasses.dataclass(frozen=True)
class Cell:
    """One row of the table: what every compiler is given."""
    level: str
    standard: str
    place: str
    registers: str
    headers: str = "own"
    lto: bool = False
    macros: bool = False

    def __str__(self):
        extra = ", ".join(word for word, on in (("-flto", self.lto), ("macros", self.macros)) if on)
        return " | ".join([self.level, self.standard, self.place, self.registers, self.headers, extra])


# Each pair of a level with a place, and each value of every column, at least once; not the product.
CELLS = [
    Cell("-O0", "20", "kernel", "no SSE"),
    Cell("-O0", "23", "PIE", "general"),
    Cell("-O1", "23", "low", "general", macros=True),
    Cell("-O2", "20", "kernel", "general"),
    Cell("-O2", "20", "kernel", "no SSE", headers="compiler's", macros=True),
    Cell("-O2", "20", "kernel", "no SSE, no x87", lto=True),
    Cell("-O3", "23", "large", "no SSE, no x87"),
    Cell("-Os", "20", "PIE", "no SSE, no x87"),
    Cell("-Os", "23", "large", "general", lto=True),
]


class Failed(Exception):
    """A tool's command line, and what it said."""


def run(*command):
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode != 0:
        raise Failed(" ".join(command) + "\n" + done.stdout.decode(errors="replace"))
    return done.stdout.decode(errors="replace")


def is_clang(compiler):
    return compiler.startswith("clang")


def c_compiler(compiler):
    return compiler.replace("clang++", "clang").replace("g++", "gcc")


def version(compiler):
    return int(compiler.rpartition("-")[2])


def standard_option(compiler, standard):
    if standard == "23" and is_clang(compiler) and version(compiler) < 17:
        standard = "2b"
    return f"-std=c++{standard}"


def macro_options():
    """What a kernel may have defined before it includes the core: the names of macros_begin.inc, as nonsense."""
    with open(os.path.join(ROOT, "core/macros_begin.inc"), encoding="utf-8") as file:
        names = re.findall(r'push_macro\("(\w+)"\)', file.read())
    assert len(names) > 5, names
    # One without arguments breaks any use of the name, one with them breaks what looks like a call. The HALs here
    # have members of some names, in parentheses.
    return [f"-D{name}{'(...)' if name in MEMBERS else ''}=<{name}>" for name in names]


def compile_options(compiler, cell):
    return [*COMMON, cell.level, *PLACES[cell.place][0], *REGISTERS[cell.registers], *(["-flto"] if cell.lto else [])]


def compile_port(compiler, cell, folder, options=(), source=f"{HERE}/port.cc"):
    name = os.path.join(folder, os.path.basename(source) + ".o")
    run(compiler, standard_option(compiler, cell.standard), *CXX, *compile_options(compiler, cell),
        *HEADERS[cell.headers], *WARNINGS, *(macro_options() if cell.macros else []), *options,
        "-c", source, "-o", name)
    return name


def compile_kernel(compiler, cell, folder):
    name = os.path.join(folder, "kernel.o")
    # The compilers' own functions are in there, which a linker that optimises must not take for unused.
    options = [option for option in compile_options(compiler, cell) if option != "-flto"]
    run(c_compiler(compiler), "-std=c11", *options, "-nostdinc", *WARNINGS, "-c", f"{HERE}/kernel.c", "-o", name)
    return name


def link(compiler, cell, folder, *objects):
    name = os.path.join(folder, "linked")
    by_lld = is_clang(compiler) and cell.lto
    _, options, address = PLACES[cell.place]
    if address:
        options = [*options, f"-Wl,--image-base={address}" if by_lld else f"-Wl,-Ttext-segment={address}"]
    linker = [f"-fuse-ld=lld-{version(compiler)}"] if by_lld else []
    run(compiler, *linker, *compile_options(compiler, cell), "-nostdlib", "-Wl,--build-id=none",
        "-Wl,--no-undefined", *options, *objects, "-o", name)
    return name


def faults_of(file):
    """What a kernel's own loader or start code would have to know of."""
    for section in file.sections:
        if section.name.startswith((".init_array", ".fini_array", ".ctors", ".dtors")):
            yield f"section {section.name}"
        if section.name.startswith((".tdata", ".tbss")):
            yield f"thread-local section {section.name}"
    for symbol in file.symbols:
        if symbol.is_unique:
            yield f"unique symbol {symbol.name}"
        if symbol.is_thread_local:
            yield f"thread-local symbol {symbol.name}"
        if symbol.name.startswith("_ZGV"):
            yield f"guard variable {symbol.name}"
        if symbol.name in SYSTEMS and not symbol.section.takes_no_room:
            yield f"{symbol.name} is in {symbol.section.name}, not in .bss"


def faults_of_object(path):
    """What a compiled port has that it should not."""
    file = elf_symbols.read(path)
    undefined = {symbol.name for symbol in file.symbols if symbol.section is None and symbol.name}
    yield from (f"undefined {name}" for name in sorted(undefined - HOOKS - COMPILERS - LINKERS))
    yield from (f"{name} is not used" for name in sorted(HOOKS - undefined))
    yield from faults_of(file)


def faults_of_program(path):
    file = elf_symbols.read(path)
    yield from (f"undefined {symbol.name}" for symbol in file.symbols if symbol.section is None and symbol.name)
    names = {symbol.name for symbol in file.symbols}
    yield from (f"{name} is not in the program" for name in sorted(SYSTEMS - names))
    yield from faults_of(file)


def judge(compiler, cell, options=()):
    """All faults of one cell; a tool's complaint is one."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            port = compile_port(compiler, cell, folder, options)
            # What -flto writes is no machine code yet.
            faults = [] if cell.lto else list(faults_of_object(port))
            if faults:
                return faults
            program = link(compiler, cell, folder, port, compile_kernel(compiler, cell, folder))
            return list(faults_of_program(program))
        except Failed as failed:
            return [str(failed)]


def with_fault(name):
    return ["-include", f"{HERE}/faults.h", f"-DFAULT_{name}"]


def can_link(compiler, cell):
    """clang's -flto needs the linker of its own version."""
    return not (cell.lto and is_clang(compiler)) or shutil.which(f"ld.lld-{version(compiler)}") is not None


def installed():
    return [compiler for compiler in REQUIRED + OPTIONAL if shutil.which(compiler)]


class MatrixTest(unittest.TestCase):

    def test_required_compilers_are_there(self):
        missing = [compiler for compiler in REQUIRED if compiler not in installed()]
        self.assertEqual(missing, [], "tools/setup installs these")
        absent = [compiler for compiler in OPTIONAL if compiler not in installed()]
        print(f"compilers: {' '.join(installed())}; {len(absent)} skipped, not installed: {' '.join(absent)}",
              file=sys.stderr)

    def test_every_cell(self):
        every = [(compiler, cell) for compiler in installed() for cell in CELLS]
        cells = [job for job in every if job[0] in REQUIRED or can_link(*job)]
        for compiler, cell in every:
            if (compiler, cell) not in cells:
                print(f"{compiler} | {cell}: skipped, there is no ld.lld-{version(compiler)}", file=sys.stderr)
        with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            for (compiler, cell), faults in zip(cells, pool.map(lambda job: judge(*job), cells)):
                with self.subTest(compiler=compiler, cell=str(cell)):
                    self.assertFalse(faults, "\n".join(faults))

    def test_port_uses_every_entry_point(self):
        with open(os.path.join(ROOT, "tests/object/whole_core.cc"), encoding="utf-8") as file:
            entry_points = set(re.findall(r"^template (?!class|struct)[^(;]*?(\w+)\(", file.read(), re.MULTILINE))
        self.assertGreater(len(entry_points), 25)
        with tempfile.TemporaryDirectory() as folder:
            port = elf_symbols.read(compile_port(REQUIRED[0], CELLS[0], folder))
        names = "\n".join(symbol.name for symbol in port.symbols if symbol.section is not None)
        missing = {name for name in entry_points if not re.search(rf"9shootdown\w*?{len(name)}{name}I", names)}
        self.assertEqual(missing, set(), "let port.cc use these")

    def test_whole_hal_links_as_well(self):
        """The HAL for kernels without one of their own: what it leaves open with the core is what its README names."""
        sources = [f"hal/x86_64/{name}.cc" for name in ("local_apic", "static_key", "x86_hal", "paravirt/hypercalls")]
        for compiler in installed():
            with self.subTest(compiler=compiler), tempfile.TemporaryDirectory() as folder:
                undefined, defined = set(), set()
                for source in sources:
                    file = elf_symbols.read(compile_port(compiler, CELLS[3], folder, source=source))
                    undefined |= {symbol.name for symbol in file.symbols if symbol.section is None}
                    defined |= {symbol.name for symbol in file.symbols if symbol.section is not None}
                    self.assertEqual(list(faults_of(file)), [])
                left = {name for name in undefined - defined - COMPILERS - X86_HOOKS if name}
                self.assertEqual({name for name in left if "platform_" not in name}, set())


    def test_readme_has_the_cells(self):
        with open(os.path.join(ROOT, HERE, "README.md"), encoding="utf-8") as file:
            rows = [line.strip() for line in file if line.startswith("| -O")]
        self.assertEqual(rows, [f"| {cell} |".replace("|  |", "| |") for cell in CELLS])


class ControlTest(unittest.TestCase):
    """Each fault once: the test must see it."""

    def assert_seen(self, define, fault, cell=CELLS[3]):
        # Of one compiler: what the test reads is not the compiler's but the file's.
        faults = judge("g++-12", cell, with_fault(define))
        self.assertTrue(any(fault in seen for seen in faults), faults)

    def test_undefined_symbol(self):
        self.assert_seen("UNDEFINED", "undefined abort")

    def test_call_of_the_compilers_library(self):
        self.assert_seen("LIBGCC", "undefined __udivti3")

    def test_initialiser_at_run_time(self):
        self.assert_seen("INITIALISER", "section .init_array")

    def test_thread_local(self):
        self.assert_seen("THREAD_LOCAL", "thread-local symbol")

    def test_guard(self):
        self.assert_seen("GUARD", "guard variable")

    def test_system_with_contents(self):
        self.assert_seen("CONTENTS", "not in .bss")

    def test_warning(self):
        self.assert_seen("WARNING", "conversion")

    def test_unique_symbol(self):
        self.assert_seen("UNIQUE", "unique symbol")


if __name__ == "__main__":
    unittest.main(verbosity=2)
