#!/usr/bin/python3
"""One door to the tools: shootdown TOOL [ARGUMENT]...

In a checkout, as `bazel run //:shootdown -- TOOL ...`, it builds what the tool needs and runs it. Help is told by the
sources, and nothing is built for it. Installed (`bazel run //:install -- PREFIX`) it runs the programs beside it, from
any folder.
"""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_HERE = Path(os.path.realpath(__file__)).parent
# Installed, the tree is beside the door; in a checkout the door is one folder below its top.
ROOT = Path(os.environ.get("BUILD_WORKSPACE_DIRECTORY") or _HERE.parent)


@dataclass(frozen=True)
class Tool:
    """What the door leads to."""

    about: str
    target: str  # of Bazel
    script: str = ""  # the file of Python that is its command line, or "": a program
    program: str = ""  # where it is installed, if it can be
    help: str = ""  # of a program: the file with its help text


TOOLS = {
    "fuzz": Tool("fuzz the core: libFuzzer, AFL++ and a random search, with minimised crashes",
                 "//fuzz:campaign", "fuzz/campaign/campaign.py", "fuzz/campaign/campaign.py"),
    "whatsup": Tool("tell how far campaigns are, and what they have found",
                    "//fuzz:whatsup", "fuzz/campaign/whatsup.py", "fuzz/campaign/whatsup.py"),
    "reproduce": Tool("tell the story of a crash or a scenario: text, --html, --perfetto, --json, --against",
                      "//fuzz:reproduce", "fuzz/campaign/reproduce.py", "fuzz/campaign/reproduce.py"),
    "explore": Tool("explore a small scenario in all its interleavings, and prove it",
                    "//fuzz:explore", "fuzz/campaign/explore.py", "fuzz/campaign/explore.py"),
    "search": Tool("search at random, counted, from a seed",
                   "//fuzz:search", program="fuzz/search_bin", help="fuzz/search_help.inc"),
    "litmus": Tool("run litmus tests of x86 and C on the modelled machine",
                   "//litmus:litmus", program="litmus/litmus", help="litmus/help.inc"),
    "scenario": Tool("check, format, make and list scenarios",
                     "//fuzz:scenario", "fuzz/campaign/scenario.py", "fuzz/campaign/scenario.py"),
    "museum": Tool("show a bug of the museum as a page with lanes, arrows and the state at each step",
                   "//tests/mutants:museum", "tests/mutants/museum.py"),
    "boot": Tool("boot the test kernel in an emulator", "//kernel-glue:boot", "kernel-glue/boot.py"),
    "try": Tool("try whether a change of the core survives every engine",
                "//tests/mutants:try", "tests/mutants/try_patch.py"),
    "table": Tool("measure which engine finds which mutant (hours)",
                  "//tests/mutants:table", "tests/mutants/table.py"),
}


def usage() -> str:
    width = max(map(len, TOOLS))
    lines = [f"  {name:<{width}}  {tool.about}" for name, tool in TOOLS.items()]
    return ("usage: shootdown TOOL [ARGUMENT]...\n\n" + "\n".join(lines) +
            "\n\n'shootdown TOOL --help' tells more of each, and builds nothing. Paths are relative to where you stand."
            "\nexit status: that of the tool; 2 if there is no such tool, or it could not be built\n")


def is_checkout() -> bool:
    return (ROOT / "WORKSPACE").is_file()


def _environment() -> dict[str, str]:
    paths = [str(ROOT), str(ROOT / "kernel-glue"), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(path for path in paths if path)}


def help_of(tool: Tool) -> int:
    """Prints the help. Returns the exit status."""
    if tool.script:
        sys.stdout.flush()
        return subprocess.run([sys.executable, str(ROOT / tool.script), "--help"], env=_environment(),
                              check=False).returncode
    match = re.search(r'R"help\((.*?)\)help"', (ROOT / tool.help).read_text(encoding="utf-8"), re.DOTALL)
    print(match[1], end="")
    return 0


def _wants_help(arguments: list[str]) -> bool:
    own = arguments[:arguments.index("--")] if "--" in arguments else arguments
    return "--help" in own or "-h" in own


def _in_checkout(tool: Tool, arguments: list[str]) -> int:
    # Bazel tells the tool in which folder it was called; that has to be inside of the checkout.
    stands = Path(os.environ.get("BUILD_WORKING_DIRECTORY") or os.getcwd())
    folder = stands if stands.is_relative_to(ROOT) else ROOT
    words = ["bazel", "run", "--noshow_progress", "--ui_event_filters=-info,-stdout,-stderr", tool.target, "--",
             *arguments]
    os.chdir(folder)
    sys.stdout.flush()
    try:
        os.execvp(words[0], words)
    except OSError as error:
        print(f"shootdown: {words[0]} cannot run: {error.strerror}; tools/setup installs it", file=sys.stderr)
        return 2


def _installed(name: str, tool: Tool, arguments: list[str]) -> int:
    if not tool.program:
        print(f"shootdown: '{name}' needs the source tree; run 'bazel run //:shootdown -- {name}' in it",
              file=sys.stderr)
        return 2
    path = str(ROOT / tool.program)
    words = [sys.executable, path] if tool.script else [path]
    os.environ.update(_environment())
    sys.stdout.flush()
    os.execv(words[0], [*words, *arguments])


def main(argv: list[str]) -> int:
    if not argv or argv[0] in ("--help", "-h", "help") and len(argv) == 1:
        print(usage(), end="")
        return 0 if argv else 2
    name, arguments = argv[0], argv[1:]
    if name == "help" and arguments:
        name, arguments = arguments[0], ["--help"]
    tool = TOOLS.get(name)
    if tool is None:
        print(f"shootdown: there is no tool '{name}'; there are: {', '.join(TOOLS)}", file=sys.stderr)
        return 2
    if _wants_help(arguments):
        return help_of(tool)
    return _in_checkout(tool, arguments) if is_checkout() else _installed(name, tool, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
