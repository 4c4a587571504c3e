#!/usr/bin/python3
"""Writes a page for each bug of the museum, and their index, for readers new to the code."""

import argparse
import os
import re
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

from tests.mutants import interleaving, meanings, museum_index, mutant
from tests.mutants.interleaving import Interleaving

_EPILOG = """\
examples:
  bazel run //tests/mutants:pages                            every page and the index, into docs/museum
  bazel run //tests/mutants:pages -- m42_partial_with_gap    one

Builds the mutants' reproducers for the interleavings, which takes a while for all. The other parts of a page
come from the patch and docs/protocol.md, and page_test compares them: --keep-timelines brings them up to date
without building anything. The index, bochs.md and the titles in docs/museum.md are always written.
exit status: 0 written, 2 it could not be done"""

FOLDER = Path("docs/museum")
BOCHS = FOLDER / "bochs.md"
INDEX = FOLDER / "README.md"
RESULTS = Path("docs/museum.md")
_MUTANTS = Path("tests/mutants")
# What is between these lines was told by the reproducer when the page was made.
_BEGIN, _END = "<!-- timeline -->\n", "<!-- end of the timeline -->\n"
_LAST_ROWS = 60


class PageError(Exception):
    """A page cannot be written; the text says why."""


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
    lines += [f"| {one.label} | {_link(one)} | {boots[one.name].self_test} | `{boots[one.name].options}` |"
              for one in read if one.name in boots]
    explained = [one for one in read if ": " in one.bochs]
    lines += ["", "What it shows not surely, or not at all for a reason of its own:", ""]
    lines += [f"* {one.label}, {_link(one)}: {one.bochs}." for one in explained]
    rest = ", ".join(one.label for one in read if one.bochs == "no")
    return "\n".join(lines + ["", _fill(
        "The others need store buffers, PCID tags, cached pointers to tables, a hypervisor, a device with a TLB, a "
        f"compiler that reorders, or figures that no self-test judges: {rest}.")])


def _link(read: mutant.Mutant) -> str:
    return f"[{read.title}]({read.name}.md)"


def _fill(text: str) -> str:
    return textwrap.fill(text, 110, break_long_words=False, break_on_hyphens=False) + "\n"


def _rule(rule: meanings.Rule) -> str:
    """The sentence about the rule; orderings begin with a name of the code or with an arrow's left side."""
    return f"{rule.linked}: {rule.text}."


def _head(read: mutant.Mutant, unit_test: str | None) -> str:
    reference = meanings.linked(read.reference)
    reference = reference[0].upper() + reference[1:]
    links = [f"[patch](../../{_MUTANTS}/{read.name}.patch)"]
    if not unit_test:
        links.append(f"[scenario](../../{_MUTANTS}/scenarios/{read.name}.txt)")
    links += ["[how to read this](README.md#how-to-read-a-page)", "[all bugs](README.md)"]
    year = "" if read.year == "unknown" or read.year in read.reference else f", {read.year}"
    return _fill(f"{reference}{year}. "
                 f"Needs: {read.needs}. {in_bochs(read, booted().get(read.name))}") + f"\n{', '.join(links)}\n"


def page(read: mutant.Mutant, scenario: Path, unit_test: str | None, rules: dict[str, meanings.Rule],
         told: Interleaving | None) -> str:
    """The whole page. A mutant that only a unit test sees has no interleaving."""
    parts = [f"# {read.label}. {read.title}\n", _head(read, unit_test),
             "## What happened\n", _fill(read.story),
             "## The rule that it breaks\n", _fill(_rule(rules[read.rule]))]
    if unit_test:
        parts += ["## How it is found\n",
                  _fill(f"No scenario shows it. The unit test `{unit_test}` sees the order of operations, and fails.")]
    elif told:
        oracles = "".join(f"* {oracle}{', expected' if oracle == read.oracles[0] else ''}: {meanings.ORACLES[oracle]}\n"
                          for oracle in read.oracles)
        parts += ["## How it is found\n",
                  f"The [oracles](../../{meanings.ORACLES_FILE}) that may report it:\n",
                  oracles,
                  "## The shortest scenario known\n", f"```\n{scenario.read_text().rstrip()}\n```\n",
                  _BEGIN + _interleaving(told) + _END]
    # Line numbers move with every change of the file, and say nothing here.
    diff = re.sub(r"(?m)^@@ .* @@.*$", "@@", read.diff.rstrip())
    parts += ["## The bug, put back\n", f"```diff\n{diff}\n```\n"]
    if not unit_test:
        parts += ["## See it yourself\n",
                  f"    bazel build //tests/mutants:{read.name}_reproduce\n"
                  f"    bazel run //fuzz:reproduce -- --binary bazel-bin/tests/mutants/{read.name}_reproduce \\\n"
                  f"        tests/mutants/scenarios/{read.name}.txt\n"]
    return "\n".join(parts)


def _interleaving(told: Interleaving) -> str:
    verdict = "\n".join(told.verdict)
    return ("## The interleaving\n\nOne column for each CPU; time goes down. The steps of the verdict are marked "
            "at the left, and where the schedule deviates (dev).\n"
            f"\n```\n{told.marked()}\n```\n\n## The verdict\n\n```\n{verdict}\n```\n")


def told_by(story: str, cause: str) -> Interleaving:
    """The interleaving and the verdict of a reproducer's story, without places in the code."""
    match = re.search(r"(?ms)^INTERLEAVING[^\n]*\n(.*)^VERDICT\n(.*?)^  \d+ visible operations", story)
    if not match:
        raise PageError("the reproducer tells no interleaving")
    rows = match[1].rstrip("\n").splitlines()
    width = next((row.index("where") for row in rows if row.rstrip().endswith("where")), None)
    if width is None:
        raise PageError("the interleaving has no column of places")
    return interleaving.parse("\n".join(row[:width].rstrip() for row in rows),
                              "\n".join(line.removeprefix("  ") for line in match[2].rstrip().splitlines()), cause
                              ).shortened(_LAST_ROWS)


def _story(program: Path, scenario: Path) -> str:
    run = subprocess.run([program, scenario], capture_output=True, text=True, check=False)
    if run.returncode != 1:
        raise PageError(f"{scenario} does not fire any more; see //tests/mutants:remake")
    return run.stdout


def kept(read: mutant.Mutant) -> Interleaving:
    """The interleaving of the page as it is."""
    page_file = FOLDER / f"{read.name}.md"
    match = re.search(re.escape(_BEGIN) + r".*?```\n(.*?)```\n.*?```\n(.*?)```\n" + re.escape(_END),
                      page_file.read_text(), re.DOTALL)
    if not match:
        raise PageError(f"{page_file} has no interleaving to keep")
    return interleaving.parse(match[1], match[2], read.cause)


def scenario_of(name: str) -> Path:
    """The file of its shortest scenario."""
    return _MUTANTS / "scenarios" / f"{name}.txt"


def write(name: str, unit_test: str | None, program: Path | None) -> None:
    """Writes one page, with the interleaving that `program` tells, or else the one that it has."""
    told = None
    read = mutant.read(_MUTANTS / f"{name}.patch")
    if not unit_test:
        told = told_by(_story(program, scenario_of(name)), read.cause) if program else kept(read)
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / f"{name}.md").write_text(page(read, scenario_of(name), unit_test, meanings.rules(Path()), told))


def with_titles(text: str, read: list[mutant.Mutant]) -> str:
    """The table of results, with the titles that the patches have now."""
    titles = {one.name: one.title for one in read}
    return re.sub(r"\[[^]\n]*\]\(museum/(\w+)\.md\)",
                  lambda match: f"[{titles.get(match[1], match[1])}](museum/{match[1]}.md)", text)


def write_indexes(units: dict[str, str]) -> None:
    """Writes the index, the table of the emulated machine, and the titles in the table of results."""
    read = [mutant.read(patch) for patch in sorted(_MUTANTS.glob("*.patch"))]
    INDEX.write_text(museum_index.index(Path(), read, units))
    BOCHS.write_text(bochs_table(read, booted()))
    RESULTS.write_text(with_titles(RESULTS.read_text(), read))


def _write_all(names: list[str], units: dict[str, str], keep: bool) -> None:
    write_indexes(units)
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
    except (PageError, interleaving.InterleavingError, mutant.MutantError, OSError) as error:
        print(f"pages: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
