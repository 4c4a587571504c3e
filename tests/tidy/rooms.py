"""The rooms of the project, and which room may use which.

Dependencies point one way: core <- hal/* <- kernel-glue <- fuzz, tests. Bazel's visibility enforces
it when something is built; the checks here make sure that each room's visibility says so, and that
no include works around it.
"""

# Each room, and the other rooms it may use. A room inside another one has rules of its own.
ROOMS = {
    "core": [],
    "hal/common": ["core"],
    "hal/host": ["core", "hal/common"],
    "hal/threads": ["core"],
    "hal/timed": ["core", "hal/common", "hal/host"],
    "hal/x86_64": ["core", "hal/common"],
    # Runs on the host under the fuzzers and in the test kernel, so it knows neither HAL.
    "kernel-glue/mm": ["core"],
    "kernel-glue/embed": ["core", "hal/x86_64", "kernel-glue/mm"],
    # Code that is not ours, on the modelled machine: its memory, and the kernel and the searches around it.
    "ports/runtime": ["hal/host"],
    "ports/harness": ["fuzz", "hal/host", "ports/runtime"],
    "ports/linux": ["fuzz", "hal/host", "ports/harness", "ports/runtime"],
    "kernel-glue/embed/model": ["core", "hal/host", "kernel-glue/embed", "kernel-glue/mm", "ports/runtime"],
    "kernel-glue/embed/port": [
        "core",
        "fuzz",
        "hal/host",
        "kernel-glue/embed",
        "kernel-glue/embed/model",
        "kernel-glue/mm",
        "ports/harness",
        "ports/runtime",
    ],
    "kernel-glue/kernel": ["core", "hal/x86_64", "kernel-glue/mm"],
    "examples": ["core", "hal/x86_64", "kernel-glue/embed", "kernel-glue/kernel"],
    "kernel-glue": ["core", "hal/x86_64", "kernel-glue/embed", "kernel-glue/kernel", "kernel-glue/mm"],
    "litmus": ["core", "hal/host"],
    # Its campaign fuzzes the parser of litmus tests, too.
    "fuzz": ["core", "hal/host", "kernel-glue/mm", "litmus"],
    "tests": [
        "core",
        "examples",
        "fuzz",
        "hal/common",
        "hal/host",
        "hal/threads",
        "hal/timed",
        "hal/x86_64",
        "kernel-glue",
        "kernel-glue/embed",
        "kernel-glue/embed/model",
        "kernel-glue/embed/port",
        "kernel-glue/kernel",
        "kernel-glue/mm",
        "litmus",
        "ports/harness",
        "ports/linux",
        "ports/runtime",
    ],
}

# Folders whose README tells in which order their headers are to be read.
READ_IN_ORDER = ["core"]

# Where each order of memory has its reason beside it.
ORDERS_ARE_EXPLAINED = ["core"]

# Folders that are no rooms of the layers above: everyone may use them, and they may use everyone.
FREE = ["bazel", "docs", "freestanding", "tools"]

# Commands that are found at another place than they are made: an alias there, which nothing links.
ALIASES = {
    ("hal/host", "litmus"): ["//litmus", "//hal/host:__pkg__"],
    ("kernel-glue/embed", "kernel-glue/embed/port"): ["//kernel-glue/embed/port:try", "//kernel-glue/embed:__pkg__"],
}

# Rooms whose targets are built for the kernel alone, or for one of several platforms.
MAY_BE_INCOMPATIBLE = ["bazel", "hal/x86_64", "kernel-glue"]

# Mutated rooms take the place of the clean ones through flags, which belong to these packages.
STAND_INS = ["tests/mutants"]
STOOD_IN_FOR = ["//core:__pkg__", "//kernel-glue/mm:__pkg__"]

# Built in every variant without exception.
ALWAYS_COMPATIBLE = ["core"]

# Headers of the standard library that need neither memory allocation nor an operating system.
CORE_STD = set("""
algorithm array atomic bit compare concepts cstddef cstdint expected initializer_list iterator limits
numeric optional ranges source_location span string_view tuple type_traits utility variant version
""".split())

FREESTANDING_STD = CORE_STD | set("""
bitset cstdarg cstring functional memory new stdarg.h stdbool.h stddef.h stdint.h
""".split())

STD_HEADERS = {
    "core": CORE_STD,
    "hal/common": CORE_STD,
    "hal/x86_64": FREESTANDING_STD,
    "kernel-glue/embed": FREESTANDING_STD,
    "kernel-glue/kernel": FREESTANDING_STD,
    "kernel-glue/mm": FREESTANDING_STD,
}


def room_of(path):
    """The innermost room that a file or package lies in, or None."""
    candidates = [room for room in ROOMS if path == room or path.startswith(room + "/")]
    return max(candidates, key=len, default=None)


def may_use(user, used):
    """Whether a file of room `user` may use something of room `used`; None is outside all rooms."""
    return user is None or used is None or user == used or used in ROOMS[user]
