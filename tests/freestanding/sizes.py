"""Prints what the core takes of a kernel's memory, as the two tables of README.md.

usage: bazel run //tests/freestanding:sizes

The stack is read from the finished code: what each function pushes and subtracts, along the deepest chain of calls
from an entry point: a bound, since not every chain is ever run. What an interrupt puts there before its handler runs is
the kernel's and not in it.
"""

import collections
import re
import subprocess
import sys
import tempfile

from tests.freestanding import elf_symbols
from tests.freestanding import matrix_test as matrix

SOURCE = f"{matrix.HERE}/stack.cc"
LEVELS = ["-O0", "-Og", "-Os", "-O2"]
ENTRIES = ["flush", "freed_tables", "kernel_range", "retire", "switch", "interrupt", "to_user", "bring_up"]
CPUS = [8, 16, 64, 256, 1024]
# Where masks are large: how many CPUs, and the bytes that no entry point passes at -O2.
LARGE = {1024: 4096, 4096: 8192}

# What runs on other CPUs when they are called, and what calls it. This HAL has no backends, whose operations are the
# other calls through pointers.
_BY_POINTER = re.compile(r"14run_flush_call|_FUN|__invoke")
_CALLERS_BY_POINTER = re.compile(r"9run_round|11run_pending|handle_call_function_interrupt|stack_interrupt")

# What a waiter with interrupts off runs meanwhile counts as what an interrupt of the other waiters runs.
_SERVES = re.compile(r"19run_pending_in_wait")

_FUNCTION = re.compile(r"[0-9a-f]+ <(.+)>:")
_CALL = re.compile(r"\b(call|jmp)q?\s+(?:0x)?[0-9a-f]+ <([^+>]+)>")
_BY_REGISTER = re.compile(r"\b(call|jmp)q?\s+\*")
_PUSH = re.compile(r"\bpushq?\s+(%\w+)")
_PUSH_FLAGS = re.compile(r"\bpushfq?\b")
_ROOM = re.compile(r"\bsubq?\s+\$(?:0x)?([0-9a-f]+), ?%rsp")
_ALIGN = re.compile(r"\bandq?\s+\$-(?:0x)?([0-9a-f]+), ?%rsp|\bandq?\s+\$0x(f{8,}[0-9a-f]+), ?%rsp")


class Function:
    """What one function takes of the stack, its return address included, and what it calls."""

    def __init__(self):
        self.registers = set()
        self.room = 0
        self.alignment = 0
        self.flags = 0
        self.calls = set()
        self.calls_by_pointer = False

    def read(self, line):
        for match in _PUSH.finditer(line):
            self.registers.add(match[1])
        for match in _ROOM.finditer(line):
            self.room = max(self.room, int(match[1], 16))
        for match in _ALIGN.finditer(line):
            size = int(match[1], 16) if match[1] else 2**64 - int(match[2], 16)
            self.alignment = max(self.alignment, size - 8)
        if _PUSH_FLAGS.search(line):
            self.flags = 8
        for match in _CALL.finditer(line):
            self.calls.add(match[2])
        if _BY_REGISTER.search(line):
            self.calls_by_pointer = True

    def frame(self):
        return 8 + 8 * len(self.registers) + self.room + self.alignment + self.flags


def functions_of(program):
    text = subprocess.run(["llvm-objdump-19", "--disassemble", "--no-show-raw-insn", program], stdout=subprocess.PIPE,
                          check=True).stdout.decode()
    functions = collections.defaultdict(Function)
    name = None
    for line in text.splitlines():
        match = _FUNCTION.match(line)
        if match:
            name = match[1]
        elif name:
            functions[name].read(line)
    return functions


def deepest(functions, name, known, above=()):
    """The most stack that `name` and what it calls take, and the chain. The core calls nothing in circles."""
    if name in known:
        return known[name]
    function = functions[name]
    callees = set(function.calls)
    if function.calls_by_pointer and _CALLERS_BY_POINTER.search(name):
        callees |= {other for other in functions if _BY_POINTER.search(other)}
    callees = {callee for callee in callees if not _SERVES.search(callee)}
    best = (0, ())
    for callee in sorted(callees - {name, *above}):
        if callee in functions:
            best = max(best, deepest(functions, callee, known, (*above, name)))
    known[name] = (function.frame() + best[0], (name, *best[1]))
    return known[name]


def cell(level):
    return matrix.Cell(level, "20", "kernel", "general")


def build(compiler, level, folder, options=()):
    port = matrix.compile_port(compiler, cell(level), folder, options, SOURCE)
    return port, matrix.link(compiler, cell(level), folder, port, matrix.compile_kernel(compiler, cell(level), folder))


def for_cpus(compiler, cpus):
    """Options for a kernel of so many CPUs, whose `System` the compiler fills with zeros one by one."""
    clang = ["-fconstexpr-steps=100000000"]
    gcc = ["-fconstexpr-loop-limit=10000000", "-fconstexpr-ops-limit=1000000000"]
    return [f"-DPORT_CPUS={cpus}", *(clang if "clang" in compiler else gcc)]


def depths_of(compiler, level, options=()):
    """What each entry point takes."""
    with tempfile.TemporaryDirectory() as folder:
        functions = functions_of(build(compiler, level, folder, options)[1])
    depths, known = {}, {}
    for name in ENTRIES:
        depths[name], chain = deepest(functions, f"stack_{name}", known)
        if "--chains" in sys.argv:
            print(compiler, level, depths[name], *[f"{functions[link].frame()}:{link}" for link in chain],
                  sep="\n    ", file=sys.stderr)
    return depths


def stack_table():
    yield "| compiler | level | " + " | ".join(name.replace("_", " ") for name in ENTRIES) + " | flush, interrupted |"
    yield "|---" * (len(ENTRIES) + 3) + "|"
    for compiler in matrix.installed():
        for level in LEVELS:
            depths = depths_of(compiler, level)
            flushes = max(depths[name] for name in ENTRIES[:4])
            columns = [depths[name] for name in ENTRIES] + [flushes + depths["interrupt"]]
            yield f"| {compiler} | {level} | " + " | ".join(map(str, columns)) + " |"


def size_table():
    yield "| CPUs | `System` | `Mm` |"
    yield "|---|---|---|"
    for cpus in CPUS:
        sizes = set()
        for compiler in matrix.REQUIRED:
            with tempfile.TemporaryDirectory() as folder:
                options = [f"-DPORT_CPUS={cpus}"]
                file = elf_symbols.read(matrix.compile_port(compiler, cell("-O0"), folder, options, SOURCE))
            named = {symbol.name: symbol.size for symbol in file.symbols}
            sizes.add((named["_ZN4port12plain_systemE"], named["_ZN4port2mmE"]))
        if len(sizes) != 1:
            sys.exit(f"the compilers disagree about the sizes for {cpus} CPUs: {sizes}")
        system, mm = sizes.pop()
        yield f"| {cpus} | {system:,} | {mm:,} |"


if __name__ == "__main__":
    print("Bytes of stack:\n", *stack_table(), "", "Bytes of data:\n", *size_table(), sep="\n")
