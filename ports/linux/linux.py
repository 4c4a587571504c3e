#!/usr/bin/python3
"""Runs the TLB code of a Linux tree, as it is there, on the modelled machine, under the oracles of hardware truth."""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

from fuzz.campaign.paths import program, shown, user_path
from ports.harness import foreign
from ports.linux import changed, tree, undone

_DEFAULTS = ("/usr/src/linux-source-6.12", "/usr/src/linux-source-6.1")

_EPILOG = """\
examples:
  bazel run //ports/linux:fuzz -- --source ~/linux --seconds 60
  bazel run //ports/linux:fuzz -- --source ~/linux --diff HEAD~1
  bazel run //ports/linux:fuzz -- --undo lazy_exit_without_barrier --memory tso --out found.txt
  bazel run //ports/linux:reproduce -- --undo lazy_exit_without_barrier found.txt
  bazel run //ports/linux:explore -- ports/linux/programs/switch_in_and_unmap.txt
  bazel run //ports/linux:coverage -- --executions 20000

Without --source the tree is that of tools/setup --linux. Paths are relative to where you stand.
exit status: 0 nothing was found, 1 an oracle has fired, 2 it could not be tried"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise foreign.ForeignError(f"{message}; --help tells more")


def parser(command: str) -> argparse.ArgumentParser:
    """The command line."""
    result = _Parser(prog=command, description="Runs Linux's own TLB code on the modelled machine.", epilog=_EPILOG,
                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add = result.add_argument
    add("--source", metavar="TREE", help="a tree of Linux, 6.1 or younger")
    add("--undo", metavar="RULE", help="undo a fix in a copy of the tree's files first; --undo list names the rules")
    add("--patch", metavar="FILE", help="apply a patch to a copy of the tree's files first")
    if command == "reproduce":
        add("scenario", metavar="FILE", help="what a search has kept with --out")
        return result
    add("--memory", choices=["sc", "tso"],
        help="sequentially consistent, or stores go through store buffers; default: drawn")
    if command == "explore":
        add("program", metavar="FILE", help="a scenario whose comments say how to explore it")
        add("--executions", type=int, default=10000000, metavar="N", help="at most; default %(default)s")
        return result
    if command == "fuzz":
        add("--diff", metavar="REV", help="search this revision of a git tree, too: did what came after break it?")
        add("--out", metavar="FILE", help="keep the scenario that shows what was found")
    add("--seed", type=int, default=1, metavar="N", help="the first execution's number; default %(default)s")
    add("--executions", type=int, default=100000, metavar="N", help="how many; default %(default)s")
    add("--seconds", type=int, metavar="N", help="so long, instead of a number of executions")
    add("--cpus", type=int, choices=[2, 3, 4], help="default: 2 to 4, drawn for each execution")
    add("--pti", choices=["on", "off"], help="page-table isolation; default: drawn")
    add("--pcid", choices=["on", "off"], help="default: drawn")
    add("--tables", choices=["direct", "deferred"],
        help="page tables are released behind the flush, or after a grace period (default)")
    return result


def _source(args: argparse.Namespace) -> Path:
    if args.source is not None:
        return user_path(args.source)
    for name in _DEFAULTS:
        if Path(name, tree.SOURCES[0]).is_file():
            return Path(name)
    raise foreign.ForeignError("there is no tree of Linux: name one with --source, or run tools/setup --linux")


def _with_rule(files: dict[str, str], name: str) -> dict[str, str]:
    rule = undone.undone(name)
    if rule is None:
        raise foreign.ForeignError(f"there is no rule {name}; --undo list names them")
    text = undone.apply(rule, files[rule.file])
    if text is None:
        raise foreign.ForeignError(f"the rule {name} does not fit this tree: {rule.file} has no such code")
    return {**files, rule.file: text}


def _with_patch(files: dict[str, str], patch: Path) -> dict[str, str]:
    if not patch.is_file():
        raise foreign.ForeignError(f"{shown(patch)}: no such file")
    foreign.need("patch")
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        touched = set(re.findall(r"^\+\+\+ [^/\s]+/(\S+)", patch.read_text(errors="replace"), re.MULTILINE))
        for name in sorted(touched - set(files)):
            print(f"note: {name} is no part of what runs here", file=sys.stderr)
        if not touched & set(files):
            raise foreign.ForeignError(f"{shown(patch)} changes nothing that runs here: {', '.join(sorted(files))}")
        part = _parts_of(patch.read_text(errors="replace"), set(files))
        run = subprocess.run(["patch", "--strip=1", "--forward", "--directory", folder], input=part, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        if run.returncode != 0:
            raise foreign.ForeignError(f"{shown(patch)} does not apply:\n{run.stdout}")
        return {name: Path(folder, name).read_text() for name in files}


def _parts_of(patch: str, names: set[str]) -> str:
    """What the patch does to these files."""
    parts = re.split(r"(?m)^(?=--- )", patch)
    kept = []
    for part in parts[1:]:
        named = re.search(r"^\+\+\+ [^/\s]+/(\S+)", part, re.MULTILINE)
        if named is not None and named[1] in names:
            kept.append(re.split(r"(?m)^diff ", part)[0])
    return "".join(kept)


def _revision(source: Path, revision: str) -> dict[str, str]:
    """The files as they were in this revision."""
    files = {}
    for name in tree.FILES:
        run = subprocess.run(["git", "-C", str(source), "show", f"{revision}:./{name}"], stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True, check=False)
        if run.returncode != 0:
            raise foreign.ForeignError(f"{shown(source)}: git has no {name} at {revision}: {run.stderr.strip()}")
        files[name] = run.stdout
    return files


def _options(args: argparse.Namespace) -> list[str]:
    options = []
    for name in ("seed", "executions", "seconds", "cpus", "memory", "pti", "pcid", "tables"):
        if getattr(args, name, None) is not None:
            options += [f"--{name}", str(getattr(args, name))]
    for name, option in (("out", "--out"), ("scenario", "--replay"), ("program", "--explore")):
        if getattr(args, name, None) is not None:
            options += [option, str(user_path(getattr(args, name)))]
    return options


class Run:
    """Searches over trees, in a temporary folder."""

    def __init__(self, folder: Path):
        self._builder = tree.Builder(program("ports/linux"), folder)
        self._search = program("ports/linux/search")
        self.code = Path()

    def is_same(self, before: dict[str, str], files: dict[str, str]) -> bool:
        """Whether the compiler is given the same."""
        return self._builder.preprocessed(before) == self._builder.preprocessed(files)

    def search(self, files: dict[str, str], options: list[str]) -> tuple[int, str]:
        """The exit status, and what is said."""
        self.code, names = self._builder.build(files)
        return foreign.search(self._search, self.code, names, options)


def _check_kept(run: Run, files: dict[str, str], args: argparse.Namespace) -> None:
    """What was found is kept so that another process finds it, or that is told."""
    if getattr(args, "out", None) is None:
        return
    status, _ = run.search(files, ["--replay", str(user_path(args.out))])
    if status != foreign.FOUND:
        print(f"note: {args.out} does not fail again in a process of its own; the seed with --executions 1 may",
              file=sys.stderr)


def _search_of_change(run: Run, before: dict[str, str], files: dict[str, str], args: argparse.Namespace,
                      folder: Path) -> tuple[int, str]:
    """A search that is clean says how much of the change it has tried."""
    if run.is_same(before, files):
        raise foreign.ForeignError("THE CHANGE WAS NOT TRIED: what is compiled here is the same without it: "
                                   "it is in comments, or in parts that are left out")
    ran = folder / "sites"
    status, text = run.search(files, [*_options(args), "--sites", str(ran)])
    if status == foreign.CLEAN:
        sys.stdout.write(text)
        known = changed.told(run.code, changed.lines(before, files), set(ran.read_text().split()))
        changed.need_any(known)
        text = f"{known}\n"
    return status, text


def _compare(run: Run, files: dict[str, str], source: Path, args: argparse.Namespace, folder: Path) -> int:
    """Whether what came after a revision has broken something."""
    before = _revision(source, args.diff)
    if before == files:
        raise foreign.ForeignError(f"nothing that runs here differs from {args.diff}")
    status, text = _search_of_change(run, before, files, args, folder)
    if status != foreign.FOUND:
        sys.stdout.write(text)
        return status
    _check_kept(run, files, args)
    args.out = None
    status_before, text_before = run.search(before, _options(args))
    sys.stdout.write(text)
    if status_before == foreign.FOUND:
        print(f"\n{args.diff} is not clean either: {text_before.splitlines()[0]}")
    else:
        print(f"\n{args.diff} is clean in the same search: {text_before.splitlines()[0]}")
    return foreign.FOUND


def _all_sites(code: Path) -> list[str]:
    """Where the code calls the runtime: each such call is an access."""
    text = subprocess.run(["llvm-objdump-19", "--disassemble", "--no-show-raw-insn", str(code)], stdout=subprocess.PIPE,
                          text=True, check=True).stdout
    lines = text.splitlines()
    sites = []
    for line, after in zip(lines, lines[1:]):
        if foreign.ACCESS.search(line):
            following = re.match(r"\s*([0-9a-f]+):", after)
            if following is not None:
                sites.append(f"0x{following[1]}")
    return sites


def _coverage(run: Run, files: dict[str, str], args: argparse.Namespace, folder: Path) -> int:
    ran_file = folder / "sites"
    status, text = run.search(files, [*_options(args), "--sites", str(ran_file)])
    sys.stdout.write(text)
    if status == foreign.COULD_NOT:
        return status
    ran = set(ran_file.read_text().split())
    sites = _all_sites(run.code)
    # The address behind the call belongs to the line of the call, or to the next one.
    lines = foreign.lines_of(run.code, [hex(int(site, 16) - 1) for site in sites])
    by_file: dict[str, tuple[set[int], set[int]]] = {}
    for site in sites:
        file, line = lines[hex(int(site, 16) - 1)].rsplit(":", 1)
        seen, missed = by_file.setdefault(file, (set(), set()))
        (seen if site in ran else missed).add(int(line))
    for file, (seen, missed) in sorted(by_file.items()):
        if file == "glue.c":
            continue
        never = sorted(missed - seen)
        print(f"{file}: {len(seen)} of {len(seen) + len(never)} lines with accesses ran; not: "
              f"{', '.join(map(str, never)) or 'none'}")
    return status


def _list() -> int:
    for rule in undone.UNDONE:
        print(f"{rule.name}: {rule.what}")
    return foreign.CLEAN


def _work(command: str, argv: list[str]) -> int:
    args = parser(command).parse_args(argv)
    if args.undo == "list":
        return _list()
    if getattr(args, "tables", "") is None:
        args.tables = "deferred"
    source = _source(args)
    files = tree.read_tree(source)
    if args.undo is not None:
        files = _with_rule(files, args.undo)
    original = files
    if args.patch is not None:
        files = _with_patch(files, user_path(args.patch))
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder))
        if getattr(args, "diff", None) is not None:
            return _compare(run, files, source, args, Path(folder))
        if command == "coverage":
            return _coverage(run, files, args, Path(folder))
        if command == "fuzz" and args.patch is not None:
            status, text = _search_of_change(run, original, files, args, Path(folder))
        else:
            status, text = run.search(files, _options(args))
        sys.stdout.write(text)
        if command == "fuzz" and status == foreign.FOUND:
            _check_kept(run, files, args)
        return status


def main(command: str, argv: list[str]) -> int:
    """Returns the exit status."""
    return foreign.status_of(command, lambda: _work(command, argv))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
