#!/usr/bin/python3
"""Writes a page for each bug of the museum, for readers who have not read the code."""

import argparse
import os
import re
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

from tests.mutants import mutant

_EPILOG = """\
examples:
  bazel run //tests/mutants:pages                            every page, and bochs.md, into docs/museum
  bazel run //tests/mutants:pages -- m42_partial_with_gap    one

Builds the mutants' reproducers for the timelines, which takes a while for all. The other parts of a page
come from the patch, docs/protocol.md and fuzz/README.md, and page_test compares them: --keep-timelines
brings them up to date without building anything.
exit status: 0 written, 2 it could not be done"""

FOLDER = Path("docs/museum")
BOCHS = FOLDER / "bochs.md"
_MUTANTS = Path("tests/mutants")
# What is between these lines was told by the reproducer when the page was made; the rest is checked.
_BEGIN, _END = "<!-- timeline -->\n", "<!-- end of the timeline -->\n"
_LAST_LINES = 60


class PageError(Exception):
    """A page cannot be written; the text says why."""


def meanings(root: Path) -> dict[str, str]:
    """What each rule, ordering and oracle says, as the documents put it."""
    protocol = (root / "docs/protocol.md").read_text()
    found = {rule: " ".join(text.split()) for rule, text in
             re.findall(r"(?ms)^\*\*(R\d+) (.*?)\*\*", protocol)}
    found |= dict(re.findall(r"(?m)^\| (M\d+) \| (.*?) \|", protocol))
    for names, text in re.findall(r"(?m)^\| ([A-Z][\w, ]*) \| (.*) \|$", (root / "fuzz/README.md").read_text()):
        parts = text.split("; ")
        for index, name in enumerate(names.split(", ")):
            # "O10, O11 | one; the other": a meaning each, where there are as many.
            found[name] = parts[index] if len(parts) == len(names.split(", ")) else text
    found["none"] = "nothing stale is ever used, but a figure is wrong"
    return found


@dataclass(frozen=True)
class Boot:
    """How the emulated machine shows a mutant."""

    self_test: str  # the one that fails; "boot": the kernel gets no further
    options: str


def booted() -> dict[str, Boot]:
    """The mutants that it shows, from the list that the tests use."""
    lines = re.findall(r'(?m)^    "(\w+)": \("([^"]+)", "([^"]+)"\),$', (_MUTANTS / "booted.bzl").read_text())
    return {name: Boot(test, options) for name, test, options in lines}


def in_bochs(read: mutant.Mutant, boot: Boot | None) -> str:
    """What the emulated machine says of a mutant, in a sentence."""
    verdict, _, why = read.bochs.partition(": ")
    if boot and boot.self_test == "boot":
        return f"In the emulated machine the test kernel does not boot, with `{boot.options}`."
    if boot:
        return f"In the emulated machine the self-test \"{boot.self_test}\" fails, with `{boot.options}`."
    if verdict == "not surely":
        return f"The emulated machine does not show it surely: {why}."
    return f"Only the modelled machine can show it{': ' + why if why else ''}."


def bochs_table(read: list[mutant.Mutant], boots: dict[str, Boot]) -> str:
    """The file that says for each bug what the emulated machine shows of it."""
    lines = ["# The museum in the emulated machine\n",
             _fill("Written by `bazel run //tests/mutants:pages`. The test kernel is built with the mutant inside, and "
                   "the self-test named here fails, or the kernel stops in it with a fatal error, every time: Bochs "
                   "counts instructions, so runs of one image repeat. `bazel test //tests/mutants:NAME_boot_test` "
                   "does that."),
             "| no. | bug | self-test that fails | boot |", "|---|---|---|---|"]
    lines += [f"| {label(one)} | {_link(one)} | {boots[one.name].self_test} | `{boots[one.name].options}` |"
              for one in read if one.name in boots]
    explained = [one for one in read if ": " in one.bochs]
    lines += ["", "What it shows not surely, or not at all for a reason of its own:", ""]
    lines += [f"* {label(one)}, {_link(one)}: {one.bochs}." for one in explained]
    rest = ", ".join(label(one) for one in read if one.bochs == "no")
    return "\n".join(lines + ["", _fill(
        "The others need store buffers, PCID tags, cached pointers to tables, a hypervisor, a device with a TLB, a "
        f"compiler that reorders, or figures that no self-test judges: {rest}.")])


def _link(read: mutant.Mutant) -> str:
    return f"[{read.title}]({read.name}.md)"


def label(read: mutant.Mutant) -> str:
    """How a bug is called for short: its number with the letter of a variant."""
    return read.name.partition("_")[0].removeprefix("m").lstrip("0")


def _fill(text: str) -> str:
    return textwrap.fill(text, 110, break_long_words=False, break_on_hyphens=False) + "\n"


def _rule(name: str, known: dict[str, str]) -> str:
    text = f"{name.capitalize()}: {known.get(name, '').rstrip('.')}."
    return text if name == "none" else text + " `docs/protocol.md` has the argument."


def page(read: mutant.Mutant, scenario: Path, unit_test: str | None, known: dict[str, str], timeline: str) -> str:
    """The whole page. `timeline` is empty for a mutant that only a unit test sees."""
    oracles = "\n".join(f"* {oracle}: {known.get(oracle, '')}." for oracle in read.oracles)
    parts = [
        f"# {read.museum or read.rule}. {read.title}\n",
        _fill(f"{read.reference}{'' if read.year == 'unknown' else ', ' + read.year}. "
              f"Needs: {read.needs}. {in_bochs(read, booted().get(read.name))}"),
        "## What happened\n", _fill(read.story),
        "## The rule that it breaks\n",
        _fill(_rule(read.rule, known)),
    ]
    if unit_test:
        parts += ["## How it is found\n",
                  _fill(f"No scenario shows it. The unit test `{unit_test}` sees the order of operations, and fails.")]
    else:
        parts += ["## How it is found\n", "Expected report, and others that may come first:\n", oracles + "\n",
                  "## The shortest scenario known\n", f"```\n{scenario.read_text().rstrip()}\n```\n",
                  _BEGIN + timeline + _END]
    # Line numbers move with every change of the file, and say nothing here.
    diff = re.sub(r"(?m)^@@ .* @@.*$", "@@", read.diff.rstrip())
    parts += ["## The bug, put back\n", f"```diff\n{diff}\n```\n"]
    if not unit_test:
        parts += ["## See it yourself\n",
                  f"    bazel build //tests/mutants:{read.name}_reproduce\n"
                  f"    bazel run //fuzz:reproduce -- --binary bazel-bin/tests/mutants/{read.name}_reproduce \\\n"
                  f"        tests/mutants/scenarios/{read.name}.txt\n"]
    return "\n".join(parts)


def without_timeline(text: str) -> str:
    """What of a page does not depend on a run."""
    return re.sub(re.escape(_BEGIN) + ".*" + re.escape(_END), _BEGIN + _END, text, flags=re.DOTALL)


def timeline(story: str) -> str:
    """The interleaving and the verdict of a reproducer's story, without places in the code."""
    match = re.search(r"(?ms)^INTERLEAVING[^\n]*\n(.*)^VERDICT\n(.*?)^  \d+ visible operations", story)
    if not match:
        raise PageError("the reproducer tells no interleaving")
    rows = match[1].rstrip("\n").splitlines()
    width = next((row.index("where") for row in rows if row.rstrip().endswith("where")), None)
    if width is None:
        raise PageError("the interleaving has no column of places")
    shown = "\n".join(row[:width].rstrip() for row in rows)
    verdict = "\n".join(line.removeprefix("  ") for line in match[2].rstrip().splitlines())
    return (f"## The interleaving\n\nOne column for each CPU; time goes down.\n\n```\n{shown}\n```\n\n"
            f"## The verdict\n\n```\n{verdict}\n```\n")


def _story(program: Path, scenario: Path) -> str:
    run = subprocess.run([program, "--last", str(_LAST_LINES), scenario], capture_output=True, text=True,
                         check=False)
    if run.returncode != 1:
        raise PageError(f"{scenario} does not fire any more; see //tests/mutants:remake")
    return run.stdout


def _kept(name: str) -> str:
    """The timeline of the page as it is."""
    match = re.search(re.escape(_BEGIN) + "(.*)" + re.escape(_END), (FOLDER / f"{name}.md").read_text(), re.DOTALL)
    if not match:
        raise PageError(f"{FOLDER}/{name}.md has no timeline to keep")
    return match[1]


def write(name: str, unit_test: str | None, program: Path | None) -> None:
    """Writes one page, with the timeline that `program` tells, or else the one that it has."""
    scenario = _MUTANTS / "scenarios" / f"{name}.txt"
    text = ""
    if not unit_test:
        text = timeline(_story(program, scenario)) if program else _kept(name)
    read = mutant.read(_MUTANTS / f"{name}.patch")
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / f"{name}.md").write_text(page(read, scenario, unit_test, meanings(Path()), text))


def write_bochs() -> None:
    """Writes the table of the emulated machine."""
    BOCHS.write_text(bochs_table([mutant.read(patch) for patch in sorted(_MUTANTS.glob("*.patch"))], booted()))


def _write_all(names: list[str], units: dict[str, str], keep: bool) -> None:
    write_bochs()
    if keep:
        for name in names:
            write(name, units.get(name), None)
        return
    searched = [name for name in names if name not in units]
    labels = [f"//tests/mutants:{name}_reproduce" for name in searched]
    if labels and subprocess.run(["bazel", "build", *labels], check=False).returncode != 0:
        raise PageError("the mutants do not build; does each patch still apply?")
    for name in names:
        write(name, units.get(name), Path("bazel-bin/tests/mutants") / f"{name}_reproduce")
        print(f"wrote {FOLDER}/{name}.md")


def _units(text: str) -> dict[str, str]:
    return dict(pair.split("=") for pair in text.split(",") if pair)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="pages", description=__doc__, epilog=_EPILOG,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--known", type=lambda text: text.split(","), required=True, help=argparse.SUPPRESS)
    parser.add_argument("--units", type=_units, default={}, help=argparse.SUPPRESS)
    parser.add_argument("--keep-timelines", action="store_true",
                        help="build nothing: the interleavings stay as they are")
    parser.add_argument("names", nargs="*", metavar="NAME", help="a mutant; default: all")
    args = parser.parse_args(argv)
    os.chdir(os.environ.get("BUILD_WORKSPACE_DIRECTORY", "."))
    try:
        known = sorted([*args.known, *args.units])
        if unknown := [name for name in args.names if name not in known]:
            raise PageError(f"{', '.join(unknown)}: no such mutant. There are: {', '.join(known)}.")
        _write_all(args.names or known, args.units, args.keep_timelines)
    except (PageError, mutant.MutantError, OSError) as error:
        print(f"pages: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
