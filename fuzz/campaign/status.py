"""The campaign's live status line and its closing summary."""

import os
import sys
import time
from typing import TextIO

from fuzz.campaign.crashes import CrashStore, Group
from fuzz.campaign.engine import Engine
from fuzz.campaign.paths import shown

STATUS = "status.json"
_PLAIN_INTERVAL_SECONDS = 5.0


class StatusLine:
    """One line that stays in place on a terminal, and a line every few seconds elsewhere."""

    def __init__(self, stream: TextIO | None = None):
        self._stream = sys.stdout if stream is None else stream
        self._live = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._shown = False
        self._next_plain = time.monotonic() + _PLAIN_INTERVAL_SECONDS

    def show(self, text: str, *shorter: str) -> None:
        """Replaces the line, or prints it if the last one is old enough.

        A terminal gets the first of the texts that fits, which go from the longest to the shortest.
        """
        if self._live:
            width = self._columns() - 1  # Behind the last column some terminals begin a new line.
            fitting = [one for one in (text, *shorter) if len(one) <= width]
            line = fitting[0] if fitting else (text, *shorter)[-1][:width]
            self._stream.write("\r" + line + "\x1b[K")
            self._shown = True
        elif time.monotonic() >= self._next_plain:
            self._next_plain = time.monotonic() + _PLAIN_INTERVAL_SECONDS
            self._stream.write(text + "\n")
        self._stream.flush()

    def _columns(self) -> int:
        """The width of the terminal now: it may change while the campaign runs."""
        given = os.environ.get("COLUMNS", "")
        if given.isdecimal() and int(given) > 0:
            return int(given)
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or 80
        except OSError:
            return 80

    def say(self, text: str) -> None:
        """Prints something that stays."""
        self.clear()
        self._stream.write(text + "\n")
        self._stream.flush()

    def clear(self) -> None:
        """Makes room for other output."""
        if self._shown:
            self._stream.write("\r\x1b[K")
            self._shown = False


class EngineTotals:
    """The engines of one kind together."""

    def __init__(self, engines: list[Engine]):
        self.name = engines[0].name
        self.coverage_name = engines[0].coverage_name
        self.executions = sum(e.progress.executions for e in engines)
        self.exact = all(e.progress.exact for e in engines)
        self.rate = sum(e.progress.executions / e.seconds for e in engines if e.seconds > 0)
        # Engines of one kind share what they find, so the largest says most.
        self.corpus = max(e.progress.corpus for e in engines)
        self.coverage = max(e.progress.coverage for e in engines)

    @property
    def count(self) -> str:
        return ("" if self.exact else "~") + f"{self.executions:,}"


def totals(engines: list[Engine]) -> list[EngineTotals]:
    """One entry for each kind of engine, in the order in which they were made."""
    kinds = {engine.name: [] for engine in engines}
    for engine in engines:
        kinds[engine.name].append(engine)
    return [EngineTotals(group) for group in kinds.values()]


def status_texts(elapsed: float, seconds: float, engines: list[Engine],
                 store: CrashStore) -> list[str]:
    """How far the campaign is, on one line: from all that is known to what matters most."""
    kinds = totals(engines)
    speed = [f"{kind.name} {kind.count} exec {kind.rate:,.0f}/s" for kind in kinds]
    guided = [f" corpus {kind.corpus:,} {kind.coverage_name} {kind.coverage:,}"
              if kind.coverage_name else "" for kind in kinds]
    executions = sum(kind.executions for kind in kinds)
    crashes, clock = f"crashes {store.total:,}", f"{elapsed:.0f}/{seconds:.0f} s"
    variants = [
        [crashes, clock, *map("".join, zip(speed, guided))],
        [crashes, clock, *speed],
        [crashes, clock, *(f"{kind.name} {kind.rate:,.0f}/s" for kind in kinds)],
        [crashes, clock, f"{executions:,} exec"],
        [crashes, clock],
        [crashes],
    ]
    return [" | ".join(parts) for parts in variants]


def summary(engines: list[Engine], store: CrashStore, whole: bool) -> str:
    """What the campaign did and found. `whole`: it did all that it was asked to do."""
    lines = ["", f"{'engine':<10} {'executions':>14} {'exec/s':>9} {'corpus':>8}  coverage"]
    for kind in totals(engines):
        guided = f" {kind.corpus:>8,}  {kind.coverage:,} {kind.coverage_name}"
        lines.append(f"{kind.name:<10} {kind.count:>14} {kind.rate:>9,.0f}"
                     + (guided if kind.coverage_name else ""))
    for engine in engines:
        stability = engine.progress.stability
        if stability is not None and stability < 100:
            lines.append(f"Note: {engine.name} saw {stability:g} % stability. The same input took "
                         "different paths, so something survives from one execution to the next.")
        if engine.note:
            lines.append("Note: " + engine.note)
    return "\n".join(lines + [""] + _findings(store, whole))


def _findings(store: CrashStore, whole: bool) -> list[str]:
    groups = store.sorted_groups()
    if not groups:
        return ["No crash found." if whole else "The campaign is incomplete. What it did found nothing."]
    lines = [f"{counted(len(groups), 'kind')} of failure, {counted(store.total, 'crash file')}, in "
             f"{shown(store.folder)} (listed in titles.txt)."]
    for group in groups:
        first = group.first
        after = "" if first.executions is None else \
            f", first after {first.executions:,} executions of {first.engine}"
        again = group.smallest.command or f"{shown(group.smallest.path)} (replaying it shows nothing)"
        stories = group.stories
        if not stories:
            lines += ["", f"  {group.smallest.title}",
                      f"    {counted(group.count, 'crash file')}{after}; the smallest:", "    " + again]
            continue
        story = stories[0].story
        others = f", {counted(len(stories), 'minimised scenario')}, the shortest" if len(stories) > 1 else ", minimised"
        lines += ["", f"  {group.smallest.title}" + (f" ({story.rules})" if story.rules else ""),
                  f"    {counted(group.count, 'crash file')}{after}{others}:",
                  *(f"      {line}" for line in story.lines), "    " + stories[0].story_command]
    return lines


def _group_record(group: Group) -> dict:
    """What the summary says of one kind of failure, for programs."""
    stories = group.stories
    return {"title": str(group.smallest.title), "oracle": group.smallest.title.oracle, "count": group.count,
            "executions": group.first.executions, "engine": group.first.engine,
            "file": str(group.smallest.path), "command": group.smallest.command,
            "stories": [{"rules": crash.story.rules, "scenario": list(crash.story.lines), "file": str(crash.story.file),
                         "command": crash.story_command} for crash in stories]}


def status_record(elapsed: float, seconds: float, engines: list[Engine], store: CrashStore, over: bool,
                  since_new: float) -> dict:
    """How far the campaign is and what it has found, for programs. `since_new`: seconds since the last new input."""
    return {"seconds": round(elapsed, 1), "of": seconds, "over": over, "since_new": round(since_new, 1),
            "engines": [{"name": kind.name, "executions": kind.executions, "a_second": round(kind.rate),
                         "corpus": kind.corpus, "coverage": kind.coverage} for kind in totals(engines)],
            "failures": [engine.failure for engine in engines if engine.failure],
            "crashes": store.total, "kinds": [_group_record(group) for group in store.sorted_groups()]}


def counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
