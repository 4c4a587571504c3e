#!/usr/bin/python3
"""Checks, formats, makes and lists scenarios in their text form (fuzz/scenario/FORMAT.md)."""

import argparse
import difflib
import hashlib
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from fuzz.campaign import ending
from fuzz.campaign.crashes import MARK
from fuzz.campaign.disk import is_standard_output, reason, write_whole
from fuzz.campaign.paths import output_path, program, shown, user_path, workspace_directory

_EPILOG = """\
examples:
  shootdown scenario lint mine.txt            each line that is wrong, or does nothing in the run, and what fires
  shootdown scenario format mine.txt          canonical order and fields, comments stay where they belong
  shootdown scenario new mine.txt --cpus 3    a file to begin with
  shootdown scenario list fuzz docs           all scenarios below these folders, each with its title
  shootdown scenario corpus ~/tlb             all of the tree, museum and proofs included, as first inputs of a campaign

Paths are relative to where you stand.
exit status: 0 nothing to say (lint, format --check), or done; 1 lint or --check has found something; 2 bad usage, a
file that is no scenario or cannot be read or written"""
_HEAD = "shootdown-scenario"
_NEW = """\
# title: what this scenario is about, in one line
shootdown-scenario 1
config cpus={cpus} mms={mms}
# What each CPU does, in this order. The operations are in fuzz/scenario/FORMAT.md.
{operations}
# What deviates from the default schedule: so many visible operations after the deviation before.
at +1: preempt cpu={last}
"""


class ScenarioError(Exception):
    """A file cannot be worked on; the text says why."""


@dataclass
class Line:
    """An item of a text, with the comment lines in front of it and the comment behind it."""

    item: str
    above: list[str] = field(default_factory=list)
    behind: str = ""

    @property
    def kind(self) -> str:
        """Lines of one kind keep their order: the head, the configuration, each CPU's operations, deviations."""
        word = self.item.split(":")[0] if self.item.startswith("cpu") else self.item.split()[0]
        return re.sub(r"\s+", " ", word)


def read_lines(text: str) -> tuple[list[Line], list[str]]:
    """The items of a text, and the comments behind the last of them."""
    lines, above = [], []
    for raw in text.replace("\r\n", "\n").split("\n"):
        item, sign, comment = raw.partition("#")
        if item.strip():
            lines.append(Line(item.strip(), above, sign + comment.rstrip() if sign else ""))
            above = []
        elif sign:
            above.append(sign + comment.rstrip())
    return lines, above


def formatted(text: str, canonical: str) -> str:
    """The canonical lines with the comments of the text. The sentences that the printer adds are not taken."""
    mine, rest = read_lines(text)
    waiting: dict[str, list[Line]] = {}
    for line in mine:
        waiting.setdefault(line.kind, []).append(line)
    out = []
    for raw in canonical.splitlines():
        if raw.startswith("#"):
            continue
        line = Line(raw)
        same = waiting.get(line.kind)
        own = same.pop(0) if same else line
        out += [*own.above, f"{raw} {own.behind}" if own.behind else raw]
    return "\n".join(out + rest) + "\n"


def _run(*words: str, data: bytes | None = None) -> subprocess.CompletedProcess:
    binary = os.environ.get("SHOOTDOWN_REPRODUCE") or str(program("fuzz/reproduce_bin"))
    try:
        return subprocess.run([binary, *words], input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    except OSError as error:
        raise ScenarioError(f"{binary} cannot run: {error.strerror}") from error


def _canonical(path: Path) -> str:
    run = _run("--text", str(path))
    if run.returncode != 0:
        raise ScenarioError(run.stderr.decode(errors="replace").strip().removeprefix("reproduce: "))
    return run.stdout.decode()


def lint(files: list[str]) -> int:
    """Returns the exit status: 1 if a file has something to be told."""
    status = 0
    for name in files:
        path = user_path(name)
        run = _run("--title", str(path))
        said = [line.removeprefix("reproduce: ") for line in run.stderr.decode(errors="replace").splitlines()]
        title = run.stdout.decode().strip()
        for line in said:
            print(line.replace(str(path), shown(path)))
        if run.returncode == 2:
            status = 2
            continue
        if title != "ok":
            print(f"{shown(path)}: fires {title}")
        if said or title != "ok":
            status = max(status, 1)
    return status


def format_files(files: list[str], check: bool) -> int:
    """Returns the exit status."""
    status = 0
    for name in files:
        path = user_path(name)
        canonical = _canonical(path)
        text = path.read_text(encoding="utf-8")
        wanted = formatted(text, canonical)
        if wanted == text:
            continue
        if not check:
            write_whole(path, wanted.encode())
            continue
        status = 1
        print("".join(difflib.unified_diff(text.splitlines(True), wanted.splitlines(True), shown(path),
                                           f"{shown(path)}, formatted")), end="")
    return status


def new(name: str, cpus: int, mms: int) -> int:
    path = output_path(name)
    is_output = is_standard_output(path)
    if path.is_file() and not is_output:
        raise ScenarioError(f"{shown(path)} is there already")
    operations = ["cpu 0: read page=1", "cpu 0: unmap mm=0 page=1"]
    operations += [f"cpu {cpu}: read page=1" for cpu in range(1, cpus)]
    text = _NEW.format(cpus=cpus, mms=mms, operations="\n".join(operations), last=cpus - 1)
    run = _run("--title", "-", data=text.encode())
    if run.returncode != 0:
        raise ScenarioError(run.stderr.decode(errors="replace").strip())
    write_whole(path, text.encode())
    if not is_output:
        print(shown(path))
    return 0


def title_of(text: str) -> str:
    """What a scenario is about: its `# title:`, or the first comment that the printer did not make."""
    match = re.search(r"(?m)^# title: (.*)$", text)
    if match:
        return match[1]
    own = [line[1:].strip() for line in text.splitlines() if line.startswith("#")]
    own = [line for line in own if not re.match(r"(explore:|cpu N:|at \+N:)", line)]
    items = [line for line in text.splitlines()[2:] if line and not line.startswith("#")]
    return own[0] if own else "; ".join(items)[:90]


def scenarios(folder: Path) -> list[Path]:
    """All scenarios as text below a folder; what Bazel has made is left out."""
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [one for one in folders if not one.startswith(("bazel-", "."))]
        for name in names:
            path = Path(parent, name)
            if name.endswith(".txt") and re.search(rf"(?m)^{_HEAD} ", path.read_text(errors="replace")[:4000]):
                found.append(path)
    return sorted(found)


def list_scenarios(folders: list[str], words: list[str]) -> int:
    roots = [user_path(folder) for folder in folders] or [workspace_directory()]
    for root in roots:
        if not root.is_dir():
            raise ScenarioError(f"{shown(root)} is no folder")
        for path in scenarios(root):
            line = f"{shown(path)}: {title_of(path.read_text(errors='replace'))}"
            if all(word.lower() in line.lower() for word in words):
                print(line)
    return 0


def corpus(name: str, folders: list[str]) -> int:
    """Writes all scenarios below the folders as bytes, each once, named by its hash. Returns the exit status."""
    target = user_path(name)
    target.mkdir(parents=True, exist_ok=True)
    made, wide = set(), 0
    for root in [user_path(folder) for folder in folders] or [workspace_directory()]:
        if not root.is_dir():
            raise ScenarioError(f"{shown(root)} is no folder")
        for path in scenarios(root):
            with tempfile.TemporaryDirectory() as aside:
                out = Path(aside, "scenario.bin")
                run = _run("--text", "-o", str(out), str(path))
                if run.returncode != 0:
                    print(f"scenario: {shown(path)} is left out: {run.stderr.decode(errors='replace').strip()}",
                          file=sys.stderr)
                    continue
                data = out.read_bytes()
            # Bytes have room for eight CPUs; a scenario of more stays text, which is no input.
            if not data.startswith(MARK):
                wide += 1
                continue
            data = data.removeprefix(MARK)
            made.add(hashlib.sha1(data).hexdigest())
            write_whole(target / hashlib.sha1(data).hexdigest(), data)
    print(f"{len(made)} inputs in {shown(target)}" + (f"; {wide} of more than 8 CPUs are left out" if wide else ""))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scenario", description=__doc__, epilog=_EPILOG,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    tools = parser.add_subparsers(dest="tool", required=True, metavar="lint|format|new|list|corpus")
    one = tools.add_parser("lint", help="tell what is wrong in files, or does nothing")
    one.add_argument("files", nargs="+", metavar="FILE")
    one = tools.add_parser("format", help="write files in canonical form, with their comments")
    one.add_argument("--check", action="store_true", help="only tell what would change")
    one.add_argument("files", nargs="+", metavar="FILE")
    one = tools.add_parser("new", help="write a file to begin with")
    one.add_argument("file", metavar="FILE")
    one.add_argument("--cpus", type=int, default=2, metavar="N")
    one.add_argument("--mms", type=int, default=1, metavar="N")
    one = tools.add_parser("list", help="all scenarios below folders, each with its title")
    one.add_argument("--with", dest="words", action="append", default=[], metavar="WORD",
                     help="only those with this word")
    one.add_argument("folders", nargs="*", metavar="FOLDER")
    one = tools.add_parser("corpus", help="write all scenarios below folders as inputs for a campaign to start from")
    one.add_argument("out", metavar="OUT", help="a folder, such as that of --corpus")
    one.add_argument("folders", nargs="*", metavar="FOLDER")
    return parser


def main(argv: list[str]) -> int:
    args = _parser().parse_args(argv)
    try:
        if args.tool == "lint":
            return lint(args.files)
        if args.tool == "format":
            return format_files(args.files, args.check)
        if args.tool == "new":
            return new(args.file, args.cpus, args.mms)
        if args.tool == "corpus":
            return corpus(args.out, args.folders)
        return list_scenarios(args.folders, args.words)
    except ScenarioError as error:
        print(f"scenario: {error}", file=sys.stderr)
        return 2
    except (OSError, UnicodeDecodeError) as error:
        print(f"scenario: {reason(error) if isinstance(error, OSError) else 'a file is no UTF-8'}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    ending.run("scenario", main)
