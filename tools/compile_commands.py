#!/usr/bin/python3
"""Writes compile_commands.json into the root of the workspace, for clangd and clang-tidy.

usage: tools/compile_commands.py, or bazel run //tools:compile_commands

A source is compiled in many variants but listed once, with the shortest command. That is the plain
variant's: every other one adds options to it.
"""

import json
import os
import pathlib
import subprocess
import sys


def workspace():
    given = os.environ.get("BUILD_WORKSPACE_DIRECTORY")
    return pathlib.Path(given) if given else pathlib.Path(__file__).resolve().parent.parent


def bazel(root, *arguments):
    done = subprocess.run(["bazel", *arguments], cwd=root, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, check=False)
    if done.returncode != 0:
        sys.exit(f"bazel {arguments[0]} failed:\n{done.stderr.decode(errors='replace')}")
    return done.stdout.decode()


def source_of(arguments):
    """The file that a compiler command compiles, relative to the root."""
    return arguments[arguments.index("-c") + 1]


def rewrite(arguments, output_base):
    """The command as it works in the root, where Bazel's folder of external sources is not."""
    result = []
    skip = False
    for argument in arguments:
        if argument == "-MF":
            skip = True
        elif skip:
            skip = False
        elif argument != "-MD":
            outside = argument.startswith("external/")
            result.append(f"{output_base}/{argument}" if outside else argument)
    return result


def entries(graph, root, output_base):
    """One entry a source file of the workspace."""
    best = {}
    for action in graph.get("actions", []):
        arguments = action["arguments"]
        source = source_of(arguments)
        if source.startswith(("external/", "bazel-out/")):
            continue
        if source not in best or len(arguments) < len(best[source]):
            best[source] = arguments
    return [{"directory": str(root), "file": source, "arguments": rewrite(arguments, output_base)}
            for source, arguments in sorted(best.items())]


def main():
    root = workspace()
    output_base = bazel(root, "info", "output_base").strip()
    graph = json.loads(bazel(root, "aquery", "--output=jsonproto", "--include_artifacts=false",
                             'mnemonic("CppCompile", deps(//...))'))
    listed = entries(graph, root, output_base)
    target = root / "compile_commands.json"
    target.write_text(json.dumps(listed, indent=1) + "\n", encoding="utf-8")
    print(f"{target}: {len(listed)} files")


if __name__ == "__main__":
    main()
