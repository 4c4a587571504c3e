"""The core, and the HAL on real instructions with it, need next to nothing from outside."""

import os
import re
import subprocess
import sys
import unittest

# What a compiler may call on its own account, also in freestanding code.
COMPILERS = {"memcmp", "memcpy", "memmove", "memset"}

# What the HAL asks of a kernel: what it has to say, and the ends of the list of static keys.
KERNELS = {
    "shootdown::x86::platform_fail(shootdown::Failure const&)",
    "shootdown::x86::platform_physical_address(void const*)",
    "shootdown::x86::platform_report_unanswered(shootdown::Unanswered const&)",
    "__start_shootdown_keys",
    "__stop_shootdown_keys",
}

_TEMPLATE = re.compile(r"^template <Hal H>\n((?:.*\n)*?.*?[{;])", re.MULTILINE)
_FUNCTION = re.compile(r"\b(\w+)\(")

archives = {}
headers = []


def symbols(option, *names):
    paths = [archives[name] for name in names]
    command = ["/usr/bin/llvm-nm-19", "--demangle", "--format=just-symbols", "--quiet", option, *paths]
    lines = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.decode().splitlines()
    return {line for line in lines if line and not line.endswith(":")}


def needed(*names):
    """What the archives together leave undefined."""
    return symbols("--undefined-only", *names) - symbols("--defined-only", *names)


def function_templates():
    """Names of the core's function templates."""
    names = set()
    for path in headers:
        with open(path, encoding="utf-8") as file:
            for match in _TEMPLATE.finditer(file.read()):
                declared = match[1].replace("[[nodiscard]]", "")
                function = _FUNCTION.search(declared)
                # What is always inlined is nowhere a function.
                if "always_inline" in declared:
                    continue
                if function and not declared.lstrip().startswith(("class", "struct", "using", "concept")):
                    names.add(function[1])
    return names


class UndefinedTest(unittest.TestCase):

    def test_core_and_hal_need_a_handful(self):
        for mode in ("", "_unoptimised"):
            with self.subTest(mode=mode or "_optimised"):
                self.assertEqual(needed("core" + mode, "hal") - COMPILERS, KERNELS)

    def test_core_needs_nothing_but_the_hal(self):
        own = symbols("--defined-only", "hal") | KERNELS
        self.assertEqual(needed("core") - COMPILERS - own, set())

    def test_object_has_the_whole_core(self):
        names = function_templates()
        self.assertGreater(len(names), 30)
        # Unoptimised: every function that something uses is there as a function.
        defined = "\n".join(symbols("--defined-only", "core_unoptimised"))
        missing = {name for name in names if not re.search(rf"::{name}<", defined)}
        self.assertEqual(missing, set(), "add these entry points to whole_core.cc")

    def test_breach_is_reported(self):
        self.assertEqual(needed("breach") - COMPILERS, {"abort", "operator new(unsigned long)"})


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        name, is_archive, file_name = argument.rpartition("=")
        if is_archive:
            archives[name] = os.path.realpath(file_name)
        else:
            headers.append(os.path.realpath(file_name))
    unittest.main(argv=sys.argv[:1], verbosity=2)
