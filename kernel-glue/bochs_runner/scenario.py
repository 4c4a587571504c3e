"""Scenarios of the fuzzers for the test kernel: reads the text form, orders and encodes the operations.

The kernel runs one operation after the other and compares every CPU's accesses with the page tables behind each. So a
deviation, which is a moment in the middle of an operation, is told and not forced.
"""

import dataclasses
import re

from bochs_runner.emulator import SetupError

# In the order of the format (fuzz/scenario/FORMAT.md); with the fields of each, and the first and the last page.
_KINDS = {
    "switch_to": "mm", "idle": "", "resume": "", "leave": "", "read": "page", "write": "page",
    "map": "mm page count", "unmap": "mm page count", "protect": "mm page count", "unprotect": "mm page count",
    "replace": "mm page", "free_table": "mm page", "flush_mm": "mm", "exit": "mm", "protect_early": "mm page count",
    "reclaim": "mm page", "batch_flush": "", "kernel_read": "page", "kernel_map": "page", "kernel_unmap": "page count",
    "flush_all": "", "temporary": "page", "offline": "", "online": "", "move": "mm page to", "fork": "mm to",
    "cow": "mm page", "split": "mm page", "collapse": "mm page", "clean": "mm page count", "reclaim_tables": "mm page",
    "walk": "page", "fail_allocation": "count", "flush_range": "mm page count", "map_small": "mm page",
}
_NOT_RUN = {"walk": "no walk without locks", "fail_allocation": "no failing allocation"}
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"

# What of `config` is an option of the kernel: field, value that differs from the default, the option of cli.py.
_OPTIONS = {
    ("concurrent", "0"): ("serial_flush", True), ("pti", "1"): ("pti", "on"),
    ("defer_user_pages", "1"): ("defer", "on"), ("early", "1"): ("early", "on"), ("lazy_masks", "1"): ("masks", "kept"),
    ("lazy_test_up_front", "1"): ("lazy", "up-front"), ("by_loaded_mm", "1"): ("targets", "loaded"),
    ("by_loaded_space", "1"): ("targets", "loaded"),
}
_AS_IT_IS = {("pcid", "1"), ("concurrent", "1"), ("invpcid", "1"), ("global_pages", "1"), ("backend", "native")}


@dataclasses.dataclass
class Scenario:
    """What the kernel is given, and what is told of the rest."""
    cpus: int = 4
    ceiling: int = 33
    # Options of the command line by name.
    options: dict = dataclasses.field(default_factory=dict)
    # (cpu, kind, fields), each in the order of its CPU.
    operations: list = dataclasses.field(default_factory=list)
    told: list = dataclasses.field(default_factory=list)

    def encoded(self):
        """Five digits for each operation. CPUs run to the end one after the other, as in a run without deviations."""
        words = []
        for cpu, kind, fields in sorted(self.operations, key=lambda operation: operation[0]):
            last = fields["to"] if "to" in fields else fields.get("count", 1) - 1
            digits = (cpu, list(_KINDS).index(kind), fields.get("mm", 0), fields.get("page", 0), last)
            words.append("".join(_DIGITS[digit] for digit in digits))
        return "".join(words)


def read(path):
    """Reads a file; raises SetupError, which names the line."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except UnicodeDecodeError as error:
        raise SetupError(f"{path}: is no text; 'bazel run //fuzz:reproduce -- --bytes {path}' tells it as text"
                         ) from error
    return parse(text, path)


def parse(text, path):
    lines = [(number, line.split("#")[0].strip()) for number, line in enumerate(text.splitlines(), 1)]
    lines = [(number, line) for number, line in lines if line]
    if not lines or lines[0][1] != "shootdown-scenario 1":
        raise SetupError(f"{path}:1: the first line must be 'shootdown-scenario 1'")
    found = Scenario()
    for number, line in lines[1:]:
        try:
            _parse_line(found, line)
        except ValueError as error:
            raise SetupError(f"{path}:{number}: {error}") from error
    return found


def _parse_line(found, line):
    operation = re.fullmatch(r"cpu (\d+): (\w+)(.*)", line)
    if line.startswith("config"):
        _configure(found, _fields(line[len("config"):]))
    elif operation:
        _add(found, int(operation[1]), operation[2], _fields(operation[3]))
    elif line.startswith("at "):
        found.told.append(f"not forced: {line}")
    else:
        raise ValueError(f"'{line}' is no configuration, operation or deviation")


def _fields(text):
    found = {}
    for word in text.split():
        name, equals, value = word.partition("=")
        if not equals:
            raise ValueError(f"'{word}' is not NAME=VALUE")
        found[name] = value
    return found


def _configure(found, fields):
    for name, value in fields.items():
        if name == "cpus":
            found.cpus = _number(name, value, 1, 15)
        elif name == "ceiling":
            found.ceiling = _number(name, value, 0, 33)
        elif (name, value) in _OPTIONS:
            option, choice = _OPTIONS[name, value]
            found.options[option] = choice
        elif name != "mms" and value != "0" and (name, value) not in _AS_IT_IS:
            found.told.append(f"not on this machine: {name}={value}")
        elif value == "0" and (name, "1") in _AS_IT_IS and name != "concurrent":
            found.told.append(f"not on this machine: {name}=0")


def _number(name, value, first, last):
    if not value.isdecimal() or not first <= int(value) <= last:
        raise ValueError(f"{name}={value}: a number from {first} to {last} is needed")
    return int(value)


def _add(found, cpu, kind, fields):
    if kind not in _KINDS:
        raise ValueError(f"there is no operation '{kind}'")
    if cpu >= found.cpus:
        raise ValueError(f"CPU {cpu} is not among {found.cpus} CPUs")
    wanted = _KINDS[kind].split()
    for name in fields:
        if name not in wanted:
            raise ValueError(f"{kind} has no field '{name}'")
    for name in wanted:
        if name not in fields and name != "count":
            raise ValueError(f"{kind} needs {name}=")
    if kind in _NOT_RUN:
        found.told.append(f"not run: cpu {cpu}: {kind}: {_NOT_RUN[kind]}")
        return
    kernel = kind.startswith("kernel_")
    pages = 4 if kernel else 16 if kind == "move" else 18
    limits = {"mm": (0, 7), "page": (0, pages - 1), "count": (1, 16), "to": (0, 15 if kind == "move" else 7)}
    numbers = {name: _number(name, value, *limits[name]) for name, value in fields.items()}
    _check_range(kind, numbers, pages)
    found.operations.append((cpu, kind, numbers))


def _check_range(kind, numbers, pages):
    if "count" not in numbers:
        return
    first, end = numbers["page"], numbers["page"] + numbers["count"]
    if end > pages or first < 16 < end:
        raise ValueError(f"{kind} of pages {first} to {end - 1}: a range stays in the small pages, 0 to 15, or in the "
                         "large ones, 16 and 17; of the kernel's there are 4")
