#!/usr/bin/python3
"""Tells how far campaigns are, from the files of JSON that they keep (--status, or beside their crash files)."""

import argparse
import json
import sys
import time
from pathlib import Path

from fuzz.campaign import ending
from fuzz.campaign.paths import shown, user_path, workspace_directory
from fuzz.campaign.status import STATUS

_EPILOG = """\
Without a FILE those below out/ of the workspace. A campaign that is not over and has written nothing for a minute was
killed; the next one of the same programs takes over what it has left.
exit status: 0 nothing found, 1 a campaign has found something, 2 there is no campaign, or a file is none of theirs"""
_SILENT_SECONDS = 60


def files(names: list[str]) -> list[Path]:
    """The files meant: of a folder all that are below it."""
    found = []
    for path in [user_path(name) for name in names] or [workspace_directory() / "out"]:
        found += sorted(path.rglob(STATUS)) if path.is_dir() else [path]
    return found


def line(told: dict, silent: float) -> str:
    """One campaign."""
    state = "over" if told["over"] else f"killed {silent:,.0f} s ago" if silent > _SILENT_SECONDS else "runs"
    executions = sum(one["executions"] for one in told["engines"])
    speed = sum(one["a_second"] for one in told["engines"])
    return (f"{state:<8} {told['seconds']:>9,.0f}/{told['of']:,.0f} s  {executions:>15,} exec {speed:>8,}/s  "
            f"last new {told['since_new']:,.0f} s before  {len(told['kinds'])} kinds of failure, "
            f"{told['crashes']} files")


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="whatsup", description=__doc__, epilog=_EPILOG,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", metavar="FILE|FOLDER")
    args = parser.parse_args(argv)
    status, kinds = 0, {}
    paths = files(args.files)
    for path in paths:
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            print(f"{shown(path.parent)}: {line(told, time.time() - path.stat().st_mtime)}")
            for kind in told["kinds"]:
                kinds.setdefault(kind["title"], []).append(kind)
        except (OSError, ValueError, KeyError, TypeError) as error:
            print(f"whatsup: {shown(path)}: {error if isinstance(error, OSError) else 'no status of a campaign'}",
                  file=sys.stderr)
            status = 2
    for title, found in sorted(kinds.items()):
        command = next((story["command"] for kind in found for story in kind["stories"]), found[0]["command"])
        count = sum(kind["count"] for kind in found)
        print(f"\n{title}\n  {count:,} crash files in {len(found)} campaigns\n  {command}")
    if not paths:
        print("whatsup: there is no campaign; name its folder", file=sys.stderr)
    return status or (2 if not paths else 1 if kinds else 0)


if __name__ == "__main__":
    ending.run("whatsup", main)
