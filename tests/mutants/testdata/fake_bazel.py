#!/usr/bin/python3
"""Stands in for Bazel in a copied tree: FAKE_BUILD says what the build comes to.

A build that succeeds links the programs of the folder FAKE_PROGRAMS into bazel-bin.
"""

import os
import sys
import time
from pathlib import Path

words = [word for word in sys.argv[1:] if not word.startswith("--")]
with open(os.environ["FAKE_LOG"], "a", encoding="utf-8") as log:
    log.write(" ".join(words) + "\n")
    log.write(Path("core/x.h").read_text())
if words[0] == "cquery":
    # Every header is part of every program but what lies in a folder of its own.
    for file in sorted(Path(".").rglob("*.h")):
        if "unused" not in file.parts:
            print(f"//{file.parent}:{file.name} (null)")
if words[0] == "build":
    print("[3 / 39] Compiling core/x.cc", flush=True)
    mode = os.environ.get("FAKE_BUILD", "")
    if mode == "error":
        print("ERROR: BUILD.bazel:1:1: Compiling core/x.cc failed")
        print("./core/x.h:2:9: error: use of undeclared identifier 'y'")
        print("    2 | int x = y;")
        print("      |         ^")
        print("1 error generated.")
        sys.exit(1)
    if mode == "link":
        print("ERROR: BUILD.bazel:1:1: Linking fuzz/search_bin failed: (Exit 1): clang failed")
        print("ld.lld: error: undefined symbol: f()")
        sys.exit(1)
    if mode == "slow":
        time.sleep(1000)
    folder = Path("bazel-bin")
    for label in words[1:]:
        target = folder / label.removeprefix("//").replace(":", "/")
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            target.symlink_to(Path(os.environ["FAKE_PROGRAMS"]) / target.name)
