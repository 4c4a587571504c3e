#!/usr/bin/python3
"""Plants one violation of each rule into a clean tree and demands that its check, and no other, fires."""

import os
import tempfile
import unittest
from unittest import mock

from tests.tidy import layers
from tests.tidy import tidy
from tests.tidy import words

LOOSE_END = "TO" + "DO"
MACHINE_PATH = "/ho" + "me/user/src"

# Its layers: the line number of the first is 2.
PICTURE = """```layers
core:
hal/host: core
kernel-glue/mm: core
tests: core hal/host
```
"""

# A tree without findings.
CLEAN = {
    "ARCHITECTURE.md": PICTURE,
    ".clang-format": "BasedOnStyle: Google\nColumnLimit: 100\n",
    "BUILD.bazel": "",
    "core/BUILD.bazel":
        'cc_library(\n    name = "core",\n    hdrs = ["a.h"],\n'
        '    visibility = ["//hal:__subpackages__", "//tests:__subpackages__"],\n)\n',
    "core/README.md": "Reading order:\n\n1. `a.h`, `z.h`: all.\n\nMore of `a.h`.\n",
    "core/a.h": "// A header.\n#pragma once\n\n#include <cstdint>\n",
    "core/z.h": "#pragma once\n\nvoid z();\n",
    "hal/host/BUILD.bazel":
        'cc_library(name = "host", target_compatible_with = HOST_ONLY, deps = ["//core"])\n',
    "hal/host/README.md": "The host.\n",
    "hal/host/b.cc": '#include <vector>\n\n#include "core/a.h"\n\nint b() { return 1; }\n',
    "hal/host/d.h": '#pragma once\n\n#include "core/a.h"\n',
    "kernel-glue/README.md": "The glue.\n",
    "kernel-glue/mm/README.md": "The memory manager.\n",
    "kernel-glue/mm/c.h": '#pragma once\n\n#include <cstring>\n\n#include "core/a.h"\n',
    "kernel-glue/mm/d.h": '#pragma once\n\n#include "core/a.h"\n',
    "tests/BUILD.bazel": 'cc_test(name = "t", deps = ["//core", "//hal/host"])\n',
    "tests/README.md": "The tests.\n",
    "tests/t.cc": '#include "core/a.h"\n#include "hal/host/d.h"\n',
    "tests/mutants/BUILD.bazel": 'mutated_core(name = "m", visibility = ["//core:__pkg__"])\n',
    "tools/README.md": "The tools.\n",
    "tools/tool": "#!/usr/bin/python3\nprint(1)\n",
    "fuzz/README.md": "The fuzzers.\n",
    "fuzz/corpus/seed": "\0 a binary file is left alone " + MACHINE_PATH,
}

# An access that is ordered, without its reason.
_ORDERED = "#pragma once\n\nvoid f() { word.store(1, std::memory_order_release); }\n"

# For each check: files that break its rule, each a change to the clean tree. None removes the file.
PLANTED = {
    "line_length": [
        ("tools/long.py", "x = 1  # " + "x" * 120 + "\n"),
        ("tools/long", "#!/bin/bash\necho " + "x" * 120 + "\n"),
    ],
    "file_length": [("core/a.h", CLEAN["core/a.h"] + "// line\n" * 800)],
    "loose_ends": [
        ("hal/host/b.cc", CLEAN["hal/host/b.cc"] + f"// {LOOSE_END}: more\n"),
        ("core/README.md", CLEAN["core/README.md"] + f"{LOOSE_END}(me)\n"),
    ],
    "machine_paths": [
        ("tools/README.md", f"Look into {MACHINE_PATH}.\n"),
        ("fuzz/list.json", f'["{MACHINE_PATH}"]\n'),
    ],
    "white_space": [
        ("tools/tool", CLEAN["tools/tool"] + "x = 2 \n"),
        ("tools/tool", CLEAN["tools/tool"] + "x = 2"),
    ],
    "interpreters": [("tools/tool", "#!/usr/bin/env python3\nprint(1)\n")],
    "pragma_once": [
        ("core/a.h", "#include <cstdint>\n"),
        ("core/a.h", "/* Words.\n * More. */\n#include <cstdint>\n"),
        ("core/a.h", "#ifndef A_H\n#define A_H\n#endif\n"),
    ],
    "room_readme": [("core/README.md", None), ("tools/README.md", None)],
    "layers": [
        # An include that the picture does not allow, upwards and sideways.
        ("core/a.h", '#pragma once\n\n#include "hal/host/d.h"\n'),
        ("hal/host/b.cc", '#include "core/a.h"\n#include "kernel-glue/mm/c.h"\n'),
        # A folder that is not drawn.
        ("tools/probe.cc", "int probe() { return 1; }\n"),
        ("hal/new.cc", "int probe() { return 1; }\n"),
        # An arrow that nothing uses, a layer without files, and one that is drawn twice.
        ("ARCHITECTURE.md", PICTURE.replace("mm: core", "mm: core hal/host")),
        ("ARCHITECTURE.md", PICTURE.replace("core:\n", "core:\nfuzz/run:\n")),
        ("ARCHITECTURE.md", PICTURE.replace("core:\n", "core:\ncore:\n")),
        # A circle, a line that is none, and no picture.
        ("ARCHITECTURE.md", "```layers\nhal/host: core\ncore:\nkernel-glue/mm: core\ntests: core hal/host\n```\n"),
        ("ARCHITECTURE.md", PICTURE.replace("core:\n", "core:\nwhat is this\n")),
        ("ARCHITECTURE.md", "# Layers\n"),
    ],
    "include_paths": [
        ("hal/host/b.cc", '#include "core/no.h"\n'),
        ("kernel-glue/mm/d.h", '#pragma once\n\n#include "a.h"\n'),
    ],
    "linked_layers": [
        ("tests/BUILD.bazel", 'cc_test(name = "t", deps = ["//core", "//kernel-glue/mm"])\n'),
    ],
    "plain_includes": [
        ("hal/host/e.cc", '#include /**/ "core/a.h"\n'),
        ("hal/host/e.cc", '/* x */ #include "core/a.h"\n'),
        ("hal/host/e.cc", '#inc\\\nlude "core/a.h"\n'),
        ("hal/host/e.cc", '#define X "core/a.h"\n#include X\n'),
        ("hal/host/e.cc", '%:include "core/a.h"\n'),
        ("hal/host/e.cc", '#import "core/a.h"\n'),
    ],
    "file_endings": [
        ("hal/host/e.hpp", "#pragma once\n"),
        ("core/e.inl", "int e;\n"),
    ],
    "source_includes": [("hal/host/e.cc", '#include "hal/host/b.cc"\n')],
    "freestanding_includes": [
        ("core/a.h", "#pragma once\n\n#include <vector>\n"),
        ("core/a.h", "#pragma once\n\n#include <cstring>\n"),
        ("kernel-glue/mm/c.h", "#pragma once\n\n#include <mutex>\n"),
    ],
    "label_layers": [
        ("core/BUILD.bazel", 'cc_library(name = "core", deps = ["//hal/host"])\n'),
        ("core/BUILD.bazel", '[cc_library(name = n, deps = select({"x": ["//fuzz:y"]})) for n in "a"]\n'),
        ("hal/host/BUILD.bazel", 'cc_library(name = "host", data = ["//tests:z"])\n'),
    ],
    "visibility": [
        ("core/BUILD.bazel", 'cc_library(name = "core", visibility = ["//visibility:public"])\n'),
        ("hal/host/BUILD.bazel", 'package(default_visibility = ["//core:__pkg__"])\n'),
        ("tests/mutants/BUILD.bazel", 'x(name = "m", visibility = ["//core:__subpackages__"])\n'),
        ("hal/host/BUILD.bazel", 'package(default_visibility = ["//kernel-glue:__subpackages__"])\n'),
    ],
    "compatibility": [
        ("tests/BUILD.bazel", 'cc_test(name = "t", target_compatible_with = ["//x"])\n'),
        ("tests/BUILD.bazel", 'cc_test(name = "t", target_compatible_with = KERNEL_ONLY)\n'),
        ("core/BUILD.bazel", 'cc_library(name = "core", target_compatible_with = HOST_ONLY)\n'),
    ],
    # Tables of its own, see fired().
    "old_names": [
        ("core/README.md", CLEAN["core/README.md"] + "The frob of the core.\n"),
        ("hal/host/b.cc", "int b() { return frob; }\n"),
        ("hal/host/b.cc", "int b() { return kOldFrobs; }\n"),
        ("hal/host/b.cc", "int b() { return OLD_FROB_; }\n"),
        ("hal/host/old_frob.md", "A file.\n"),
    ],
    "pronouns": [
        ("core/README.md", CLEAN["core/README.md"] + "Somebody calls it.\n"),
        ("core/a.h", CLEAN["core/a.h"] + "// Whoever comes here.\n"),
        ("core/a.h", CLEAN["core/a.h"] + "// No one comes here.\n"),
    ],
    "reading_order": [
        ("core/README.md", "Reading order:\n\n1. `a.h`: all.\n"),
        ("core/README.md", "Reading order:\n\n1. `a.h`, `z.h`: all.\n2. `a.h`: more.\n"),
        ("core/README.md", "Reading order:\n\n1. `a.h`, `z.h`, `gone.h`: all.\n"),
        ("core/a.h", '#pragma once\n\n#include "core/z.h"\n'),
    ],
    "ordering_reason": [
        ("core/a.h", _ORDERED),
        ("core/a.h", _ORDERED.replace("void f", "// Puts a flag.\nvoid f")),
        ("core/a.h", _ORDERED.replace("void f", "// R1: a rule, and a paragraph.\n\nvoid f")),
        ("core/a.h", "#pragma once\n\nvoid f() { H::full_fence(); }\n"),
    ],
    "clang_format": [("hal/host/b.cc", "int b(){return 1;}\n")],
}


def fired(changes):
    """The checks that fire on the clean tree with some files replaced, each with the files it names."""
    with tempfile.TemporaryDirectory() as root:
        for path, text in {**CLEAN, **changes}.items():
            if text is not None:
                file_name = os.path.join(root, path)
                os.makedirs(os.path.dirname(file_name), exist_ok=True)
                with open(file_name, "w", encoding="utf-8") as file:
                    file.write(text)
        with mock.patch.object(words, "OLD_NAMES", {"frob": "flush"}), \
                mock.patch.object(words, "OLD_NAMES_ALLOWED", {"fuzz/README.md": {"frob"}}), \
                mock.patch.object(words, "PLAIN_FOLDERS", ["core"]):
            return {(check, path) for check, path, _, _ in tidy.findings(root)}


class PlantedTest(unittest.TestCase):

    def test_the_clean_tree_is_clean(self):
        self.assertEqual(fired({}), set())

    def test_each_check_has_a_violation_here(self):
        self.assertEqual(set(PLANTED), {check.__name__ for check in tidy.CHECKS})

    def test_each_planted_violation_is_found_by_its_check_alone(self):
        for check, violations in PLANTED.items():
            for path, text in violations:
                with self.subTest(check=check, path=path, text=text):
                    self.assertEqual(fired({path: text}), {(check, path)})

    def test_a_divided_layer_is_the_files_beside_its_parts(self):
        picture = layers.Picture("```layers\nfuzz/run:\nfuzz: fuzz/run\n```\n")
        self.assertEqual(picture.faults, [])
        self.assertEqual(picture.layer_of("fuzz/main.cc"), "fuzz")
        self.assertEqual(picture.layer_of("fuzz/run/deep/a.h"), "fuzz/run")
        self.assertIsNone(picture.layer_of("fuzz/new/a.h"))
        self.assertIsNone(picture.layer_of("fuzzy/a.h"))

    def test_an_old_name_is_allowed_where_the_table_says(self):
        self.assertEqual(fired({"fuzz/README.md": "Old texts say frob.\n"}), set())
        self.assertEqual(fired({"fuzz/README.md": "Frobnicate is another word, and nobody minds.\n"}), set())

    def test_a_tab_is_found(self):
        # clang-format objects to it as well, so it cannot be in the table.
        self.assertIn(("white_space", "core/a.h"), fired({"core/a.h": "#pragma once\n\tint x;\n"}))


if __name__ == "__main__":
    unittest.main(verbosity=2)
